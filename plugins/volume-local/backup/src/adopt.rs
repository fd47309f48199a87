//! Packs that no index lists, left by a writer that died: they are indexed, so that what they hold is not written again.
//! `backup` calls it when it found the lock of such a writer.
//! It must never remove anything: another writer's packs look the same until it writes its index.

use std::collections::HashSet;

use rustic_core::repofile::IndexFile;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::key::{Broken, OVERHEAD};
use crate::locks::{hex, name_of};
use crate::repository::Repository;
use crate::store::Kind;

/// The last bytes of a pack: the header's length, little-endian.
const LENGTH: usize = 4;
/// Beyond is no pack: the format's readers refuse it (restic, internal/pack).
const LARGEST_HEADER: usize = 16 << 20;

/// An index file as it is stored (restic's design document, "Indexing").
#[derive(Debug, Serialize)]
struct Index {
    packs: Vec<Pack>,
}

#[derive(Debug, Serialize)]
struct Pack {
    id: String,
    blobs: Vec<Blob>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Blob {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    offset: u32,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

impl Repository {
    pub(crate) fn adopt_packs(&self) -> Result<()> {
        // The index first: a pack that is written and indexed in between is then adopted twice, which does no harm.
        let mut known = HashSet::new();
        let files = self.opened().stream_files::<IndexFile>();
        for file in files.map_err(Error::rustic("read the index of", &self.location()))? {
            let (_, index) = file.map_err(Error::rustic("read the index of", &self.location()))?;
            known.extend(
                index
                    .packs
                    .iter()
                    .chain(&index.packs_to_delete)
                    .map(|pack| pack.id.to_hex().as_str().to_owned()),
            );
        }
        let mut packs = Vec::new();
        for (name, size) in self.store().list(Kind::Pack)? {
            if known.contains(&name) {
                continue;
            }
            // One that is cut off or broken helps nobody; `forget` removes it.
            if let Ok(blobs) = self.header(&name, size) {
                packs.push(Pack { id: name, blobs });
            }
        }
        match packs.is_empty() {
            true => Ok(()),
            false => self.write_index(&Index { packs }),
        }
    }

    fn write_index(&self, index: &Index) -> Result<()> {
        let failed = |problem: String| Error::Repository {
            doing: "write an index of",
            repository: self.location(),
            problem,
        };
        let plain = serde_json::to_vec(index).map_err(|cause| failed(cause.to_string()))?;
        let sealed = self
            .key()
            .seal(&plain)
            .map_err(|cause| failed(cause.to_string()))?;
        self.store()
            .write(Kind::Index, &name_of(&sealed), &[sealed.into()])
    }

    /// What is in a pack, by its own header.
    fn header(&self, name: &str, size: u64) -> Result<Vec<Blob>> {
        let broken = |problem: Broken| Error::Damaged {
            object: format!("pack {name}"),
            problem: problem.to_string(),
        };
        let tail = size
            .checked_sub(LENGTH as u64)
            .ok_or_else(|| broken(Broken::Short))?;
        let length = self.store().read_range(Kind::Pack, name, tail, LENGTH)?;
        let length = length
            .iter()
            .rev()
            .fold(0usize, |all, byte| all << 8 | usize::from(*byte));
        let start = tail
            .checked_sub(length as u64)
            .filter(|_| length <= LARGEST_HEADER)
            .ok_or_else(|| broken(Broken::Short))?;
        let sealed = self.store().read_range(Kind::Pack, name, start, length)?;
        parse(&self.key().open(&sealed).map_err(broken)?, start).map_err(broken)
    }
}

/// A pack's header: a type, the length in the pack, for compressed blobs that of the contents, the identifier
/// (restic's design document, "Pack Format"). `end` is where the blobs end.
fn parse(mut header: &[u8], end: u64) -> std::result::Result<Vec<Blob>, Broken> {
    let mut blobs = Vec::new();
    let mut offset = 0u32;
    while let Some((kind, rest)) = header.split_first() {
        let (kind, compressed) = match kind {
            0 => ("data", false),
            1 => ("tree", false),
            2 => ("data", true),
            3 => ("tree", true),
            _ => return Err(Broken::Length),
        };
        let (length, rest) = number(rest)?;
        let (uncompressed_length, rest) = match compressed {
            true => number(rest).map(|(number, rest)| (Some(number), rest))?,
            false => (None, rest),
        };
        let (id, rest) = rest.split_first_chunk::<32>().ok_or(Broken::Length)?;
        blobs.push(Blob {
            id: hex(id),
            kind,
            offset,
            length,
            uncompressed_length,
        });
        offset = offset
            .checked_add(length)
            .filter(|_| length as usize >= OVERHEAD)
            .ok_or(Broken::Length)?;
        header = rest;
    }
    match u64::from(offset) == end {
        true => Ok(blobs),
        false => Err(Broken::Length),
    }
}

fn number(bytes: &[u8]) -> std::result::Result<(u32, &[u8]), Broken> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(Broken::Length)?;
    Ok((u32::from_le_bytes(*number), rest))
}
