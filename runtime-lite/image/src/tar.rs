//! A tar archive as a stream of entries: ustar, GNU and pax, with long names, sparse files and extended attributes.
//! Layers are unpacked from it, archives of images are indexed by it. The crate `tar` decodes header blocks; its own
//! reader is not used: it takes extended headers of any length into memory and does not know pax's sparse files.
//! It must never hold more than a bounded piece of the archive, nor believe a length that it has not checked.

mod header;
mod pax;
mod reader;
mod sparse;

pub(crate) use header::{Entry, Kind, Time};
pub(crate) use reader::{Reader, Stream};

/// Everything in a tar archive is in multiples of it, in bytes (ustar).
pub(crate) const BLOCK: usize = 512;
