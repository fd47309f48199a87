//! A volume's record: what was asked and when, in a file beside its content.
//! `root` reads all of them once, at the start; whatever changes writes one anew, whole.
//! It must never be readable to others: it may hold a password.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The only version there is.
const VERSION: u32 = 1;

/// What is kept of a volume. Its name is its folder's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// What keeps it, as `type` names it.
    pub(crate) backend: String,
    /// The options as they were asked.
    pub(crate) options: BTreeMap<String, String>,
    /// When it was made (RFC 3339).
    pub(crate) created: String,
    /// The size in bytes that `resize` gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resized: Option<u64>,
    /// How it came from another host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arrived: Option<Arrived>,
}

/// By what the host that sent a volume knows that this one has it, should it not have heard so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrived {
    /// Which migration it was.
    pub(crate) id: String,
    /// The volume's checksum when it came.
    pub(crate) digest: String,
}

/// What is kept of a snapshot. Its name is its folder's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    version: u32,
    /// When it was made (RFC 3339).
    pub(crate) created: String,
}

impl Record {
    pub(crate) fn new(backend: &str, options: &BTreeMap<String, String>) -> Self {
        Self {
            version: VERSION,
            backend: backend.to_owned(),
            options: options.clone(),
            created: now(),
            resized: None,
            arrived: None,
        }
    }
}

impl SnapshotRecord {
    pub(crate) fn new() -> Self {
        Self {
            version: VERSION,
            created: now(),
        }
    }
}

/// Reads a record.
///
/// # Errors
/// It is not there, or no record of a version that we know.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(Error::file("read", path))?;
    serde_json::from_slice(&text).map_err(|cause| Error::Record {
        path: path.to_owned(),
        cause,
    })
}

/// Writes a record: whole, and on the disk when this returns.
///
/// # Errors
/// The disk's.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> Result<()> {
    let written = write_synced(path, &serde_json::to_vec(record).unwrap_or_default());
    written.map_err(Error::file("write", path))
}

/// The same in a folder that nobody sees yet, whose names are synced when it is published.
///
/// # Errors
/// The disk's.
pub(crate) fn write_new(path: &Path, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(record).unwrap_or_default();
    write_file(path, &text).map_err(Error::file("write", path))
}

fn write_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    write_file(&draft, text)?;
    fs::rename(&draft, path)?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Has a folder's names on the disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The time, as RFC 3339 writes it, in UTC.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// Seconds since 1970 of what [`now`] wrote.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        assert_eq!(seconds("2000-02-29T12:34:56Z"), Some(951_827_696));
        assert!(seconds(&now()) > Some(951_827_696));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn a_record_reads_back_and_is_for_root_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("volume.json");
        let record = Record::new("loop", &[("size".to_owned(), "1G".to_owned())].into());
        write(&path, &record).expect("written");
        assert_eq!(read::<Record>(&path).expect("read"), record);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "{").expect("written");
        let told = read::<Record>(&path).expect_err("refused").to_string();
        assert!(told.contains("volume.json"), "{told}");
    }
}
