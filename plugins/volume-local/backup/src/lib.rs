//! Backups of volumes in restic's repository format: `restic` reads what we write, and we read what `restic` wrote.
//! volume-local's worker calls it; docs/backup.md tells how it looks from outside. rustic_core does chunks, packs, index
//! and retention; ours are the walk, the stores, the locks, restore and verification.
//! It must never touch anything outside the tree it was given, nor let a password into an error.

mod address;
mod adopt;
mod attributes;
mod backup;
mod beneath;
mod error;
mod forget;
mod http;
mod key;
mod local;
mod locks;
mod mode;
mod node;
mod password;
mod progress;
mod reader;
mod repository;
mod restore;
mod rustic;
mod s3;
mod snapshots;
mod source;
mod store;
mod trees;
mod verify;

pub use address::{Access, Address, Keys};
pub use backup::{Backup, Subject};
pub use error::{Error, Result};
pub use forget::{Forgotten, Policy};
pub use password::Password;
pub use progress::{Progress, Silent};
pub use repository::Repository;
pub use restore::Restored;
pub use snapshots::{Filter, Snapshot};
pub use source::Note;
pub use verify::Verified;
