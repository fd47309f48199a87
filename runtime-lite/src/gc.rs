//! `wharf gc`: cleans up what dead containers left, wharf's own and other runtimes'.
//! People and timers call it; docs/wharf.md says what counts as dead, and why.
//! It must never change the host but by the plugins' own DEL and GC (or their calls for Docker), and never detach what may still live.

mod docker;
mod evidence;
mod forgotten;
mod leases;
mod plan;
mod sandbox;
mod survey;

use std::fs;

use crate::cli;
use crate::container::{Container, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::remove;
use crate::settle::{self, Left};
use crate::turn::{self, Turn};
use crate::{freezer, netns, network, output, root};
use evidence::{CachedBy, Evidence, Key, Verdict};
use plan::Plan;
use survey::Survey;

/// Surveys, decides, shows, and (without `--dry-run`) cleans.
pub(crate) fn gc(home: &Home, wanted: &cli::Gc) -> Result<()> {
    let _turn = turn(home, wanted.dry_run)?;
    let found = survey::survey(home)?;
    let decided = plan::plan(&found, wanted.force);
    let failed = match wanted.dry_run {
        true => Vec::new(),
        false => carry_out(home, &found, &decided),
    };
    if wanted.output.json {
        let document = plan::document(&found, &decided, wanted.dry_run, &failed);
        output::print_json(&document);
    } else {
        output::print(&plan::page(&found, &decided, wanted.dry_run));
        for complaint in found.complaints.iter().chain(&failed) {
            output::warn(complaint);
        }
    }
    match failed.len() {
        0 => Ok(()),
        count => Err(Error::Uncleaned(count)),
    }
}

/// A dry run needs no turn, and must not make even the lock's file.
fn turn(home: &Home, dry_run: bool) -> Result<Option<Turn>> {
    match dry_run {
        true => Ok(None),
        false => turn::exclusive(home).map(Some),
    }
}

/// Everything that lives, for a refusal: wharf's containers, and what other runtimes attached through our plugins.
pub(crate) fn living(home: &Home) -> Result<Vec<String>> {
    let found = survey::survey(home)?;
    let lives = |(key, evidence): (&Key, &Evidence)| match &evidence.verdict {
        Verdict::Alive(_) if evidence.owned || evidence.recorded_by.is_some() => {
            Some(plan::object(key))
        }
        _ => None,
    };
    Ok(found.attachments.iter().filter_map(lives).collect())
}

/// What is dead and still there, with the reason; `gc` would take it away. Endpoints of Docker's are its driver's to evict.
pub(crate) fn dead(home: &Home) -> Result<Vec<String>> {
    let found = survey::survey(home)?;
    let dockers = network::docker::all(home);
    let is_dockers = |key: &Key| {
        let mut ids = dockers.iter().map(|network| &network.kept.request.network);
        ids.any(|id| *id == key.network)
    };
    let attachments = found.attachments.iter();
    let told = |(key, evidence): (&Key, &Evidence)| match &evidence.verdict {
        Verdict::Dead(why) if !evidence.owned && !is_dockers(key) => {
            Some(format!("{}: {why}", plan::object(key)))
        }
        _ => None,
    };
    let containers = found.dead.iter().map(|(about, _)| {
        let (id, name) = (about.short_id(), &about.name);
        format!("container {id} ({name}): nobody looks after it")
    });
    Ok(attachments.filter_map(told).chain(containers).collect())
}

/// Cleans up what is dead before the rest is uninstalled; tells each line to `say`.
pub(crate) fn leftovers(home: &Home, dry_run: bool, say: &mut dyn FnMut(String)) -> Result<()> {
    let _turn = turn(home, dry_run)?;
    let found = survey::survey(home)?;
    let decided = plan::plan(&found, false);
    let failed = match dry_run {
        true => Vec::new(),
        false => carry_out(home, &found, &decided),
    };
    say(plan::page(&found, &decided, dry_run));
    match failed.len() {
        0 => Ok(()),
        count => {
            failed.iter().for_each(|complaint| output::warn(complaint));
            Err(Error::Uncleaned(count))
        }
    }
}

/// Does everything that is planned, whatever fails; says what failed.
fn carry_out(home: &Home, found: &Survey, decided: &Plan<'_>) -> Vec<String> {
    let mut failed = Vec::new();
    for (about, folder) in &found.dead {
        failed.extend(remove_dead(home, about, folder));
    }
    for folder in &found.drafts {
        failed.extend(
            remove::remove_folder(folder)
                .err()
                .map(|error| error.chain()),
        );
    }
    for orphan in &decided.orphans {
        let client = match orphan.cache {
            CachedBy::Wharf => home.client(),
            CachedBy::Libcni => home.libcni_client(),
        };
        let detached = client.del(&orphan.list, &orphan.attach);
        failed.extend(detached.err().map(|error| error.to_string()));
    }
    for (key, _, driver) in &decided.endpoints {
        failed.extend(driver.dissolve(key).err().map(|error| error.chain()));
    }
    for lease in &decided.releases {
        failed.extend(lease.release().err().map(|error| error.chain()));
    }
    for collection in &decided.collections {
        let list = plan::dated(&collection.list, found.as_of);
        let collected = home.client().gc(&list, &collection.valid);
        failed.extend(collected.err().map(|error| error.to_string()));
    }
    failed.extend(sweep(home, found));
    failed
}

/// What lies about without a container, or of one that rests.
fn sweep(home: &Home, found: &Survey) -> Vec<String> {
    let mut failed = Vec::new();
    for path in &found.stray_netns {
        failed.extend(netns::remove(path).err().map(|error| error.chain()));
    }
    for (about, folder) in &found.resting_roots {
        failed.extend(unmount_resting(home, about, folder));
    }
    for (_, folder) in &found.frozen {
        let thawed = freezer::thaw_abandoned(folder);
        failed.extend(thawed.err().map(|error| error.chain()));
    }
    for root in &found.stray_roots {
        let removed = root::give_up(home, root.clone());
        failed.extend(removed.err().map(|error| error.chain()));
    }
    let swept = wharf_image::Store::new(home.lib()).sweep();
    failed.extend(swept.err().map(|error| Error::from(error).chain()));
    for path in &found.stray_names {
        // Gone meanwhile is as good.
        let _ = fs::remove_file(path);
    }
    failed
}

/// What a killed `wharf cp` left mounted.
fn unmount_resting(home: &Home, about: &Container, folder: &Folder) -> Option<String> {
    match settle::claim_dead(folder) {
        Ok(Some(_claim)) => root::unmount(home, about).err().map(|error| error.chain()),
        // Somebody works on it.
        Ok(None) => None,
        Err(_) if !folder.path().exists() => None,
        Err(error) => Some(error.chain()),
    }
}

fn remove_dead(home: &Home, about: &Container, folder: &Folder) -> Vec<String> {
    match settle::claim_dead(folder) {
        Ok(Some(_claim)) => settle::put_away(home, about, folder, Left::Everything)
            .iter()
            .map(Error::chain)
            .collect(),
        // Somebody has taken it up since the survey, or removed it.
        Ok(None) => Vec::new(),
        Err(_) if !folder.path().exists() => Vec::new(),
        Err(error) => vec![error.chain()],
    }
}
