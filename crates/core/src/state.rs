//! Where run-time state lives: /run/wharfline, one folder per host network namespace.
//! Records, locks and the network's notes ask it for their paths.
//! It must never hold what has to survive a reboot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wharfline_kernel::Netns;
use wharfline_spec::names::NetworkName;

use crate::attachment::AttachmentKey;
use crate::error::{Error, Result};

/// Root of everything that a reboot may take.
pub const RUN_DIR: &str = "/run/wharfline";

/// The state of one host: what we know of the kernel objects in one host network namespace.
///
/// Two throwaway hosts that share /run never see each other's.
#[derive(Debug, Clone)]
pub struct HostState {
    root: PathBuf,
}

impl HostState {
    /// The state of the calling thread's network namespace.
    pub fn current() -> Result<Self> {
        Ok(Self::of(Path::new(RUN_DIR), Netns::current()?.id().ino))
    }

    /// The state of the namespace with inode `ino` below `run`.
    pub fn of(run: &Path, ino: u64) -> Self {
        Self {
            root: run.join(format!("host-{ino}")),
        }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of `plugin`'s records on `network`.
    pub fn records(&self, plugin: &str, network: &NetworkName) -> PathBuf {
        self.root.join(plugin).join(network.as_str())
    }

    /// The record of one attachment. An interface name may hold '@', a container id may not, so the first '@' parts them.
    pub fn record(&self, plugin: &str, key: &AttachmentKey) -> PathBuf {
        let file = format!("{}@{}.json", key.container, key.ifname);
        self.records(plugin, &key.network).join(file)
    }

    /// A lock file by name.
    pub fn lock(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }

    /// A note about a shared object (a bridge's members, the base ruleset), by name.
    pub fn note(&self, name: &str) -> PathBuf {
        self.root.join("notes").join(name)
    }
}

/// Puts `bytes` at `path`, whole or not at all, making the folder where it is missing. Whoever writes `path` holds its
/// lock, so that the one temporary name is enough: what a killed writer left there is overwritten, or goes with `path`.
///
/// No fsync: run-time state is worth nothing after a power cut.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let temporary = temporary(path);
    let written = match fs::write(&temporary, bytes) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).and_then(|()| fs::write(&temporary, bytes))
        }
        other => other,
    };
    written
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|e| {
            // What is left of it would be found as a stray file for ever.
            let _ = fs::remove_file(&temporary);
            Error::io(what(), e)
        })
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Removes the file at `path`, and what a killed writer of it left; an absent one is success.
pub fn remove(path: &Path) -> Result<()> {
    unlink(&temporary(path))?;
    unlink(path)
}

pub(crate) fn unlink(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()), e))
        }
        _ => Ok(()),
    }
}
