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

/// Whose locks they are, by what they do: nothing of a reader that died is left to be used.
const WRITER: &str = "wharfline";
const READER: &str = "wharfline-reader";

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
    store: Arc<dyn Store>,
    /// Locks of writers who died: their operations were interrupted.
    dead: Vec<String>,
}

struct Keeper {
    whose: &'static str,
    store: Arc<dyn Store>,
    key: Arc<Key>,
    name: String,
}

impl Lock {
    /// Takes a lock to write.
    pub(crate) fn take(store: &Arc<dyn Store>, key: &Arc<Key>) -> Result<Lock> {
        Lock::of(WRITER, store, key)
    }

    /// Written first and looked around after, as `restic` does, so that of two at least one sees the other.
    fn of(whose: &'static str, store: &Arc<dyn Store>, key: &Arc<Key>) -> Result<Lock> {
        let name = write(whose, store, key)?;
        let keeper = Keeper {
            whose,
            store: Arc::clone(store),
            key: Arc::clone(key),
            name,
        };
        let dead = match keeper.look_around() {
            Ok(dead) => dead,
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
            store: Arc::clone(store),
            dead,
        })
    }

    /// Takes a lock to read; where nobody can write, nobody can prune either.
    pub(crate) fn take_to_read(store: &Arc<dyn Store>, key: &Arc<Key>) -> Result<Lock> {
        match Lock::of(READER, store, key) {
            Err(Error::File { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
                ) =>
            {
                Ok(Lock {
                    stop: None,
                    keeper: None,
                    store: Arc::clone(store),
                    dead: Vec::new(),
                })
            }
            taken => taken,
        }
    }

    /// Whether an operation was interrupted.
    pub(crate) fn finds_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// Removes the locks of dead writers: for whoever has made use of what they left. Readers let them stay.
    pub(crate) fn remove_dead(&mut self) -> Result<()> {
        for name in self.dead.drain(..) {
            self.store.remove(Kind::Lock, &name)?;
        }
        Ok(())
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
    /// The locks of dead writers; those of dead readers go. Fails where somebody alive excludes others.
    fn look_around(&self) -> Result<Vec<String>> {
        let mut dead = Vec::new();
        for (name, _) in self.store.list(Kind::Lock)? {
            if name == self.name {
                continue;
            }
            // One that can't be read is being written or removed.
            let Some(holder) = self.read(&name) else {
                continue;
            };
            if holder.is_dead() && holder.username == READER {
                self.store.remove(Kind::Lock, &name)?;
            } else if holder.is_dead() {
                dead.push(name);
            } else if holder.exclusive {
                return Err(Error::Locked {
                    repository: self.store.location(),
                    holder: holder.told(),
                });
            }
        }
        Ok(dead)
    }

    fn read(&self, name: &str) -> Option<Holder> {
        let sealed = self.store.read(Kind::Lock, name).ok()?;
        serde_json::from_slice(&self.key.open_file(&sealed).ok()?).ok()
    }

    /// Until told to stop: a fresh lock in time, then the old one away.
    fn keep(mut self, stopped: &mpsc::Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(REFRESH) {
            // What fails now is tried again after five minutes, long before others take the lock for stale.
            if let Ok(fresh) = write(self.whose, &self.store, &self.key) {
                let old = std::mem::replace(&mut self.name, fresh);
                let _ = self.store.remove(Kind::Lock, &old);
            }
        }
        // If it stays, the next that comes sees a dead process.
        let _ = self.store.remove(Kind::Lock, &self.name);
    }
}

fn write(whose: &str, store: &Arc<dyn Store>, key: &Key) -> Result<String> {
    let location = store.location();
    let failed = |problem: String| Error::Repository {
        doing: "lock",
        repository: location.clone(),
        problem,
    };
    let plain =
        serde_json::to_vec(&Holder::new(whose)).map_err(|cause| failed(cause.to_string()))?;
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
    fn new(whose: &str) -> Holder {
        Holder {
            time: Timestamp::now(),
            exclusive: false,
            hostname: hostname(),
            username: whose.to_owned(),
            pid: getpid().as_raw_nonzero().get(),
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
        }
    }

    fn is_dead(&self) -> bool {
        let age = Timestamp::now().duration_since(self.time);
        age > STALE || (self.hostname == hostname() && self.is_gone())
    }

    /// Whether its process is no more, or has ended and waits for a parent that does not care (proc_pid_stat(5)).
    fn is_gone(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        matches!(state, Some('Z' | 'X'))
            || Pid::from_raw(self.pid)
                .is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
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
