//! What a cleaning would do, decided from the evidence: a list that can be shown, or carried out.
//! `gc` makes one, prints it for `--dry-run`, else carries it out.
//! It must never touch the host.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wharf_image::Root;
use wharfline_cni::client::Attach;
use wharfline_spec::cni::{Attachment, ConfList, Version};

use super::docker::Driver;
use super::evidence::{CachedBy, Evidence, Key, Verdict};
use super::forgotten::{self, Forgotten};
use super::survey::{Source, Survey};
use crate::container::Folder;

/// The key of [`dated`], in milliseconds since 1970.
const AS_OF: &str = "wharfline.dev/as-of";

/// A DEL for an attachment whose container is gone.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) key: Key,
    pub(super) why: String,
    pub(super) list: ConfList,
    pub(super) attach: Attach,
    pub(super) cache: CachedBy,
}

/// A GC for a network, with everything that is valid on it.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) list: ConfList,
    pub(super) valid: Vec<Attachment>,
}

/// Something that is left alone, and why.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) object: String,
    pub(super) why: String,
}

#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) orphans: Vec<Orphan>,
    /// Addresses that their driver is asked to take back.
    pub(super) releases: Vec<&'a Forgotten>,
    /// Endpoints of Docker's that their driver is asked to dissolve, and why.
    pub(super) endpoints: Vec<(Key, String, &'static Driver)>,
    pub(super) collections: Vec<Collection>,
    pub(super) kept: Vec<Kept>,
}

/// Decides. With `force`, what can't be proved dead counts as dead.
pub(super) fn plan(survey: &Survey, force: bool) -> Plan<'_> {
    let mut plan = Plan::default();
    for (key, evidence) in survey.attachments.iter() {
        let why = match &evidence.verdict {
            Verdict::Alive(_) => continue,
            Verdict::Dead(_) if evidence.owned => continue,
            Verdict::Dead(why) => why.clone(),
            Verdict::Unknown(why) if force => why.clone(),
            Verdict::Unknown(why) => {
                plan.kept.push(Kept {
                    object: object(key),
                    why: why.clone(),
                });
                continue;
            }
        };
        plan.orphan(key, evidence, survey, why);
    }
    for source in survey.networks.values() {
        plan.network(source, survey, force);
    }
    for lease in &survey.forgotten {
        plan.forgotten(lease, survey);
    }
    plan
}

impl<'a> Plan<'a> {
    fn forgotten(&mut self, lease: &'a Forgotten, survey: &Survey) {
        match survey.ipam_is_served {
            true => self.releases.push(lease),
            false => self.kept.push(Kept {
                object: lease.object(),
                why: format!(
                    "{}, but its driver, `{}`, does not run to take it back",
                    lease.why,
                    forgotten::COMMAND
                ),
            }),
        }
    }

    fn orphan(&mut self, key: &Key, evidence: &Evidence, survey: &Survey, why: String) {
        let by_network = || survey.networks.get(&key.network);
        let (cache, list) = match (&evidence.cached, by_network()) {
            (Some((by, list)), _) => (*by, list.clone()),
            (None, Some(source)) => (CachedBy::Wharf, source.list.clone()),
            (None, None) => {
                let lacks = match survey.of_docker.get(&key.network) {
                    Some(driver) if driver.is_served() => {
                        self.endpoints.push((key.clone(), why, driver));
                        return;
                    }
                    Some(driver) => {
                        let command = driver.command;
                        format!("its driver, `{command}`, does not run to take it away")
                    }
                    None => "no configuration of its network is known to detach it with".to_owned(),
                };
                self.kept.push(Kept {
                    object: object(key),
                    why: format!("{why}, but {lacks}"),
                });
                return;
            }
        };
        let mut attach = evidence.attach.clone();
        // The namespace is gone, or must not be touched if it is not: DEL works without one.
        attach.netns = None;
        self.orphans.push(Orphan {
            key: key.clone(),
            why,
            list,
            attach,
            cache,
        });
    }

    fn network(&mut self, source: &Source, survey: &Survey, force: bool) {
        let list = &source.list;
        if list.cni_version < Version::V1_1_0 || list.disable_gc {
            return;
        }
        let mut seen = false;
        let mut valid = Vec::new();
        for (key, evidence) in survey.attachments.of(&list.name) {
            seen = true;
            let counts = match &evidence.verdict {
                Verdict::Alive(_) => true,
                Verdict::Dead(_) => false,
                Verdict::Unknown(_) => !force,
            };
            if counts {
                valid.push(Attachment {
                    container: key.container.clone(),
                    ifname: key.ifname.clone(),
                });
            }
        }
        // A runtime that keeps no results would lose everything that it attached to this network.
        if !seen && !source.own && !force {
            self.kept.push(Kept {
                object: format!("network {}", list.name),
                why: "nothing on this host tells what is attached to it".to_owned(),
            });
            return;
        }
        self.collections.push(Collection {
            list: list.clone(),
            valid,
        });
    }
}

/// The list with the moment of the survey in each plugin's configuration. Other runtimes' ADDs are not excluded while
/// we collect: our plugins leave alone what is younger than this.
pub(super) fn dated(list: &ConfList, as_of: SystemTime) -> ConfList {
    let since = as_of.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let mut dated = list.clone();
    for plugin in &mut dated.plugins {
        plugin.raw.insert(AS_OF.to_owned(), milliseconds.into());
    }
    dated
}

