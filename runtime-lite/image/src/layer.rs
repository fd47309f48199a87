//! One layer: unpacked into a folder, packed from one, and the recipe that makes the same archive of it again.
//! `import`, `commit`, `export` and the filling of volumes use it.
//! It must never touch anything outside the folder that it was given, whatever an archive says.

mod attributes;
mod pack;
mod recipe;
mod times;
mod tree;
mod unpack;
mod xattrs;

pub(crate) use pack::pack;
pub(crate) use recipe::{Recipe, replay};
pub(crate) use tree::Tree;
pub(crate) use unpack::{Counts, Unpacker, Whiteouts};

/// What begins the name of a whiteout (OCI image specification, layer.md, "Whiteouts").
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// The whiteout of everything that lower layers have in the folder ("Opaque Whiteout").
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// What begins the names that AUFS kept for itself: no part of the layer.
pub(crate) const AUFS: &[u8] = b".wh..wh.";
/// How overlayfs marks such a folder (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
