//! A container's network namespace: made empty, kept by a bind mount, removed with it.
//! `run` makes one before the container exists, `remove` takes it away; plugins fill it.
//! It must never move wharf's own threads but the one that makes the namespace and ends.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::home::Home;

/// The note of [`ensure_folder`], in the folder of run-time state.
const FOLDER_NOTE: &str = "netns-folder-is-ours";

/// Makes a network namespace and keeps it at `path`, which `ip netns` then lists.
pub(crate) fn create(home: &Home, path: &Path) -> Result<()> {
    ensure_folder(home)?;
    File::create_new(path).map_err(Error::file("create", path))?;
    let made = thread::scope(|scope| {
        // A thread of its own, which ends inside the new namespace: no way back that could be forgotten.
        let worker = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(
                Some("/proc/thread-self/ns/net"),
                path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
        });
        worker.join().map_err(|_| Error::Thread)
    })?;
    made.map_err(|errno| {
        // Without the mount it is an empty file that nobody would look for.
        let _ = fs::remove_file(path);
        Error::kernel("make a network namespace at", path)(errno)
    })
}

/// Makes the folder of named namespaces, and notes that it was we who did: it is not ours to remove otherwise.
fn ensure_folder(home: &Home) -> Result<()> {
    let dir = home.netns_dir();
    match fs::create_dir(dir) {
        Ok(()) => {
            let note = home.run().join(FOLDER_NOTE);
            fs::write(&note, "").map_err(Error::file("write", note))?;
        }
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(Error::file("create", dir)(cause)),
    }
    share(dir)
}

/// Makes the folder a shared mount, as ip-netns(8) and podman do when they first use it. Were it left to them, they would
/// cover what is mounted here, and nobody could remove that any more (EBUSY).
fn share(dir: &Path) -> Result<()> {
    let nothing = None::<&str>;
    let shared = || {
        mount(
            nothing,
            dir,
            nothing,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            nothing,
        )
    };
    let failed = |errno| Error::kernel("share the mount", dir)(errno);
    // The lock that ip-netns(8) takes for the same.
    let lock = File::open(dir).map_err(Error::file("open", dir))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|errno| Error::file("lock", dir)(errno.into()))?;
    match shared() {
        // It is no mount point yet.
        Err(Errno::EINVAL) => {
            mount(
                Some(dir),
                dir,
                nothing,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                nothing,
            )
            .map_err(failed)?;
            shared().map_err(failed)
        }
        other => other.map_err(failed),
    }
}

/// Removes the folder of named namespaces, if nothing is in it any more.
pub(crate) fn remove_folder(dir: &Path) -> io::Result<()> {
    if fs::read_dir(dir)?.next().is_none() {
        // A mount point can't be removed; one that is none is as well.
        let _ = umount2(dir, MntFlags::MNT_DETACH);
    }
    fs::remove_dir(dir)
}

/// Whether wharf made the folder of named namespaces in this boot.
pub(crate) fn folder_is_ours(home: &Home) -> bool {
    home.run().join(FOLDER_NOTE).exists()
}

/// Lets go of the namespace at `path`; one that is gone already is success.
pub(crate) fn remove(path: &Path) -> Result<()> {
    // Mounted twice (a crashed make, a curious person) it must be unmounted twice.
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(Error::kernel("unmount", path)(errno)),
        }
    }
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(cause))
        }
        _ => Ok(()),
    }
}

/// Whether `path` is a network namespace (and not just the file that one was mounted on).
pub(crate) fn exists(path: &Path) -> bool {
    use nix::sys::statfs::statfs;
    // NSFS_MAGIC, include/uapi/linux/magic.h
    statfs(path).is_ok_and(|about| about.filesystem_type().0 == 0x6e73_6673)
}
