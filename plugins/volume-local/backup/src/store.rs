//! Where a repository's files are: what every kind of store can do.
//! `local` is a directory, `s3` an object store; `rustic` hands one to rustic_core, `locks` uses it directly.
//! A store must never leave half a file under a name that readers look at.

use std::fmt;

use bytes::Bytes;

use crate::error::Result;

/// The kinds of files, as restic's design document names them ("Repository Layout").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Config,
    Key,
    Snapshot,
    Index,
    Pack,
    Lock,
}

impl Kind {
    /// The directory; the config has none.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Kind::Config => "",
            Kind::Key => "keys",
            Kind::Snapshot => "snapshots",
            Kind::Index => "index",
            Kind::Pack => "data",
            Kind::Lock => "locks",
        }
    }

    /// The path of a file below the repository's root: packs are spread over 256 directories.
    pub(crate) fn path(self, name: &str) -> String {
        match self {
            Kind::Config => "config".to_owned(),
            Kind::Pack => format!("data/{}/{name}", name.get(..2).unwrap_or(name)),
            other => format!("{}/{name}", other.directory()),
        }
    }
}

/// What a repository needs of its place. Names are 64 hexadecimal digits, but for the config's.
pub(crate) trait Store: fmt::Debug + Send + Sync + 'static {
    /// Its address, without credentials.
    fn location(&self) -> String;
    /// Makes what an empty repository needs.
    fn create(&self) -> Result<()>;
    /// All files of a kind with their sizes. Empty if there are none.
    fn list(&self, kind: Kind) -> Result<Vec<(String, u64)>>;
    /// A whole file.
    fn read(&self, kind: Kind, name: &str) -> Result<Bytes>;
    /// Exactly `length` bytes from `offset` on.
    fn read_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Bytes>;
    /// Makes a file of these parts; when it returns, the file survives a power cut.
    fn write(&self, kind: Kind, name: &str, parts: &[Bytes]) -> Result<()>;
    /// Removes a file. One that is gone already is no error.
    fn remove(&self, kind: Kind, name: &str) -> Result<()>;
    /// Removes what writers that died have left, older than a day.
    fn sweep(&self) -> Result<()>;
}

/// Whether `name` is one that a repository's file can have.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
