//! Finds what is attached on this host, from every file that says something about it, and what those files prove.
//! `gc` calls it first; `plan` decides from what it returns.
//! It must never change anything.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use wharf_image::{Root, Store};
use wharfline_cni::client::{CachedAttachment, Client};
use wharfline_spec::cni::ConfList;
use wharfline_spec::{ContainerId, IfName, NetworkName};

use super::evidence::{Attachments, CachedBy, Key, Verdict};
use super::forgotten::{self, Forgotten};
use super::{docker, leases, sandbox};
use crate::container::life::Life;
use crate::container::{self, Container, Folder};
use crate::error::{Error, Result};
use crate::home::{Home, NETNS_PREFIX, boot_id};
use crate::{freezer, network};

/// What there is.
#[derive(Debug)]
pub(super) struct Survey {
    /// When it began: what is younger, it may have missed.
    pub(super) as_of: SystemTime,
    pub(super) attachments: Attachments,
    /// Containers of wharf's that nobody looks after.
    pub(super) dead: Vec<(Container, Folder)>,
    /// Container folders that were being made when their maker died.
    pub(super) drafts: Vec<Folder>,
    /// Mounts and names whose container is gone.
    pub(super) stray_netns: Vec<PathBuf>,
    pub(super) stray_names: Vec<PathBuf>,
    /// Roots over images whose container is gone, and mounted ones whose container rests.
    pub(super) stray_roots: Vec<Root>,
    pub(super) resting_roots: Vec<(Container, Folder)>,
    /// Containers that a killed commit left standing still.
    pub(super) frozen: Vec<(Container, Folder)>,
    /// What killed imports of images left.
    pub(super) temporaries: Vec<PathBuf>,
    /// Every network that has a configuration somewhere: wharf's, the configuration folder's, then the caches'.
    pub(super) networks: BTreeMap<NetworkName, Source>,
    /// Networks that dockerd made with a driver of ours, and which.
    pub(super) of_docker: BTreeMap<NetworkName, &'static docker::Driver>,
    /// Addresses of Docker's that nobody will give back, and whether their driver runs to take them.
    pub(super) forgotten: Vec<Forgotten>,
    pub(super) ipam_is_served: bool,
    /// What could not be read.
    pub(super) complaints: Vec<String>,
}

/// A network's configuration, and whether wharf made it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) list: ConfList,
    pub(super) own: bool,
}

pub(super) fn survey(home: &Home) -> Result<Survey> {
    let mut survey = Survey {
        as_of: SystemTime::now(),
        attachments: Attachments::default(),
        dead: Vec::new(),
        drafts: Vec::new(),
        stray_netns: Vec::new(),
        stray_names: Vec::new(),
        // Before the containers: a root is made after its container's folder, and removed before it.
        stray_roots: Root::all(&Store::new(home.lib()))?,
        resting_roots: Vec::new(),
        frozen: Vec::new(),
        temporaries: Store::new(home.lib()).leftovers()?,
        networks: BTreeMap::new(),
        of_docker: BTreeMap::new(),
        forgotten: Vec::new(),
        ipam_is_served: forgotten::is_served(),
        complaints: Vec::new(),
    };
    let (known, broken) = network::all(home)?;
    for known in known {
        let source = Source {
            list: known.list,
            own: known.own,
        };
        let name = source.list.name.clone();
        survey.networks.entry(name).or_insert(source);
    }
    let broken = broken.iter().map(ToString::to_string);
    survey.complaints.extend(broken);
    survey.containers(home)?;
    survey.cache(&home.libcni_client(), CachedBy::Libcni)?;
    survey.cache(&home.client(), CachedBy::Wharf)?;
    survey.records(home)?;
    survey.leases();
    survey.forgotten = forgotten::find(home, survey.as_of);
    survey.strays(home);
    Ok(survey)
}

impl Survey {
    fn containers(&mut self, home: &Home) -> Result<()> {
        let (named, drafts) = container::folders(home)?;
        let is_of = |root: &Root, folder: &Folder| {
            let name = folder.path().file_name().unwrap_or_default();
            name.to_string_lossy().ends_with(root.id())
        };
        let folders = || named.iter().chain(&drafts);
        self.stray_roots
            .retain(|root| !folders().any(|folder| is_of(root, folder)));
        let boot = boot_id()?;
        for folder in named {
            match folder.container() {
                Ok(about) => self.container(home, (about, folder), &boot)?,
                Err(_) if !folder.path().exists() => {}
                Err(error) => self.complaints.push(error.chain()),
            }
        }
        for folder in drafts {
            let life = folder.life()?;
            if life == Life::Dead || life.at_rest() {
                self.drafts.push(folder);
            }
        }
        Ok(())
    }

    fn container(
        &mut self,
        home: &Home,
        (about, folder): (Container, Folder),
        boot: &str,
    ) -> Result<()> {
        let life = folder.life()?;
        let dead = life == Life::Dead || (!folder.kept() && about.boot_id != boot);
        if life.at_rest() {
            if crate::root::is_mounted(home, &about)? {
                self.resting_roots.push((about.clone(), folder));
            }
            return self.resting(about);
        }
        for made in &about.wish.attachments {
            let key = Key {
                network: made.network.clone(),
                container: about.id.clone(),
                ifname: made.ifname.clone(),
            };
            let name = &about.name;
            let verdict = match dead {
                true => Verdict::Dead(format!("its container {name} is dead")),
                false => Verdict::Alive(format!("wharf's container {name} is alive")),
            };
            self.attachments.add(key, verdict).owned = true;
        }
        match dead {
            true => self.dead.push((about, folder)),
            false if freezer::is_abandoned(&folder) => self.frozen.push((about, folder)),
            false => {}
        }
        Ok(())
    }

