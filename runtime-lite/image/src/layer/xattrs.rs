//! Extended attributes, read: of an open file, or of one that can't be opened.
//! Packing asks for them, and folders that take after those of the layers below.
//! It must never count an attribute that is no part of a layer: `public` leaves those out.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use super::attributes::is_private;
use super::tree::by_descriptor;

/// Names and values.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The longest list, and the longest value, in bytes (XATTR_LIST_MAX and XATTR_SIZE_MAX, linux/limits.h).
const LONGEST: usize = 65_536;

/// Those that belong to a layer, by name.
pub(super) fn public(all: Xattrs) -> Xattrs {
    let mut all: Xattrs = all
        .into_iter()
        .filter(|(name, _)| !is_private(name))
        .collect();
    all.sort();
    all
}

pub(super) fn of_open(file: impl AsFd) -> io::Result<Xattrs> {
    let file = file.as_fd();
    collect(
        |list| rustix::fs::flistxattr(file, list),
        |name, value| rustix::fs::fgetxattr(file, OsStr::from_bytes(name), value),
    )
}

pub(super) fn of_name(folder: impl AsFd, name: &[u8]) -> io::Result<Xattrs> {
    let folder: BorrowedFd<'_> = folder.as_fd();
    let path = by_descriptor(folder, name);
    collect(
        |list| rustix::fs::llistxattr(&path, list),
        |name, value| rustix::fs::lgetxattr(&path, OsStr::from_bytes(name), value),
    )
}

fn collect(
    list: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Xattrs> {
    let mut buffer = vec![0; LONGEST];
    let length = match list(&mut buffer) {
        // The filesystem has none.
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let names = buffer[..length].to_vec();
    let mut all = Vec::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let length = get(name, &mut buffer)?;
        all.push((name.to_vec(), buffer[..length].to_vec()));
    }
    Ok(all)
}
