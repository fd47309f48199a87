//! Moving a volume to another host: what is asked of the drivers of both, and what these say to each other over ssh.
//! plugins/volume-local does the work, `wharf volume migrate` and `wharf volume receive` are its two ends of the wire.
//! It must never carry a secret: volumes that have one are not moved.
//!
//! ```text
//! source                      the other host
//! Offer, a line of JSON   ->
//!                         <-  Reply::Ready (how far an earlier run came), or Complete, or Failed
//! the tree, in frames     ->
//!                         <-  Reply::Done with its checksum, or Failed
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the conversation and of the frames in it.
pub const MIGRATION: u32 = 1;

/// `Wharfline.Volume.Send`: has a volume sent to the other end of two pipes, and removed when it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send {
    /// The volume.
    pub name: String,
    /// Its name there.
    pub new: String,
    /// Options of the volume there that replace its own; an empty value drops one.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// A copy: the volume stays here, and may be in use where a snapshot of it is taken at once.
    #[serde(default)]
    pub keep: bool,
    /// Its snapshots may go: they are not sent.
    #[serde(default)]
    pub drop_snapshots: bool,
    /// The pipe that the other side is heard by (`/proc/PID/fd/N` of whoever asks).
    pub input: String,
    /// The pipe that it is spoken to by.
    pub output: String,
}

/// What came of `Wharfline.Volume.Send`, where it is not a failure of this side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sent {
    /// It is there.
    Moved(Moved),
    /// The other side says why not.
    Refused(String),
    /// The other side is gone; what was being done.
    Cut(String),
}

/// A volume that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Bytes of its files' content.
    pub bytes: u64,
    /// Files, folders and all else.
    pub files: u64,
    /// Bytes that went over the wire in this run.
    pub sent: u64,
    /// Bytes of content that were there from an earlier run.
    pub resumed: u64,
    /// The checksum of the whole, the same on both sides.
    pub digest: String,
    /// Whether the volume was removed here.
    pub removed: bool,
}

/// `Wharfline.Volume.Receive`: has a volume made of what comes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    /// What is offered.
    pub offer: Offer,
    /// The pipe that the frames come by (`/proc/PID/fd/N` of whoever asks).
    pub input: String,
    /// The pipe that `Ready` goes out by.
    pub output: String,
}

/// The first line: what is going to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// [`MIGRATION`].
    pub migration: u32,
    /// The same for every run that moves this volume.
    pub id: String,
    /// The host that sends it, as it calls itself.
    pub from: String,
    /// The volume to be.
    pub name: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// When the volume was made (RFC 3339).
    pub created: String,
    /// About how many bytes its files take.
    pub total: u64,
}

/// What the other side says, a line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// It waits for frames, and has these.
    Ready(Reached),
    /// It has had the whole volume since an earlier run.
    Complete {
        /// Its checksum when it arrived.
        digest: String,
    },
    /// It has all, checked and on its disk.
    Done {
        /// The checksum of what is on the disk.
        digest: String,
    },
    /// It has not, and why.
    Failed(String),
}

/// How far a volume has come: so many frames, and their chained checksum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Frames.
    pub frames: u64,
    /// SHA-256 of the last frame and all before it, in hexadecimal digits.
    pub digest: String,
    /// Bytes of content among them.
    pub bytes: u64,
}

/// A volume of which a part has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arriving {
    /// The volume to be.
    pub name: String,
    /// What is to keep it.
    pub backend: String,
    /// The host that sends it.
    pub from: String,
    /// When its first byte came (RFC 3339).
    pub begun: String,
    /// Bytes of content that are there.
    pub bytes: u64,
    /// About how many it will be.
    pub total: u64,
    /// Whether somebody is sending it now.
    pub active: bool,
}