    /// A container at rest has no attachment; one whose namespace others still share keeps what it had.
    fn resting(&mut self, about: Container) -> Result<()> {
        let shared = about.netns.as_deref().is_some_and(crate::netns::exists);
        for made in about.wish.attachments.iter().filter(|_| shared) {
            let key = Key {
                network: made.network.clone(),
                container: about.id.clone(),
                ifname: made.ifname.clone(),
            };
            let why = format!("the namespace of {} is shared by others", about.name);
            self.attachments.add(key, Verdict::Alive(why)).owned = true;
        }
        Ok(())
    }

    fn cache(&mut self, client: &Client, by: CachedBy) -> Result<()> {
        for cached in client.cached_all()? {
            match cached {
                Ok(cached) => self.cached(cached, by),
                Err(error) => self.complaints.push(error.to_string()),
            }
        }
        Ok(())
    }

    fn cached(&mut self, cached: CachedAttachment, by: CachedBy) {
        let key = Key {
            network: cached.network.clone(),
            container: cached.attach.container.clone(),
            ifname: cached.attach.ifname.clone(),
        };
        let verdict = match (by, &cached.attach.netns) {
            // All living containers of wharf have been seen: this one is not among them.
            (CachedBy::Wharf, _) => Verdict::Dead("its container is no longer there".to_owned()),
            (CachedBy::Libcni, Some(path)) => sandbox::by_path(path, modified(&cached.file)),
            (CachedBy::Libcni, None) => {
                Verdict::Unknown(format!("{} notes no namespace", cached.file.display()))
            }
        };
        let evidence = self.attachments.add(key, verdict);
        evidence.attach = cached.attach;
        if let Ok(list) = ConfList::parse(&cached.config) {
            evidence.cached = Some((by, list.clone()));
            let source = Source { list, own: false };
            self.networks.entry(cached.network).or_insert(source);
        }
    }

    /// The records that the plugins keep of attachments in this host's network namespace.
    fn records(&mut self, home: &Home) -> Result<()> {
        let own = Path::new("/proc/self/ns/net");
        let host = own.metadata().map_err(Error::file("look at", own))?.ino();
        for plugin in listed(&home.run().join(format!("host-{host}"))) {
            for network in listed(&plugin) {
                for path in listed(&network) {
                    self.record(home, &path);
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, home: &Home, path: &Path) {
        // Beside records lie locks and notes, which have no netns.
        let text = fs::read(path).unwrap_or_default();
        let Ok(record) = serde_json::from_slice::<Record>(&text) else {
            return;
        };
        let SandboxId { dev, ino } = record.netns_id;
        let verdict = match record.netns.as_os_str().is_empty() {
            true => Verdict::Unknown("no container has joined it yet".to_owned()),
            false => sandbox::by_identity(&record.netns, dev, ino, modified(path)),
        };
        if let Some(driver) = docker::driver_of(home, &record.network) {
            self.of_docker.insert(record.network.clone(), driver);
        }
        let key = Key {
            network: record.network,
            container: record.container,
            ifname: record.ifname,
        };
        let evidence = self.attachments.add(key, verdict);
        evidence.recorded_by = Some(record.plugin);
    }

    fn leases(&mut self) {
        for source in self.networks.values() {
            for lease in leases::of(&source.list) {
                let key = Key {
                    network: source.list.name.clone(),
                    container: lease.container,
                    ifname: lease.ifname,
                };
                if self.attachments.knows(&key) {
                    continue;
                }
                let address = lease.address;
                let verdict = match lease.since.is_some_and(sandbox::before_boot) {
                    true => Verdict::Dead(format!("its address {address} is from an earlier boot")),
                    false => Verdict::Unknown(format!(
                        "it has the address {address}, and no runtime's file tells of it"
                    )),
                };
                self.attachments.add(key, verdict);
            }
        }
    }

    /// Mounts and names that point at containers which are gone.
    fn strays(&mut self, home: &Home) {
        for path in listed(home.netns_dir()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(short) = name.strip_prefix(NETNS_PREFIX) else {
                continue;
            };
            let folders = [true, false].map(|kept| listed(&home.containers(kept)));
            let has_container = folders.iter().flatten().any(|folder| {
                let id = folder.file_name().unwrap_or_default().to_string_lossy();
                id.trim_start_matches(".new-").starts_with(short)
            });
            if !has_container {
                self.stray_netns.push(path);
            }
        }
        let dangling = |path: &PathBuf| !path.exists();
        let names = listed(&home.names());
        self.stray_names = names.into_iter().filter(dangling).collect();
    }
}

/// What wharf reads of a plugin's record (written by crates/core): who is attached to what, and which namespace it has.
#[derive(Debug, Deserialize)]
struct Record {
    plugin: String,
    network: NetworkName,
    container: ContainerId,
    ifname: IfName,
    netns: PathBuf,
    netns_id: SandboxId,
}

#[derive(Debug, Deserialize)]
struct SandboxId {
    dev: u64,
    ino: u64,
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|about| about.modified()).ok()
}

/// What is in a folder, in order; nothing if it can't be read.
fn listed(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
