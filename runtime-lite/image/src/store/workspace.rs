//! Temporaries of the store: where layers are made, and where they go before they are removed.
//! `import`, `commit`, `rm` and `export` have one each; the next of them, or `wharf gc`, clears what a killed one left.
//! It must never be taken for dead while its process lives: a lock says so, not a name or an age.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Store, list, private_folder};
use crate::error::{Error, Result};

/// A folder of this process, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
    /// Locked while we live.
    _claim: File,
}

impl Workspace {
    /// Makes one. Nobody sweeps between its making and its locking: that takes the store's lock.
    pub(crate) fn create(store: &Store) -> Result<Workspace> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let _lock = store.lock_shared()?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // A pid comes again, after a reboot above all: a folder of the same name is a dead one's.
        for again in 0..u32::MAX {
            let name = format!("{}-{count}-{again}", std::process::id());
            let path = store.temporaries().join(name);
            private_folder(&store.temporaries())?;
            match fs::create_dir(&path) {
                Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(Error::file("create", &path))?,
            }
            let claim = File::open(&path).map_err(Error::file("open", &path))?;
            claim.lock().map_err(Error::file("lock", &path))?;
            return Ok(Workspace {
                path,
                _claim: claim,
            });
        }
        Err(Error::malformed(
            "the store",
            "has no name left for a temporary",
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What can't be removed now, `wharf gc` tells of.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Store {
    /// Temporaries whose process is gone.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>> {
        if !self.temporaries().exists() {
            return Ok(Vec::new());
        }
        Ok(self.dead()?.into_iter().map(|(path, _)| path).collect())
    }

    /// Removes temporaries whose process is gone.
    ///
    /// # Errors
    /// One can't be removed.
    pub fn sweep(&self) -> Result<()> {
        if !self.temporaries().exists() {
            return Ok(());
        }
        for (path, _claim) in self.dead()? {
            match fs::remove_dir_all(&path) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("remove", &path)(cause));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Dead ones, claimed for us.
    fn dead(&self) -> Result<Vec<(PathBuf, File)>> {
        let _lock = self.lock_exclusive()?;
        let mut dead = Vec::new();
        for path in list(&self.temporaries())? {
            // One that is just being removed may be gone.
            let Ok(claim) = File::open(&path) else {
                continue;
            };
            if claim.try_lock().is_ok() {
                dead.push((path, claim));
            }
        }
        Ok(dead)
    }
}
