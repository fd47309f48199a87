//! Owner, permissions, extended attributes and times of a file, in the order in which the kernel lets them stand.
//! The unpacker gives them to each file that it made.
//! It must never set an attribute by which overlayfs would look elsewhere than in the layers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::tree::by_descriptor;
use super::xattrs;
use crate::error::{Error, Result};
use crate::tar::{Entry, Kind, Time};

/// Attributes that say something to overlayfs (redirections above all), and labels that only mean something on the host
/// that wrote them. They are not taken from archives, nor put into them.
const PRIVATE: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux"];

/// Whether an extended attribute is no part of a layer.
pub(super) fn is_private(name: &[u8]) -> bool {
    PRIVATE.iter().any(|prefix| name.starts_with(prefix))
}

/// For a file or folder that is open. Chown takes away setuid and security.capability: it goes first.
pub(super) fn of_open(file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
    let failed = Error::in_layer("give its owner to", &entry.path);
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(file, uid, gid).map_err(failed)?;
    let failed = Error::in_layer("give its mode to", &entry.path);
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
    for (name, value) in public(entry) {
        let set = rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
        set.map_err(Error::in_layer("set an extended attribute of", &entry.path))?;
    }
    if entry.kind == Kind::Directory {
        // What is made in it later would change it: the unpacker does this in the end.
        return Ok(());
    }
    let failed = Error::in_layer("set the time of", &entry.path);
    rustix::fs::futimens(file, &times(entry)).map_err(failed)
}

/// For a link, a device or a fifo, which can't be opened.
pub(super) fn of_name(folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
    let failed = Error::in_layer("give its owner to", &entry.path);
    let (uid, gid) = owner(entry);
    rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if !matches!(entry.kind, Kind::Symlink(_)) {
        // It was made by us a moment ago, in a folder that nobody else can enter: no link is followed.
        let mode = Mode::from_raw_mode(entry.mode);
        let failed = Error::in_layer("give its mode to", &entry.path);
        rustix::fs::chmodat(folder, name, mode, AtFlags::empty()).map_err(failed)?;
    }
    for (key, value) in public(entry) {
        let path = by_descriptor(folder, name);
        let set = rustix::fs::lsetxattr(&path, key, value, XattrFlags::empty());
        set.map_err(Error::in_layer("set an extended attribute of", &entry.path))?;
    }
    let failed = Error::in_layer("set the time of", &entry.path);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(folder, name, &times(entry), flags).map_err(failed)
}

/// Gives one folder the owner, mode and extended attributes of another; returns the times that it should have.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<(Time, Time)> {
    let about = rustix::fs::fstat(from)?;
    let (uid, gid) = (Uid::from_raw(about.st_uid), Gid::from_raw(about.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(about.st_mode & 0o7777))?;
    for (name, value) in xattrs::public(xattrs::of_open(from)?) {
        rustix::fs::fsetxattr(to, name.as_slice(), &value, XattrFlags::empty())?;
    }
    let time = |seconds: i64, fraction: u64| Time {
        seconds,
        nanoseconds: u32::try_from(fraction).unwrap_or(0),
    };
    Ok((
        time(about.st_mtime, about.st_mtime_nsec),
        time(about.st_atime, about.st_atime_nsec),
    ))
}

/// The times of a folder, once nothing is made in it any more.
pub(super) fn set_times(file: impl AsFd, mtime: Time, atime: Time, path: &[u8]) -> Result<()> {
    let failed = Error::in_layer("set the time of", path);
    rustix::fs::futimens(file, &stamps(mtime, atime)).map_err(failed)
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

fn public(entry: &Entry) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
    entry.xattrs.iter().filter(|(name, _)| !is_private(name))
}

fn times(entry: &Entry) -> Timestamps {
    stamps(entry.mtime, entry.atime.unwrap_or(entry.mtime))
}

fn stamps(mtime: Time, atime: Time) -> Timestamps {
    let stamp = |time: Time| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: stamp(atime),
        last_modification: stamp(mtime),
    }
}
