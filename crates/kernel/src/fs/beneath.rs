//! Opening what is below a folder, and only that: no symlink is followed, and nothing above is reached (openat2(2)).
//! Whoever touches what a container may have written opens it by this.
//! It must never fall back to a path: a kernel without openat2 (before 5.6) is refused.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, openat2, renameat_with};

use super::refused;
use crate::error::Result;

/// A folder, as a place to start from.
const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);

/// Opens the folder at the absolute `path`, in which no component may be a symlink.
///
/// # Errors
/// ELOOP where one is; ENOENT, ENOTDIR.
pub fn folder(path: &Path) -> Result<OwnedFd> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, FOLDER, Mode::empty(), resolve)
        .map_err(refused(format!("open {}", path.display())))
}

/// Opens the folder `path` below `dir`.
///
/// # Errors
/// ELOOP at a symlink, EXDEV where `path` leads out.
pub fn folder_in(dir: impl AsFd, path: &Path) -> Result<OwnedFd> {
    open_in(dir, path, FOLDER)
}

/// Opens `path` below `dir` with `flags`.
///
/// # Errors
/// ELOOP at a symlink, EXDEV where `path` leads out.
pub fn open_in(dir: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mode = match flags.contains(OFlags::CREATE) {
        true => Mode::from_raw_mode(0o600),
        false => Mode::empty(),
    };
    openat2(dir, path, flags | OFlags::CLOEXEC, mode, resolve)
        .map_err(refused(format!("open {}", path.display())))
}

/// Gives `from` the name `to`, which must be free.
///
/// # Errors
/// EEXIST where it is taken.
pub fn rename_new(from: &Path, to: &Path) -> Result<()> {
    rename(from, to, RenameFlags::NOREPLACE)
}

/// Lets `one` and `other` change places, in one step.
///
/// # Errors
/// EINVAL where the file system cannot.
pub fn exchange(one: &Path, other: &Path) -> Result<()> {
    rename(one, other, RenameFlags::EXCHANGE)
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<()> {
    let tried = format!("rename {} to {}", from.display(), to.display());
    renameat_with(CWD, from, CWD, to, flags).map_err(refused(tried))
}

/// Whether anything is at `path` of `dir`, a symlink included.
pub fn is_there(dir: impl AsFd, path: &Path) -> bool {
    rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
