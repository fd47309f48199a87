//! A snapshot becomes files below an empty directory.
//! `wharf volume restore` ends here, with the descriptor of a new volume.
//! It must never write outside that directory, nor call it restored when anything differs.

mod apply;
mod batch;
mod place;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustic_core::TreeId;
use rustic_core::repofile::{Node, NodeType};
use rustix::fs::Dir;
use serde::Serialize;

use self::apply::Wanted;
use self::batch::Batch;
use self::place::Places;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use crate::trees::{self, Indexed};

/// What was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Files and links to them, devices, FIFOs, sockets and symbolic links.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes in files, holes included.
    pub bytes: u64,
}

impl Repository {
    /// Restores a snapshot into an empty directory: contents, holes, hard links, owners, modes, times, extended attributes,
    /// those of the root directory included. Each is compared with the snapshot after it was set.
    ///
    /// # Errors
    ///
    /// The directory is not empty; a blob is missing or damaged; the kernel refuses something; something is not what it
    /// should be afterwards. What was restored until then stays there.
    pub fn restore(
        &self,
        snapshot: &Snapshot,
        into: OwnedFd,
        progress: &Arc<dyn Progress>,
    ) -> Result<Restored> {
        let _lock = self.lock_to_read()?;
        empty(&into)?;
        if let Some(bytes) = snapshot.bytes {
            progress.total(bytes, snapshot.files.unwrap_or(0));
        }
        let indexed = self.indexed()?;
        let root = trees::root(&indexed, snapshot)?;
        let mut restore = Restore {
            repository: self,
            indexed: &indexed,
            batch: Batch::default(),
            places: Places::new(&into),
            left: Vec::new(),
            linked: HashMap::new(),
            root: &into,
            progress: progress.as_ref(),
            restored: Restored::default(),
        };
        restore.tree(root.tree, Path::new(""))?;
        restore.flush()?;
        if let Some(node) = &root.node {
            Wanted::of(Path::new(""), node).apply_to_root(into.as_fd())?;
        }
        Ok(restore.restored)
    }
}

/// A restore on its way.
struct Restore<'a> {
    repository: &'a Repository,
    indexed: &'a Indexed,
    /// Files whose contents are yet to be written.
    batch: Batch,
    places: Places<'a>,
    /// Directories that nothing more is made in: their metadata follows when the batch is written.
    left: Vec<Wanted>,
    /// By device and inode, where the first of several names of a file is.
    linked: HashMap<(u64, u64), PathBuf>,
    root: &'a OwnedFd,
    progress: &'a dyn Progress,
    restored: Restored,
}

/// A directory that the restore is in.
struct Level {
    path: PathBuf,
    nodes: std::vec::IntoIter<Node>,
    wanted: Option<Wanted>,
}

impl Restore<'_> {
    /// Everything below a directory. Not recursive: a tree may be deeper than a stack.
    fn tree(&mut self, id: TreeId, path: &Path) -> Result<()> {
        let mut open = vec![self.level(id, path, None)?];
        while let Some(level) = open.last_mut() {
            let Some(node) = level.nodes.next() else {
                self.left.extend(open.pop().and_then(|level| level.wanted));
                continue;
            };
            let path = trees::joined(&level.path, &node)?;
            match node.subtree.filter(|_| node.is_dir()) {
                Some(id) => open.push(self.enter(id, path, &node)?),
                None => self.file(path, node)?,
            }
            if self.batch.is_full() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn level(&self, id: TreeId, path: &Path, wanted: Option<Wanted>) -> Result<Level> {
        let nodes = trees::tree(self.indexed, id, path)?.nodes.into_iter();
        Ok(Level {
            path: path.to_owned(),
            nodes,
            wanted,
        })
    }

    fn enter(&mut self, id: TreeId, path: PathBuf, node: &Node) -> Result<Level> {
        self.places.make_directory(&path)?;
        self.restored.directories += 1;
        self.progress.advance(0, 1);
        let wanted = Wanted::of(&path, node);
        self.level(id, &path, Some(wanted))
    }

    fn file(&mut self, path: PathBuf, node: Node) -> Result<()> {
        self.restored.files += 1;
        self.progress.advance(0, 1);
        if let Some(key) = link_key(&node) {
            if let Some(first) = self.linked.get(&key) {
                return self.places.link(first, &path);
            }
            self.linked.insert(key, path.clone());
        }
        match node.node_type {
            NodeType::File => {
                self.restored.bytes +=
                    self.batch
                        .add(self.indexed, &mut self.places, path, &node)?;
                Ok(())
            }
            _ => {
                let wanted = Wanted::of(&path, &node);
                self.places.make_special(&path, &node)?;
                let (directory, name) = self.places.of(&path)?;
                wanted.apply(directory, name, None)
            }
        }
    }

    /// Writes the contents that are waiting, then the metadata of directories that are complete by that.
    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        batch.write(self.repository, self.root, self.progress)?;
        for wanted in std::mem::take(&mut self.left) {
            let (directory, name) = self.places.of(wanted.path())?;
            wanted.apply(directory, name, None)?;
        }
        Ok(())
    }
}

/// What makes two names one file. The device is part of it: a snapshot may span several.
fn link_key(node: &Node) -> Option<(u64, u64)> {
    let meta = &node.meta;
    (!node.is_dir() && meta.links > 1 && meta.inode != 0).then_some((meta.device_id, meta.inode))
}

fn empty(directory: &OwnedFd) -> Result<()> {
    let refused =
        |cause: rustix::io::Errno| Error::file("list", Path::new("the target directory"))(cause);
    for entry in Dir::read_from(directory).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name().to_bytes();
        // A new ext4 has it.
        if !matches!(name, b"." | b".." | b"lost+found") {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(Error::Target {
                path: PathBuf::from("the directory"),
                problem: format!("it is not empty: it has {name:?}"),
            });
        }
    }
    Ok(())
}
