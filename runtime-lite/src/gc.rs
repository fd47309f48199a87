//! `wharf gc`: cleans up what dead containers left, wharf's own and other runtimes'.
//! People and timers call it; docs/wharf.md says what counts as dead, and why.
//! It must never change the host but by the plugins' own DEL and GC, and never detach what may still live.

mod evidence;
mod leases;
mod plan;
mod sandbox;
mod survey;

use std::fs;

use crate::cli;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::remove::{self, Left};
use crate::{netns, output};
use evidence::CachedBy;
use plan::Plan;
use survey::Survey;

/// Surveys, decides, shows, and (without `--dry-run`) cleans.
pub(crate) fn gc(home: &Home, wanted: &cli::Gc) -> Result<()> {
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

/// Does everything that is planned, whatever fails; says what failed.
pub(crate) fn carry_out(home: &Home, found: &Survey, decided: &Plan) -> Vec<String> {
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
    for collection in &decided.collections {
        let collected = home.client().gc(&collection.list, &collection.valid);
        failed.extend(collected.err().map(|error| error.to_string()));
    }
    for path in &found.stray_netns {
        failed.extend(netns::remove(path).err().map(|error| error.chain()));
    }
    for path in &found.stray_names {
        // Gone meanwhile is as good.
        let _ = fs::remove_file(path);
    }
    failed
}

fn remove_dead(
    home: &Home,
    about: &crate::container::Container,
    folder: &crate::container::Folder,
) -> Vec<String> {
    match remove::claim_dead(folder) {
        Ok(Some(_claim)) => remove::container(home, about, folder, Left::Everything)
            .iter()
            .map(Error::chain)
            .collect(),
        // Somebody has taken it up since the survey, or removed it.
        Ok(None) => Vec::new(),
        Err(_) if !folder.path().exists() => Vec::new(),
        Err(error) => vec![error.chain()],
    }
}
