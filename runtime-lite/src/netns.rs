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
            fs::write(&note, "").map_err(Error::file("write", note))
        }
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(Error::file("create", dir)(cause)),
    }
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
