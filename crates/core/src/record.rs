//! The record of one attachment, and the note of what a network's attachments share.
//! The engine writes a record before the first kernel change and removes it after the last.
//! It must never be trusted over the kernel: it says where to look, not what is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wharfline_kernel::NetnsId;
use wharfline_kernel::nft::Element;
use wharfline_spec::names::{ContainerId, IfName, NetworkName};

use crate::attachment::AttachmentKey;
use crate::error::{Error, Result};
use crate::plan::Target;
use crate::state::{self, HostState};

/// Version of the records' form; one that we do not know is passed over, never deleted.
const VERSION: u32 = 1;

/// Name of the note beside a network's records.
const SHARED_NOTE: &str = "shared.json";

/// What one attachment consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Form of this file.
    pub version: u32,
    /// The plugin that wrote it.
    pub plugin: String,
    /// The network.
    pub network: NetworkName,
    /// The container.
    pub container: ContainerId,
    /// The interface inside the container.
    pub ifname: IfName,
    /// A number for BPF keys, marks and policy.
    pub id: u32,
    /// Path of the container's namespace.
    pub netns: PathBuf,
    /// Its identity when the record was written.
    pub netns_id: SandboxId,
    /// How often the derived name was taken.
    #[serde(default)]
    pub salt: u8,
    /// Labels and names that the runtime gave.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub labels: serde_json::Map<String, serde_json::Value>,
    /// Addresses, for people and for finding who holds a port.
    #[serde(default)]
    pub addresses: Vec<ipnetwork::IpNetwork>,
    /// What DEL deletes.
    pub own: Vec<Target>,
}

/// Device and inode of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxId {
    /// Device of nsfs.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
}

impl Record {
    /// The form that this release writes.
    pub const VERSION: u32 = VERSION;

    /// Whose record it is.
    pub fn key(&self) -> AttachmentKey {
        AttachmentKey {
            network: self.network.clone(),
            container: self.container.clone(),
            ifname: self.ifname.clone(),
        }
    }

    /// Whether the container's namespace is the one that the record was written for.
    pub fn netns_lives(&self) -> bool {
        self.is_of(wharfline_kernel::netns::identity(&self.netns))
    }

    /// Whether this is the namespace that the record was written for.
    pub fn is_of(&self, netns: Option<NetnsId>) -> bool {
        netns.is_some_and(|id| id.ino == self.netns_id.ino && id.dev == self.netns_id.dev)
    }

    /// The elements of our tables that it stands for.
    pub fn elements(&self) -> Vec<Element> {
        elements_of(&self.own)
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, state: &HostState) -> Result<()> {
        let path = state.record(&self.plugin, &self.key());
        state::write_whole(&path, &to_json(self, &path)?)
    }

    /// The record of `key`, or `None`. One that does not parse counts as none: the kernel's marks are there still.
    pub fn read(state: &HostState, plugin: &str, key: &AttachmentKey) -> Result<Option<Self>> {
        read_file(&state.record(plugin, key))
    }

    /// Removes the record of `key`.
    pub fn remove(state: &HostState, plugin: &str, key: &AttachmentKey) -> Result<()> {
        state::remove(&state.record(plugin, key))
    }

    /// Every record of `plugin` on `network`.
    pub fn of_network(state: &HostState, plugin: &str, network: &NetworkName) -> Result<Vec<Self>> {
        records_in(&state.records(plugin, network))
    }

    /// The attachments of `plugin` on `network` of which there is but the beginning of a record: its writer was killed,
    /// or is at it right now and holds the attachment's lock.
    pub fn unfinished(
        state: &HostState,
        plugin: &str,
        network: &NetworkName,
    ) -> Result<Vec<AttachmentKey>> {
        let files = entries(&state.records(plugin, network))?;
        let key = |path: &PathBuf| {
            let name = path.file_name()?.to_str()?;
            let whose = name.strip_prefix('.')?.strip_suffix(".json.new")?;
            let (container, ifname) = whose.split_once('@')?;
            Some(AttachmentKey {
                network: network.clone(),
                container: ContainerId::new(container).ok()?,
                ifname: IfName::new(ifname).ok()?,
            })
        };
        Ok(files.iter().filter_map(key).collect())
    }

