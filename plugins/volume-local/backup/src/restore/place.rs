//! Makes files of every kind below the root of a restore.
//! `Restore` calls it for what has no contents, the batch for files.
//! It must never use a name that is there already: everything is made anew.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustic_core::repofile::{Node, NodeType};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::beneath;
use crate::error::{Error, Result};

/// Directories below a root; the one used last stays open, as most files are in the same as the one before.
#[derive(Debug)]
pub(super) struct Places<'a> {
    root: &'a OwnedFd,
    last: Option<(PathBuf, OwnedFd)>,
}

impl<'a> Places<'a> {
    pub(super) fn new(root: &'a OwnedFd) -> Places<'a> {
        Places { root, last: None }
    }

    /// The directory that a path is in, and its name there.
    pub(super) fn of<'p>(&mut self, path: &'p Path) -> Result<(BorrowedFd<'_>, &'p OsStr)> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default();
        if parent.as_os_str().is_empty() {
            return Ok((self.root.as_fd(), name));
        }
        if self.last.as_ref().is_none_or(|(known, _)| known != parent) {
            let opened = beneath::directory(self.root.as_fd(), parent)
                .map_err(Error::file("open", parent))?;
            self.last = Some((parent.to_owned(), opened));
        }
        let directory = self
            .last
            .as_ref()
            .map_or(self.root.as_fd(), |(_, directory)| directory.as_fd());
        Ok((directory, name))
    }

    pub(super) fn make_directory(&mut self, path: &Path) -> Result<()> {
        let (directory, name) = self.of(path)?;
        // For nobody else until it has its own mode.
        rustix::fs::mkdirat(directory, name, Mode::RWXU)
            .map_err(Error::file("make the directory", path))
    }

    /// Makes a file, or opens the one that was made for the same snapshot.
    pub(super) fn open_file(&mut self, path: &Path, create: bool) -> Result<File> {
        let (directory, name) = self.of(path)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = if create {
            flags | OFlags::CREATE | OFlags::EXCL
        } else {
            flags
        };
        let opened = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR);
        Ok(File::from(opened.map_err(Error::file(
            if create { "create" } else { "open" },
            path,
        ))?))
    }

    pub(super) fn link(&mut self, first: &Path, path: &Path) -> Result<()> {
        let parent = first.parent().unwrap_or(Path::new(""));
        let from =
            beneath::directory(self.root.as_fd(), parent).map_err(Error::file("open", parent))?;
        let (directory, name) = self.of(path)?;
        let linked = rustix::fs::linkat(
            &from,
            first.file_name().unwrap_or_default(),
            directory,
            name,
            AtFlags::empty(),
        );
        linked.map_err(Error::file("link", path))
    }

    /// Makes a symbolic link, a device, a FIFO or a socket.
    pub(super) fn make_special(&mut self, path: &Path, node: &Node) -> Result<()> {
        let (directory, name) = self.of(path)?;
        let (kind, device) = match &node.node_type {
            NodeType::Symlink { .. } => {
                let linked = rustix::fs::symlinkat(node.node_type.to_link(), directory, name);
                return linked.map_err(Error::file("make the symbolic link", path));
            }
            NodeType::Dev { device } => (FileType::BlockDevice, *device),
            NodeType::Chardev { device } => (FileType::CharacterDevice, *device),
            NodeType::Fifo => (FileType::Fifo, 0),
            NodeType::Socket => (FileType::Socket, 0),
            NodeType::File | NodeType::Dir => {
                let problem = io::Error::other("the snapshot does not say what is in it");
                return Err(Error::file("make", path)(problem));
            }
        };
        let made = rustix::fs::mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device);
        made.map_err(Error::file("make the special file", path))
    }
}
