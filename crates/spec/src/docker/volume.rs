//! `VolumeDriver`, and the operations beside it that Docker's protocol lacks: wire types of both.
//! plugins/volume-local reads and answers them, `wharf volume` asks; bodies as dockerd 20.10 and 29 write them (tests:
//! captured requests). It must never carry a password back: what is answered, anybody may see.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::or_null;

/// Paths of the operations that are ours begin so; what follows is the operation's name.
pub const OPERATIONS: &str = "/Wharfline.Volume.";

/// Content type of an answer that comes line by line, each line an [`Event`].
pub const EVENTS: &str = "application/x-ndjson";

/// The answer to `Capabilities`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Capabilities {
    /// What the driver can.
    pub capabilities: Scope,
}

/// Where a volume is to be had.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Scope {
    /// `local`: on this host alone.
    pub scope: &'static str,
}

/// `Create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Create {
    /// The volume.
    pub name: String,
    /// The user's `--opt`; `null` for a volume that comes into being with its container.
    #[serde(default, deserialize_with = "or_null")]
    pub opts: BTreeMap<String, String>,
}

/// `Get`, `Path`, `Remove`, and ours that need nothing but a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OfVolume {
    /// The volume; empty at some of dockerd's starts.
    pub name: String,
}

/// `Mount` and `Unmount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfUser {
    /// The volume.
    #[serde(rename = "Name")]
    pub name: String,
    /// Whom it is mounted for. `docker cp` repeats a running container's.
    #[serde(rename = "ID")]
    pub id: String,
}

/// The answer to `Get`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Got {
    /// The volume.
    pub volume: Volume,
    /// Empty; dockerd 20.10 wants the key.
    pub err: &'static str,
}

/// The answer to `List`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// All volumes.
    pub volumes: Vec<Volume>,
    /// Empty; dockerd 20.10 wants the key.
    pub err: &'static str,
}

/// A volume, as Docker's users see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where it is or will be on the host.
    pub mountpoint: String,
    /// When it was made (RFC 3339).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// What `docker volume inspect` shows besides.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub status: Map<String, Value>,
}

/// The answer to `Path` and `Mount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mounted {
    /// Where the volume is or will be on the host.
    pub mountpoint: String,
    /// Empty; dockerd 20.10 wants the key.
    pub err: &'static str,
}

/// The answer to what has nothing to say.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Nothing {
    /// Empty; dockerd 20.10 wants the key.
    pub err: &'static str,
}

/// A volume, as `wharf volume` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// What keeps it: `directory`, `btrfs`, `quota`, `loop`, `tmpfs`, `bind`, `nfs`, `cifs`.
    pub backend: String,
    /// Where it is or will be on the host.
    pub mountpoint: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Its options without secrets.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who has mounted it, by the identifiers of `Mount`.
    pub used_by: Vec<String>,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// How full it is; absent where nobody can tell without waiting, or where it is not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// How full a volume is. Free and limit are absent where the volume has none of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Bytes of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Bytes that still go in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Files and folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_inodes: Option<u64>,
    /// Files and folders that still go in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_inodes: Option<u64>,
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// `Wharfline.Volume.List`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListAsked {
    /// Only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether to say how full each is, which takes time.
    pub usage: bool,
}

/// The answer to `Wharfline.Volume.List`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Descriptions {
    /// By name.
    pub volumes: Vec<Described>,
    /// Those of which a part has come from another host; not for who asks for one by its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arriving: Vec<super::migration::Arriving>,
}

/// `Wharfline.Volume.Prune`: volumes that nobody uses and that all of this is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prune {
    /// `label=KEY`, `label=KEY=VALUE`, `label!=...`, `backend=NAME`, `until=SECONDS` (older than), `name=PREFIX`.
    pub filters: Vec<String>,
    /// Only to say which.
    pub dry_run: bool,
}

/// The answer to `Wharfline.Volume.Prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The volumes that went, or would.
    pub volumes: Vec<String>,
}

/// `Wharfline.Volume.Rename`, and `Clone`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldNew {
    /// The volume.
    pub name: String,
    /// The name to be.
    pub new: String,
    /// For a clone: of a volume in use whose files can only be copied one by one.
    #[serde(default)]
    pub live: bool,
}

/// `Wharfline.Volume.Resize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// The volume.
    pub name: String,
    /// The size, as the option `size` is written.
    pub size: String,
}

/// `Wharfline.Volume.Snapshot`, `Rollback` and `RemoveSnapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfSnapshot {
    /// The volume.
    pub name: String,
    /// The snapshot.
    pub snapshot: String,
    /// Of a volume in use whose files can only be copied one by one.
    #[serde(default)]
    pub live: bool,
}

/// `Wharfline.Volume.Export` and `Import`. An import makes the volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The volume.
    pub name: String,
    /// The tar file on the host: absolute. `/proc/PID/fd/N` is a pipe of the asking process.
    pub path: String,
    /// For an import: the options of the volume to be.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// For an export: of a volume in use.
    #[serde(default)]
    pub live: bool,
}

/// A backup repository: its address, and where the secrets are that open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// An absolute path, or `s3:https://HOST/BUCKET/PREFIX`.
    pub address: String,
    /// A file with a [`RepositorySecrets`], read once; a pipe of the asking process (`/proc/PID/fd/N`).
    pub secrets: String,
}

/// What opens a repository. Never in a request's body.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct RepositorySecrets {
    /// Its password.
    pub password: String,
    /// For a bucket: the `AWS_` variables of whoever asks.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// For a bucket's server whose certificate no authority signed that the host believes: certificates in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
}

/// `Wharfline.Volume.Backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The volume.
    pub name: String,
    /// Where to.
    pub repository: Repository,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether to make the repository if there is none.
    #[serde(default)]
    pub init: bool,
    /// Of a volume in use whose files can only be read one by one.
    #[serde(default)]
    pub live: bool,
}

/// `Wharfline.Volume.Restore`: makes a volume of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The volume to be.
    pub name: String,
    /// Where from.
    pub repository: Repository,
    /// The backup: the beginning of its identifier, or `latest`.
    pub at: String,
    /// For `latest`: of this volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The options of the volume to be.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// `Wharfline.Volume.Verify` and `Backups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRepository {
    /// Which.
    pub repository: Repository,
    /// For `Backups`: only those of this volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// `Wharfline.Volume.Forget`: what stays, in restic's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    /// Where.
    pub repository: Repository,
    /// Only among those of this volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// `last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`: how many of each, -1 for all.
    #[serde(default)]
    pub keep: BTreeMap<String, i32>,
    /// All within this time of the latest, as `1y5m7d2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// All with one of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// One line of the answer to an operation that takes time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It goes on.
    Progress(Progress),
    /// It is done; the last line.
    Done(Value),
    /// It failed, and why; the last line.
    Failed(String),
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}
