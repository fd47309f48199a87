//! Who is alive: locks on two bytes of a container's `lock` file, one for `wharf`, one for the shim.
//! `wharf run`, `wharf gc` and the shim use it; the kernel drops a lock when its process dies, however it dies.
//! Process-bound (POSIX) locks on purpose: a forked child never inherits one, so a container's half-made first
//! process can't keep a dead shim looking alive (fcntl(2), "Advisory record locking").

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;

use crate::file;

/// Which of the two parties a lock stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The `wharf` process that makes, watches or removes the container.
    Wharf,
    /// The container's shim.
    Shim,
}

impl Holder {
    fn byte(self) -> libc::off_t {
        match self {
            Holder::Wharf => 0,
            Holder::Shim => 1,
        }
    }
}

/// A held lock; dropping it (or dying) lets go. A process must hold at most one claim per container,
/// since closing *any* descriptor of the file drops its POSIX locks.
#[derive(Debug)]
pub struct Claim {
    file: File,
}

impl Claim {
    /// Takes `holder`'s lock in the container directory `dir`; `None` if another process has it.
    pub fn take(dir: &Path, holder: Holder) -> io::Result<Option<Claim>> {
        let file = open(dir)?;
        let lock = range(holder, libc::F_WRLCK);
        match fcntl(&file, FcntlArg::F_SETLK(&lock)) {
            Ok(_) => Ok(Some(Claim { file })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The same, waiting for whoever has it for at most `patience`; `None` if that was not enough.
    pub fn wait(dir: &Path, holder: Holder, patience: Duration) -> io::Result<Option<Claim>> {
        let file = open_existing(dir)?;
        let (sender, receiver) = mpsc::channel();
        // fcntl(2) knows no deadline. The lock is the process's, whichever of its threads takes it; one that is taken
        // too late is given back at once, because nobody receives it.
        std::thread::spawn(move || {
            let taken = loop {
                match fcntl(&file, FcntlArg::F_SETLKW(&range(holder, libc::F_WRLCK))) {
                    Err(Errno::EINTR) => {}
                    Err(errno) => break Err(errno.into()),
                    Ok(_) => break Ok(Claim { file }),
                }
            };
            let _ = sender.send(taken);
        });
        match receiver.recv_timeout(patience) {
            Ok(taken) => taken.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The pid of the process that holds `holder`'s lock, if one does. Asking about a claim that the caller
    /// itself holds is not possible: a process does not conflict with itself, and closing the file would drop it.
    pub fn held_by(dir: &Path, holder: Holder) -> io::Result<Option<i32>> {
        let file = match open_existing(dir) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        holder_of(&file, holder)
    }

    /// Keeps the lock over an exec(2), for what this process becomes: locks are a process's own, and stay as long as none
    /// of its descriptors of the file is closed (fcntl(2)).
    pub fn survive_exec(&self) -> io::Result<()> {
        fcntl(&self.file, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    }

    /// The pid of the process that holds the other party's lock on the container that is claimed here.
    pub fn other_held_by(&self, other: Holder) -> io::Result<Option<i32>> {
        holder_of(&self.file, other)
    }
}

fn holder_of(file: &File, holder: Holder) -> io::Result<Option<i32>> {
    let mut lock = range(holder, libc::F_WRLCK);
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    let free = lock.l_type == libc::F_UNLCK as libc::c_short;
    Ok((!free).then_some(lock.l_pid))
}

fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(file::CLAIM))
}

fn open_existing(dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(dir.join(file::CLAIM))
}

fn range(holder: Holder, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: holder.byte(),
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_lock_file_is_held_by_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(
            Claim::held_by(dir.path(), Holder::Shim).expect("read"),
            None
        );
    }

    #[test]
    fn a_claim_of_one_party_leaves_the_other_free() {
        let dir = tempfile::tempdir().expect("a directory");
        let claim = Claim::take(dir.path(), Holder::Wharf)
            .expect("locked")
            .expect("free");
        assert_eq!(claim.other_held_by(Holder::Shim).expect("read"), None);
    }
}
