//! The snapshots of a repository: what there is, and which one is meant.
//! `wharf volume backups` shows them, restore and forget choose among them.
//! It must never choose by chance: an identifier that fits several is an error.

use std::path::PathBuf;

use rustic_core::repofile::SnapshotFile;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::repository::Repository;

/// One backup.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Its identifier, 64 hexadecimal digits.
    pub id: String,
    /// When it was made, RFC 3339.
    pub time: String,
    /// On which host.
    pub host: String,
    /// The paths that were backed up; for ours one, `/` and the volume's name.
    pub paths: Vec<PathBuf>,
    /// Free words.
    pub tags: Vec<String>,
    /// Bytes in all files, where whoever wrote it has noted that.
    pub bytes: Option<u64>,
    /// Files and directories, likewise.
    pub files: Option<u64>,
    /// Bytes that it added to the repository, likewise.
    pub added: Option<u64>,
    #[serde(skip)]
    pub(crate) file: SnapshotFile,
}

/// Which snapshots are meant. What is absent does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this volume: the last part of its path.
    pub volume: Option<String>,
    /// Of this host.
    pub host: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
}

impl Filter {
    fn fits(&self, snapshot: &Snapshot) -> bool {
        let volume = |name: &String| {
            snapshot
                .paths
                .iter()
                .any(|path| path.file_name().is_some_and(|last| last == name.as_str()))
        };
        self.volume.as_ref().is_none_or(volume)
            && self.host.as_ref().is_none_or(|host| *host == snapshot.host)
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| snapshot.tags.contains(tag))
    }
}

impl Snapshot {
    pub(crate) fn of(file: SnapshotFile) -> Snapshot {
        let summary = file.summary.as_ref();
        // restic's own summaries (from 0.17 on) lack some of these; rustic_core then has 0.
        let known =
            |figure: fn(&rustic_core::repofile::SnapshotSummary) -> u64| summary.map(figure);
        Snapshot {
            id: file.id.to_hex().as_str().to_owned(),
            time: file.time.timestamp().to_string(),
            host: file.hostname.clone(),
            paths: file.paths.iter().map(PathBuf::from).collect(),
            tags: file.tags.iter().cloned().collect(),
            bytes: known(|summary| summary.total_bytes_processed),
            files: known(|summary| summary.total_files_processed + summary.total_dirs_processed),
            added: known(|summary| summary.data_added_packed),
            file,
        }
    }
}

impl Repository {
    /// The snapshots that fit, the oldest first.
    ///
    /// # Errors
    ///
    /// The repository can't be read.
    pub fn snapshots(&self, filter: &Filter) -> Result<Vec<Snapshot>> {
        let all = self.opened().get_all_snapshots();
        let all = all.map_err(Error::rustic("list the snapshots of", &self.location()))?;
        let mut all: Vec<Snapshot> = all
            .into_iter()
            .map(Snapshot::of)
            .filter(|snapshot| filter.fits(snapshot))
            .collect();
        all.sort_by(|one, other| {
            one.file
                .time
                .cmp(&other.file.time)
                .then_with(|| one.id.cmp(&other.id))
        });
        Ok(all)
    }

    /// The one snapshot that `wanted` names: the beginning of an identifier, or `latest`.
    ///
    /// # Errors
    ///
    /// None fits, or several do.
    pub fn snapshot(&self, wanted: &str, filter: &Filter) -> Result<Snapshot> {
        let mut all = self.snapshots(filter)?;
        let none = || Error::NoSnapshot {
            repository: self.location(),
            wanted: wanted.to_owned(),
        };
        if wanted == "latest" {
            return all.pop().ok_or_else(none);
        }
        all.retain(|snapshot| !wanted.is_empty() && snapshot.id.starts_with(wanted));
        match all.len() {
            0 | 1 => all.pop().ok_or_else(none),
            count => Err(Error::Ambiguous {
                wanted: wanted.to_owned(),
                count,
            }),
        }
    }
}
