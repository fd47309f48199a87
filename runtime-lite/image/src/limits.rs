//! The bounds that an archive is held to, whatever it claims; docs/images.md states them.
//! Every reader takes them; tests take smaller ones.
//! They must never be a function of what the archive says of itself.

use std::os::fd::AsFd;

use crate::error::{Error, Result};

/// The longest extended header, sparse map or long name, in bytes (Go's archive/tar has the same bound).
pub(crate) const EXTENDED_BYTES: u64 = 1 << 20;
/// The longest path, in bytes (PATH_MAX with its end, limits.h).
pub(crate) const PATH_BYTES: usize = 4095;
/// The longest name of one file, in bytes (NAME_MAX, limits.h).
pub(crate) const NAME_BYTES: usize = 255;
/// The largest manifest, index or configuration, in bytes (the OCI distribution specification's advice for manifests).
pub(crate) const DOCUMENT_BYTES: u64 = 4 << 20;
/// The most files of an archive that holds images, as opposed to one that holds a root filesystem.
pub(crate) const ARCHIVE_FILES: usize = 65_536;
/// The most layers of an image (OVL_MAX_STACK, fs/overlayfs/params.c).
pub(crate) const LAYERS: usize = 500;

/// How many bytes are written between two looks at the free space.
pub(crate) const SPACE_BYTES: u64 = 64 << 20;

/// Bounds that the caller can move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of one layer.
    pub entries: u64,
    /// Bytes of one layer: all that its stream has, and the lengths of all its files with the holes of sparse ones.
    pub layer_bytes: u64,
    /// Of the filesystem below the store, this part stays free: one in so many bytes.
    pub free_part: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: 1_000_000,
            layer_bytes: 64 << 30,
            free_part: 20,
        }
    }
}

impl Limits {
    /// Checks that the filesystem of `folder` has more than the part that stays free, of blocks and of inodes.
    pub(crate) fn leaves_space(&self, folder: impl AsFd) -> Result<()> {
        let space = rustix::fs::fstatvfs(folder);
        let space = space.map_err(Error::in_layer("ask for free space of", b"."))?;
        let keep = |whole: u64| whole / self.free_part.max(1);
        // Some filesystems count no inodes.
        let inodes = space.f_files > 0 && space.f_favail < keep(space.f_files);
        match inodes || space.f_bavail < keep(space.f_blocks) {
            false => Ok(()),
            true => Err(Error::Bound {
                what: "what the filesystem has to take",
                bound: format!("one part in {} of it stays free", self.free_part),
            }),
        }
    }
}
