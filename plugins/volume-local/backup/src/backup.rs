//! A tree becomes a snapshot.
//! `wharf volume backup` ends here, with the descriptor of a file system's snapshot where the backend has one.
//! It must never call a snapshot whole that lacks a file, nor touch what earlier ones rely on.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustic_core::repofile::{SnapshotFile, StringList};
use rustic_core::{BackupOptions, SnapshotOptions};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use crate::source::{Note, Noted, Notes, Source};

/// What is to be backed up, and under which names.
#[derive(Debug)]
pub struct Subject {
    /// The directory, open for reading.
    pub root: OwnedFd,
    /// The volume's name: in the snapshot, its root is `/` and this.
    pub name: String,
    /// The host that the snapshot says; otherwise this one's name.
    pub host: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
}

/// A snapshot that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// The one that it was compared with: files that are the same by size, times and inode were not read.
    pub parent: Option<String>,
    /// Files that were gone when their turn came.
    pub gone: usize,
    /// Files that were written to while they were read.
    pub changed: usize,
    /// The first of these.
    pub notes: Vec<Note>,
}

impl Repository {
    /// Backs up a tree. What an interrupted backup has written already is not written again.
    ///
    /// # Errors
    ///
    /// The repository can't be written, or is locked. [`Error::Incomplete`] where files could not be read: the snapshot is
    /// there nevertheless, without them.
    pub fn backup(&self, subject: Subject, progress: &Arc<dyn Progress>) -> Result<Backup> {
        let mut lock = self.lock()?;
        if lock.finds_dead() {
            self.adopt_packs()?;
            lock.remove_dead()?;
        }
        let path = PathBuf::from("/").join(checked(&subject.name)?);
        let snapshot = self.described(&subject)?;
        let notes = Arc::new(Notes::default());
        let source = Source {
            root: Arc::new(subject.root),
            path: path.clone(),
            notes: Arc::clone(&notes),
            progress: Arc::clone(progress),
        };
        let indexed = self.telling(Arc::clone(progress))?.to_indexed_ids();
        let indexed = indexed.map_err(Error::rustic("read the index of", &self.location()))?;
        let made = indexed.archive(&BackupOptions::default(), &source, snapshot, &[path]);
        let made = made.map_err(Error::rustic("back up to", &self.location()))?;
        whole(made, notes.take())
    }

    fn described(&self, subject: &Subject) -> Result<SnapshotFile> {
        let host = subject.host.clone().unwrap_or_else(crate::locks::hostname);
        let options = SnapshotOptions::default().host(host);
        let mut snapshot = options
            .to_snapshot()
            .map_err(Error::rustic("describe a backup to", &self.location()))?;
        let mut tags = StringList::default();
        for tag in &subject.tags {
            tags.add(tag.clone());
        }
        snapshot.tags = tags;
        snapshot.program_version = concat!("wharfline ", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(snapshot)
    }
}

/// A name that can be one part of a path.
fn checked(name: &str) -> Result<&str> {
    match name {
        "" | "." | ".." => {}
        name if name.contains(['/', '\0']) => {}
        name => return Ok(name),
    }
    Err(Error::BadName {
        directory: PathBuf::from("/"),
        name: name.to_owned(),
    })
}

/// rustic_core passes over what it can't read or store; its own count tells whether that happened.
fn whole(made: SnapshotFile, noted: Noted) -> Result<Backup> {
    let id = made.id.to_hex().as_str().to_owned();
    let first = noted.first.iter().find_map(|note| match note {
        Note::Failed { path, problem } => Some(format!("{path}: {problem}")),
        _ => None,
    });
    let summary = made.summary.as_ref();
    let stored = summary.map_or(0, |summary| {
        summary.total_files_processed + summary.total_dirs_processed
    });
    let lost = usize::try_from(noted.entries.saturating_sub(stored))
        .unwrap_or(usize::MAX)
        .saturating_sub(noted.gone);
    if noted.failed > 0 || lost > 0 {
        let first = first.unwrap_or_else(|| "not known".to_owned());
        return Err(Error::Incomplete {
            snapshot: id,
            count: noted.failed.max(lost),
            first,
        });
    }
    Ok(Backup {
        parent: made
            .parent
            .map(|parent| parent.to_hex().as_str().to_owned()),
        snapshot: Snapshot::of(made),
        gone: noted.gone,
        changed: noted.changed,
        notes: noted.first,
    })
}
