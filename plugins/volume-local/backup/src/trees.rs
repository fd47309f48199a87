//! The trees of a snapshot: where the volume's root is in it, and which names may be used.
//! Restore and verification walk by it.
//! It must never hand out a name that leads anywhere but into its own directory.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustic_core::repofile::{Node, Tree};
use rustic_core::{IndexedFullStatus, Repository as Rustic, TreeId};

use crate::error::{Error, Result};
use crate::snapshots::Snapshot;

/// rustic_core's repository with its whole index in memory.
pub(crate) type Indexed = Rustic<IndexedFullStatus>;

/// Where a snapshot's contents begin.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) tree: TreeId,
    /// The directory's own metadata, where the snapshot has it.
    pub(crate) node: Option<Node>,
}

/// The tree at the one path that the snapshot is of. Of several paths, or of a relative one, it is the tree above all.
pub(crate) fn root(indexed: &Indexed, snapshot: &Snapshot) -> Result<Root> {
    let top = Root {
        tree: snapshot.file.tree,
        node: None,
    };
    let [path] = snapshot.paths.as_slice() else {
        return Ok(top);
    };
    let mut root = Root {
        tree: snapshot.file.tree,
        node: None,
    };
    for part in path.components() {
        let Component::Normal(part) = part else {
            continue;
        };
        let tree = tree(indexed, root.tree, Path::new(""))?;
        let found = tree
            .nodes
            .into_iter()
            .find(|node| node.is_dir() && node.name() == part);
        match found.and_then(|node| Some((node.subtree?, node))) {
            Some((tree, node)) => {
                root = Root {
                    tree,
                    node: Some(node),
                }
            }
            None => return Ok(top),
        }
    }
    Ok(root)
}

/// A directory's tree. `path` is for the error.
pub(crate) fn tree(indexed: &Indexed, id: TreeId, path: &Path) -> Result<Tree> {
    indexed.get_tree(&id).map_err(|cause| {
        let problem = Error::rustic("read", &indexed.name)(cause).chain();
        Error::Damaged {
            object: format!("tree {id} of /{}", path.display()),
            problem,
        }
    })
}

/// The path of a node in a directory, if its name is one that a file can have.
pub(crate) fn joined(directory: &Path, node: &Node) -> Result<PathBuf> {
    let name: OsString = node.name().into_owned();
    let bytes = name.as_bytes();
    if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(Error::BadName {
            directory: directory.to_owned(),
            name: node.name.clone(),
        });
    }
    Ok(directory.join(name))
}