/// An attachment, for a sentence.
pub(super) fn object(key: &Key) -> String {
    let container = key.container.as_str();
    let short = container.get(..12).unwrap_or(container);
    format!("{} of {short} on {}", key.ifname, key.network)
}

/// The whole plan, for people.
pub(super) fn page(survey: &Survey, plan: &Plan<'_>, dry_run: bool) -> String {
    let would = if dry_run { "would " } else { "" };
    let doing = |(verb, what): (&str, String)| format!("{would}{verb} {what}\n");
    let kept = |kept: &Kept| format!("keep {}: {}\n", kept.object, kept.why);
    let done = removals(survey).chain(sendings(plan)).map(doing);
    done.chain(plan.kept.iter().map(kept)).collect()
}

/// What wharf removes itself: its own dead containers, and files of such.
fn removals(survey: &Survey) -> impl Iterator<Item = (&'static str, String)> {
    let dead = survey.dead.iter().map(|(about, folder)| {
        let (id, name) = (about.short_id(), &about.name);
        match folder.kept() {
            true => (
                "put away",
                format!("container {id} ({name}): nobody looks after it"),
            ),
            false => (
                "remove",
                format!("container {id} ({name}): nobody looks after it"),
            ),
        }
    });
    let drafts = survey.drafts.iter().map(|folder| {
        let path = folder.path().display();
        format!("{path}: it was never finished")
    });
    let images = survey.temporaries.iter();
    let images = images.map(|path| format!("{}: it was never finished", path.display()));
    let strays = survey.stray_netns.iter().chain(&survey.stray_names);
    let roots = survey.stray_roots.iter().map(|root| root.folder());
    let strays = strays.map(PathBuf::as_path).chain(roots);
    let strays = strays.map(|path| format!("{}: its container is gone", path.display()));
    let files = drafts.chain(images).chain(strays);
    let resting = survey.resting_roots.iter().map(|(about, _)| {
        let path = about.wish.rootfs.display();
        (
            "unmount",
            format!("{path}: its container {} rests", about.name),
        )
    });
    let frozen = survey.frozen.iter().map(|(about, _)| {
        let what = format!("container {}: a killed commit left it paused", about.name);
        ("thaw", what)
    });
    let files = files.map(|what| ("remove", what));
    dead.chain(files).chain(resting).chain(frozen)
}

/// What the plugins are sent.
fn sendings(plan: &Plan<'_>) -> impl Iterator<Item = (&'static str, String)> {
    let orphans = plan.orphans.iter().map(|orphan| {
        let what = format!("{}: {}", object(&orphan.key), orphan.why);
        ("detach", what)
    });
    let endpoints = plan.endpoints.iter();
    let endpoints = endpoints.map(|(key, why, _)| ("dissolve", format!("{}: {why}", object(key))));
    let releases = plan.releases.iter();
    let releases = releases.map(|lease| ("release", format!("{}: {}", lease.object(), lease.why)));
    let collections = plan.collections.iter().map(|collection| {
        let (name, count) = (&collection.list.name, collection.valid.len());
        let what = format!("network {name}: {count} valid attachment(s)");
        ("collect", what)
    });
    orphans.chain(endpoints).chain(releases).chain(collections)
}

/// What is removed or unmounted, by path.
fn files(survey: &Survey) -> Vec<&Path> {
    let strays = survey.stray_netns.iter().chain(&survey.stray_names);
    let strays = strays.chain(&survey.temporaries).map(PathBuf::as_path);
    let roots = survey.stray_roots.iter().map(Root::folder);
    let resting = survey.resting_roots.iter();
    let resting = resting.map(|(about, _)| about.wish.rootfs.as_path());
    let drafts = survey.drafts.iter().map(Folder::path);
    strays.chain(roots).chain(resting).chain(drafts).collect()
}

/// The whole plan, for scripts.
pub(super) fn document(
    survey: &Survey,
    plan: &Plan<'_>,
    dry_run: bool,
    failed: &[String],
) -> Value {
    let dead = survey
        .dead
        .iter()
        .map(|(about, _)| json!({"container": about.id, "name": about.name}));
    let attachment = |key: &Key| {
        json!({
            "network": key.network, "container": key.container, "interface": key.ifname,
        })
    };
    let orphan = |orphan: &Orphan| {
        let mut document = attachment(&orphan.key);
        document["why"] = orphan.why.as_str().into();
        document
    };
    let endpoint = |(key, why, _): &(Key, String, &Driver)| {
        let mut document = attachment(key);
        document["why"] = why.as_str().into();
        document
    };
    let collection = |collection: &Collection| {
        json!({
            "network": collection.list.name,
            "valid": collection.valid.iter().map(|valid| json!({
                "container": valid.container, "interface": valid.ifname,
            })).collect::<Vec<_>>(),
        })
    };
    let kept = |kept: &Kept| json!({"object": kept.object, "why": kept.why});
    json!({
        "dryRun": dry_run,
        "containers": dead.collect::<Vec<_>>(),
        "paused": survey.frozen.iter().map(|(about, _)| &about.id).collect::<Vec<_>>(),
        "files": files(survey),
        "detach": plan.orphans.iter().map(orphan).collect::<Vec<_>>(),
        "dissolve": plan.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "release": plan.releases.iter().map(|lease| lease.document()).collect::<Vec<_>>(),
        "collect": plan.collections.iter().map(collection).collect::<Vec<_>>(),
        "kept": plan.kept.iter().map(kept).collect::<Vec<_>>(),
        "unreadable": survey.complaints,
        "failed": failed,
    })
}
