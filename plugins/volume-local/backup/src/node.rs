//! A file's metadata as the repository has it.
//! The walk makes it from what statx(2) says.
//! It must never say what the kernel did not say; names of users and groups belong to another host and are left out.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustix::fs::{FileType, Statx, StatxTimestamp};
use serde::de::DeserializeOwned;

use crate::attributes::{self, Attribute};
use crate::beneath;
use crate::mode;

/// The node of `name` in an open directory; an empty name is the directory itself.
pub(crate) fn read(directory: BorrowedFd<'_>, name: &OsStr, stat: &Statx) -> io::Result<Node> {
    let kind = kind(directory, name, stat)?;
    let path = match name.is_empty() {
        true => beneath::of_descriptor(directory).join("."),
        false => beneath::by_descriptor(directory, name),
    };
    let mut meta = metadata(stat, &kind)?;
    let attributes = attributes::read(&path)?;
    if !attributes.is_empty() {
        meta.extended_attributes = told(attributes)?;
    }
    Ok(Node::new_node(name, kind, meta))
}

fn kind(directory: BorrowedFd<'_>, name: &OsStr, stat: &Statx) -> io::Result<NodeType> {
    let device = || rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
    Ok(match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => NodeType::File,
        FileType::Directory => NodeType::Dir,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            NodeType::from_link(Path::new(OsStr::from_bytes(target.to_bytes())))
        }
        FileType::BlockDevice => NodeType::Dev { device: device() },
        FileType::CharacterDevice => NodeType::Chardev { device: device() },
        FileType::Fifo => NodeType::Fifo,
        FileType::Socket => NodeType::Socket,
        _ => return Err(io::Error::other("of a type that no repository has")),
    })
}

fn metadata(stat: &Statx, kind: &NodeType) -> io::Result<Metadata> {
    let modified = time(stat.stx_mtime)?;
    Ok(Metadata {
        mode: Some(mode::to_go(stat.stx_mode.into(), kind)),
        mtime: Some(modified),
        // As restic does without --with-atime: reading for the backup would change it anyway.
        atime: Some(modified),
        ctime: Some(time(stat.stx_ctime)?),
        uid: Some(stat.stx_uid),
        gid: Some(stat.stx_gid),
        inode: stat.stx_ino,
        device_id: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        size: if *kind == NodeType::File {
            stat.stx_size
        } else {
            0
        },
        links: if *kind == NodeType::Dir {
            0
        } else {
            stat.stx_nlink.into()
        },
        ..Metadata::default()
    })
}

fn time(of: StatxTimestamp) -> io::Result<Timestamp> {
    let nanoseconds = i128::from(of.tv_sec) * 1_000_000_000 + i128::from(of.tv_nsec);
    Timestamp::from_nanosecond(nanoseconds)
        .map_err(|_| io::Error::other("a time that no repository can hold"))
}

/// rustic_core does not export the type of an attribute: it is made from JSON, as in the repository.
fn told<T: DeserializeOwned>(attributes: Vec<Attribute>) -> io::Result<T> {
    let mut list = Vec::with_capacity(attributes.len());
    for (name, value) in attributes {
        let name = String::from_utf8(name)
            .map_err(|_| io::Error::other("an extended attribute whose name is no UTF-8"))?;
        list.push(serde_json::json!({ "name": name, "value": STANDARD.encode(value) }));
    }
    Ok(serde_json::from_value(list.into())?)
}
