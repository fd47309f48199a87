//! Locks between processes, by flock(2) on files under /run, each with a deadline.
//! The engine takes one per attachment, and one per network while it is shared or torn down.
//! It must never be held across a runtime's call into another plugin.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, ErrorKind, Result};

/// How long a verb waits for another that holds the same lock.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Together with others who share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// A held lock; dropping it lets go.
/// A held lock; dropping it lets go.
#[derive(Debug)]
#[must_use = "a lock that is dropped at once protects nothing"]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for the lock at `path` until [`DEADLINE`]; [`ErrorKind::Busy`] past it.
    pub fn acquire(path: &Path, mode: Mode) -> Result<Self> {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let held = match Flock::lock(open(path)?, nonblocking(mode)) {
                Ok(held) => held,
                Err((file, Errno::EWOULDBLOCK)) => wait(file, mode, give_up, path)?,
                Err((_, errno)) => return Err(refused(path, errno)),
            };
            // Whoever held it may have removed the file: then the lock to have is on its successor.
            if is_still(path, &held) {
                return Ok(Self { _file: held });
            }
        }
    }

    /// The lock at `path`, if nobody holds it in the way.
    pub fn try_acquire(path: &Path, mode: Mode) -> Result<Option<Self>> {
        match Flock::lock(open(path)?, nonblocking(mode)) {
            Ok(held) if is_still(path, &held) => Ok(Some(Self { _file: held })),
            Ok(_) | Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(refused(path, errno)),
        }
    }

    /// Removes the file, which stands for something that is no more, and lets go.
    pub fn remove(self, path: &Path) -> Result<()> {
        crate::state::unlink(path)
    }
}

/// Blocks in flock(2) on a thread of its own, because the call knows no deadline. A thread left
/// behind holds nothing: it lets go as soon as it gets the lock.
fn wait(file: File, mode: Mode, give_up: Instant, path: &Path) -> Result<Flock<File>> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("lock".into())
        .spawn(move || {
            // The receiver is gone once the deadline has passed: the lock is dropped with the message.
            let _ = sender.send(Flock::lock(file, blocking(mode)).map_err(|(_, errno)| errno));
        })
        .map_err(|e| Error::io("start a thread to wait for a lock", e))?;
    match receiver.recv_timeout(give_up.saturating_duration_since(Instant::now())) {
        Ok(Ok(held)) => Ok(held),
        Ok(Err(errno)) => Err(refused(path, errno)),
        Err(_) => Err(Error::new(
            ErrorKind::Busy,
            format!(
                "lock {} is still held by another after {} s",
                path.display(),
                DEADLINE.as_secs()
            ),
        )),
    }
}

fn open(path: &Path) -> Result<File> {
    let open = || {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
    };
    let opened = match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(folder) => fs::create_dir_all(folder).and_then(|()| open()),
            None => Err(e),
        },
        other => other,
    };
    opened.map_err(|e| Error::io(format!("open lock {}", path.display()), e))
}

fn nonblocking(mode: Mode) -> FlockArg {
    match mode {
        Mode::Shared => FlockArg::LockSharedNonblock,
        Mode::Exclusive => FlockArg::LockExclusiveNonblock,
    }
}

fn blocking(mode: Mode) -> FlockArg {
    match mode {
        Mode::Shared => FlockArg::LockShared,
        Mode::Exclusive => FlockArg::LockExclusive,
    }
}

fn is_still(path: &Path, held: &File) -> bool {
    match (fs::metadata(path), held.metadata()) {
        (Ok(there), Ok(ours)) => there.ino() == ours.ino() && there.dev() == ours.dev(),
        _ => false,
    }
}

fn refused(path: &Path, errno: Errno) -> Error {
    Error::io(
        format!("lock {}", path.display()),
        io::Error::from_raw_os_error(errno as i32),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_until_it_is_dropped() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("locks/one");
        let held = Lock::acquire(&path, Mode::Exclusive).expect("free");
        assert!(
            Lock::try_acquire(&path, Mode::Shared)
                .expect("asked")
                .is_none()
        );
        drop(held);
        assert!(
            Lock::try_acquire(&path, Mode::Shared)
                .expect("asked")
                .is_some()
        );
    }

    #[test]
    fn a_waiter_gets_the_lock_on_the_successor_of_a_removed_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("one");
        let held = Lock::acquire(&path, Mode::Exclusive).expect("free");
        thread::scope(|scope| {
            let waiter = scope.spawn(|| Lock::acquire(&path, Mode::Exclusive));
            held.remove(&path).expect("removed");
            let lock = waiter.join().expect("no panic").expect("got it");
            assert!(path.exists());
            drop(lock);
        });
    }
}
