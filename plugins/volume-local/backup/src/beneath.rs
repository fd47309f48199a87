//! Files below a directory, reached by descriptors only: openat2(2) refuses every link and every way out.
//! The walk reads by it, restore writes by it.
//! It must never open a name in any other way.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often openat2(2) is asked again when a rename elsewhere keeps it from deciding (EAGAIN).
const ATTEMPTS: usize = 128;
/// Shorter than PATH_MAX, so that what is left after a cut is still a name.
const LONGEST: usize = 3800;

/// Opens what is at `path`, relative to `root`, without following any link.
pub(crate) fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() <= LONGEST {
        return step(root, path, flags, mode);
    }
    // A deep tree: one directory on the way, then the rest from there.
    let cut = bytes[..LONGEST]
        .iter()
        .rposition(|byte| *byte == b'/')
        .ok_or(Errno::NAMETOOLONG)?;
    let on_the_way = step(
        root,
        Path::new(OsStr::from_bytes(&bytes[..cut])),
        OFlags::PATH | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    open(
        on_the_way.as_fd(),
        Path::new(OsStr::from_bytes(&bytes[cut + 1..])),
        flags,
        mode,
    )
}

fn step(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut answer = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        answer = rustix::fs::openat2(
            root,
            path,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            mode,
            resolve,
        );
        if answer.as_ref().err() != Some(&Errno::AGAIN) {
            break;
        }
    }
    Ok(answer?)
}

/// A directory below `root`, to reach what is in it by name.
pub(crate) fn directory(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    open(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
    )
}

/// A path that leads to `name` in an open directory, for calls that take no descriptor (the `l…xattr` family). Its last part
/// is not followed by them, and what is before leads to the descriptor's directory and nowhere else.
pub(crate) fn by_descriptor(directory: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    path.push(name);
    path
}

/// The same for an open file itself.
pub(crate) fn of_descriptor(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
