//! restic's lock files: who works on a repository, so that `restic prune` does not remove what a backup relies on.
//! `Repository` takes one for each operation that lasts; rustic_core itself knows no locks.
//! It must never remove the lock of somebody who may be alive: restic's own rules say who is dead.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use rustic_core::jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, getgid, getpid, getuid, test_kill_process};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::key::Key;
use crate::store::{Kind, Store};

/// restic refreshes a lock after five minutes, and takes one of thirty for left behind (internal/restic/lock.go).
const REFRESH: Duration = Duration::from_secs(5 * 60);
const STALE: SignedDuration = SignedDuration::from_mins(30);

/// The contents of a lock file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Holder {
    time: Timestamp,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

/// A lock that others may hold at the same time, kept fresh until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
    /// Whether a lock of somebody who died was there: an operation was interrupted.
    pub(crate) interrupted: bool,
}

struct Keeper {
    store: Arc<dyn Store>,
    key: Arc<Key>,
    name: String,
}

impl Lock {
    /// Takes a lock. Written first and looked around after, as `restic` does, so that of two at least one sees the other.
    pub(crate) fn take(store: &Arc<dyn Store>, key: &Arc<Key>) -> Result<Lock> {
        let name = write(store, key)?;
        let keeper = Keeper {
            store: Arc::clone(store),
            key: Arc::clone(key),
            name,
        };
        let interrupted = match keeper.look_around() {
            Ok(interrupted) => interrupted,
            Err(cause) => {
                keeper.store.remove(Kind::Lock, &keeper.name)?;
                return Err(cause);
            }
        };
        let (stop, stopped) = mpsc::channel();
        let keeper = std::thread::spawn(move || keeper.keep(&stopped));
        Ok(Lock {
            stop: Some(stop),
            keeper: Some(keeper),
            interrupted,
        })
    }

    /// Takes a lock to read; where nobody can write, nobody can prune either.
    pub(crate) fn take_to_read(store: &Arc<dyn Store>, key: &Arc<Key>) -> Result<Lock> {
        match Lock::take(store, key) {
            Err(Error::File { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
                ) =>
            {
                Ok(Lock {
                    stop: None,
                    keeper: None,
                    interrupted: false,
                })
            }
            taken => taken,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            // It only fails if it panicked; then the lock grows stale by itself.
            let _ = keeper.join();
        }
    }
}

impl Keeper {
    /// Removes the locks of the dead; says whether there were any. Fails where somebody alive excludes others.
    fn look_around(&self) -> Result<bool> {
        let mut interrupted = false;
        for (name, _) in self.store.list(Kind::Lock)? {
            if name == self.name {
                continue;
            }
            // One that can't be read is being written or removed.
            let Some(holder) = self.read(&name) else {
                continue;
            };
            if holder.is_dead() {
                self.store.remove(Kind::Lock, &name)?;
                interrupted = true;
            } else if holder.exclusive {
                return Err(Error::Locked {
                    repository: self.store.location(),
                    holder: holder.told(),
                });
            }
        }
        Ok(interrupted)
    }

    fn read(&self, name: &str) -> Option<Holder> {
        let sealed = self.store.read(Kind::Lock, name).ok()?;
        serde_json::from_slice(&self.key.open_file(&sealed).ok()?).ok()
    }

    /// Until told to stop: a fresh lock in time, then the old one away.
    fn keep(mut self, stopped: &mpsc::Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(REFRESH) {
            // What fails now is tried again after five minutes, long before others take the lock for stale.
            if let Ok(fresh) = write(&self.store, &self.key) {
                let old = std::mem::replace(&mut self.name, fresh);
                let _ = self.store.remove(Kind::Lock, &old);
            }
        }
        // If it stays, the next that comes sees a dead process.
        let _ = self.store.remove(Kind::Lock, &self.name);
    }
}

fn write(store: &Arc<dyn Store>, key: &Key) -> Result<String> {
    let location = store.location();
    let failed = |problem: String| Error::Repository {
        doing: "lock",
        repository: location.clone(),
        problem,
    };
    let plain = serde_json::to_vec(&Holder::new()).map_err(|cause| failed(cause.to_string()))?;
    let sealed = key
        .seal(&plain)
        .map_err(|cause| failed(cause.to_string()))?;
    let name = name_of(&sealed);
    store.write(Kind::Lock, &name, &[sealed.into()])?;
    Ok(name)
}

/// The name that a file has by its contents.
pub(crate) fn name_of(contents: &[u8]) -> String {
    hex(&Sha256::digest(contents))
}

/// Lower case, two digits each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Holder {
    fn new() -> Holder {
        Holder {
            time: Timestamp::now(),
            exclusive: false,
            hostname: hostname(),
            username: "wharfline".to_owned(),
            pid: getpid().as_raw_nonzero().get(),
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
        }
    }

    fn is_dead(&self) -> bool {
        let age = Timestamp::now().duration_since(self.time);
        let gone = || {
            Pid::from_raw(self.pid)
                .is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
        };
        age > STALE || (self.hostname == hostname() && gone())
    }

    fn told(&self) -> String {
        format!(
            "process {} of {} on {} since {}",
            self.pid, self.username, self.hostname, self.time
        )
    }
}

pub(crate) fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