    /// Every record of the host, of every plugin and network.
    pub fn all(state: &HostState) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for folder in network_folders(state)? {
            all.extend(records_in(&folder)?);
        }
        Ok(all)
    }

    /// Whether `plugin` has any record on `network`: the first one found ends the search.
    pub fn any(state: &HostState, plugin: &str, network: &NetworkName) -> Result<bool> {
        let folder = state.records(plugin, network);
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(|e| unreadable(&folder, e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| unreadable(&folder, e))?;
            if is_record(&entry.file_name().to_string_lossy()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What the attachments of one network have in common, so that the last one takes it along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SharedNote {
    /// What the last DEL deletes.
    pub targets: Vec<Target>,
    /// What stays until the network itself is taken away, with or without attachments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub founded: Vec<Target>,
}

impl SharedNote {
    /// The note of `plugin`'s network; empty where there is none.
    pub fn read(state: &HostState, plugin: &str, network: &NetworkName) -> Result<Self> {
        let path = state.records(plugin, network).join(SHARED_NOTE);
        Ok(read_file(&path)?.unwrap_or_default())
    }

    /// Writes it.
    pub fn write(&self, state: &HostState, plugin: &str, network: &NetworkName) -> Result<()> {
        let path = state.records(plugin, network).join(SHARED_NOTE);
        state::write_whole(&path, &to_json(self, &path)?)
    }

    /// Removes the note of `plugin`'s network, and its folder where nothing else is in it.
    pub fn remove(state: &HostState, plugin: &str, network: &NetworkName) -> Result<()> {
        let folder = state.records(plugin, network);
        state::remove(&folder.join(SHARED_NOTE))?;
        // Not empty means that an attachment came: its folder.
        let _ = fs::remove_dir(&folder);
        Ok(())
    }

    /// The note of every network of every plugin, with the network's name.
    pub fn all(state: &HostState) -> Result<Vec<(String, Self)>> {
        let mut notes = Vec::new();
        for folder in network_folders(state)? {
            let network = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            notes.extend(read_file(&folder.join(SHARED_NOTE))?.map(|note| (network, note)));
        }
        Ok(notes)
    }

    /// The notes of every network but `plugin`'s `network`.
    pub fn of_others(state: &HostState, plugin: &str, network: &NetworkName) -> Result<Vec<Self>> {
        let own = state.records(plugin, network);
        let mut notes = Vec::new();
        for folder in network_folders(state)? {
            if folder != own {
                notes.extend(read_file(&folder.join(SHARED_NOTE))?);
            }
        }
        Ok(notes)
    }

    /// Adds `targets` that it lacks; whether it changed.
    pub fn include(&mut self, targets: &[Target]) -> bool {
        let before = self.targets.len();
        for target in targets {
            if !self.targets.contains(target) {
                self.targets.push(target.clone());
            }
        }
        self.targets.len() != before
    }

    /// The elements of our tables that it stands for.
    pub fn elements(&self) -> Vec<Element> {
        elements_of(&self.targets)
    }

    /// Whether it stands for the target.
    pub fn has(&self, target: &Target) -> bool {
        self.targets.contains(target) || self.founded.contains(target)
    }
}

fn elements_of(targets: &[Target]) -> Vec<Element> {
    targets
        .iter()
        .filter_map(|target| match target {
            Target::Elements { elements } => Some(elements.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

fn to_json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|e| Error::io(format!("write {}", path.display()), io::Error::other(e)))
}

fn read_file<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(path, e)),
    }
}

fn records_in(folder: &Path) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_record(&name) {
            records.extend(read_file::<Record>(&path)?.filter(|r| r.version == VERSION));
        }
    }
    Ok(records)
}

/// Container ids begin with a letter or digit, so temporary files (".") and the shared note ("no @") are none.
fn is_record(name: &str) -> bool {
    !name.starts_with('.') && name.contains('@') && name.ends_with(".json")
}

fn network_folders(state: &HostState) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for plugin in entries(state.root())? {
        if plugin.is_dir() {
            folders.extend(entries(&plugin)?.into_iter().filter(|path| path.is_dir()));
        }
    }
    Ok(folders)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| unreadable(folder, e))?,
    };
    listed
        .map(|entry| entry.map(|e| e.path()).map_err(|e| unreadable(folder, e)))
        .collect()
}

fn unreadable(path: &Path, cause: io::Error) -> Error {
    Error::io(format!("read {}", path.display()), cause)
}

#[cfg(test)]
mod tests;
