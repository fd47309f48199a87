//! The contents of many files at once, in the order of packs: each part of a pack is read once, by a few threads.
//! `Restore` fills a batch until it is full, which bounds the memory however large the snapshot is.
//! It must never write a byte that was not authenticated and is not what its identifier says.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rustic_core::repofile::Node;
use rustic_core::{DataId, Id};
use sha2::{Digest, Sha256};

use super::apply::Wanted;
use super::place::Places;
use crate::error::{Error, Result};
use crate::locks::hex;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::store::Kind;
use crate::trees::Indexed;

/// So many pieces, at about 100 bytes each, and files, at about 500.
const PIECES: usize = 100_000;
const FILES: usize = 20_000;
/// What is read of a pack at once; only a larger blob is more.
const RUN: u64 = 2 << 20;
/// Parts between two wanted ones that are read and thrown away rather than asked for twice.
const GAP: u64 = 64 << 10;
/// Zeros of this length become a hole.
const HOLE: usize = 32 << 10;
static ZEROS: [u8; HOLE] = [0; HOLE];

/// Files that wait for their contents.
#[derive(Debug, Default)]
pub(super) struct Batch {
    files: Vec<Pending>,
    pieces: Vec<Piece>,
    packs: Vec<String>,
    numbers: HashMap<Id, u32>,
}

/// A file that is not complete.
#[derive(Debug)]
struct Pending {
    wanted: Wanted,
    /// Pieces that are yet to be written.
    left: AtomicU32,
    /// Whether it was made when it was added.
    made: bool,
}

/// A blob's place in a pack, and one place in a file that it belongs to.
#[derive(Debug)]
struct Piece {
    pack: u32,
    offset: u32,
    length: u32,
    uncompressed: Option<u32>,
    id: DataId,
    file: u32,
    at: u64,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.pieces.len() >= PIECES || self.files.len() >= FILES
    }

    /// Adds a file, which is made at once unless one write makes it whole; says how long it is.
    pub(super) fn add(
        &mut self,
        indexed: &Indexed,
        places: &mut Places<'_>,
        path: PathBuf,
        node: &Node,
    ) -> Result<u64> {
        let content = node.content.as_deref().unwrap_or_default();
        let file = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let mut at = 0;
        for id in content {
            let entry = indexed
                .get_index_entry(id)
                .map_err(|_| missing(*id, &path))?;
            let pack = self.number(entry.pack.into_inner(), || {
                entry.pack.to_hex().as_str().to_owned()
            });
            let place = entry.location;
            let uncompressed = place.uncompressed_length.map(|length| length.get());
            self.pieces.push(Piece {
                pack,
                offset: place.offset,
                length: place.length,
                uncompressed,
                id: *id,
                file,
                at,
            });
            at += u64::from(entry.data_length());
        }
        let wanted = Wanted::of(&path, node);
        // Other names of a file are linked to it before its contents are there.
        let made = content.len() != 1 || node.meta.links > 1;
        if made {
            let file = places.open_file(&path, true)?;
            file.set_len(at)
                .map_err(Error::file("set the length of", &path))?;
            if content.is_empty() {
                let (directory, name) = places.of(&path)?;
                wanted.apply(directory, name, Some(&file))?;
                return Ok(0);
            }
        }
        let left = AtomicU32::new(u32::try_from(content.len()).unwrap_or(u32::MAX));
        self.files.push(Pending { wanted, left, made });
        Ok(at)
    }

    fn number(&mut self, id: Id, name: impl FnOnce() -> String) -> u32 {
        *self.numbers.entry(id).or_insert_with(|| {
            self.packs.push(name());
            u32::try_from(self.packs.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Writes all of it. The first failure ends it.
    pub(super) fn write(
        mut self,
        repository: &Repository,
        root: &OwnedFd,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.pieces
            .sort_unstable_by_key(|piece| (piece.pack, piece.offset, piece.file, piece.at));
        let runs = runs(&self.pieces);
        let work = Work {
            batch: &self,
            repository,
            root,
            progress,
            runs: Mutex::new(runs.into_iter()),
            failed: Mutex::new(None),
        };
        let threads = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .clamp(2, 4);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| work.run());
            }
        });
        work.failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }
}

/// Pieces that one read of a pack gives, in order.
fn runs(pieces: &[Piece]) -> Vec<&[Piece]> {
    let end = |piece: &Piece| u64::from(piece.offset) + u64::from(piece.length);
    let mut runs = Vec::new();
    let mut first = 0;
    for next in 1..=pieces.len() {
        let joins = pieces.get(next).is_some_and(|piece| {
            let start = &pieces[first];
            let gap = u64::from(piece.offset).saturating_sub(end(&pieces[next - 1]));
            piece.pack == start.pack
                && gap <= GAP
                && end(piece) - u64::from(start.offset) <= RUN.max(u64::from(start.length))
        });
        if !joins && first < pieces.len() {
            runs.push(&pieces[first..next]);
            first = next;
        }
    }
    runs
}

/// A batch that is being written, shared by its threads.
struct Work<'a> {
    batch: &'a Batch,
    repository: &'a Repository,
    root: &'a OwnedFd,
    progress: &'a dyn Progress,
    runs: Mutex<std::vec::IntoIter<&'a [Piece]>>,
    failed: Mutex<Option<Error>>,
}

impl<'a> Work<'a> {
    fn run(&self) {
        let mut places = Places::new(self.root);
        while let Some(run) = self.next() {
            if let Err(cause) = self.write(run, &mut places) {
                self.failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(cause);
            }
        }
    }

    fn next(&self) -> Option<&'a [Piece]> {
        if self
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            return None;
        }
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    }

    fn write(&self, run: &[Piece], places: &mut Places<'_>) -> Result<()> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let pack = &self.batch.packs[first.pack as usize];
        let start = first.offset;
        let length = (last.offset - start) as usize + last.length as usize;
        let sealed = self
            .repository
            .store()
            .read_range(Kind::Pack, pack, start.into(), length)?;
        // The same blob may belong to several places, which follow each other.
        for same in run.chunk_by(|one, other| one.offset == other.offset) {
            let from = (same[0].offset - start) as usize;
            let part = sealed
                .get(from..from + same[0].length as usize)
                .unwrap_or_default();
            let blob = self.repository.key().open_blob(part, same[0].uncompressed);
            let blob = blob.map_err(|problem| damaged(&same[0], pack, problem.to_string()))?;
            if hex(&Sha256::digest(&blob)) != same[0].id.to_hex().as_str() {
                return Err(damaged(
                    &same[0],
                    pack,
                    "its contents are not what its name says".to_owned(),
                ));
            }
            for piece in same {
                self.write_piece(piece, &blob, places)?;
            }
        }
        Ok(())
    }

    fn write_piece(&self, piece: &Piece, blob: &[u8], places: &mut Places<'_>) -> Result<()> {
        let pending = &self.batch.files[piece.file as usize];
        let path = pending.wanted.path();
        let file = places.open_file(path, !pending.made)?;
        if pending.made {
            for (at, data) in between_holes(blob) {
                file.write_all_at(data, piece.at + at as u64)
                    .map_err(Error::file("write", path))?;
            }
        } else {
            write_whole(&file, blob).map_err(Error::file("write", path))?;
        }
        self.progress.advance(blob.len() as u64, 0);
        if pending.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let (directory, name) = places.of(path)?;
            pending.wanted.apply(directory, name, Some(&file))?;
        }
        Ok(())
    }
}

/// A file of one piece, which was just made.
fn write_whole(file: &std::fs::File, blob: &[u8]) -> std::io::Result<()> {
    let mut written = 0;
    for (at, data) in between_holes(blob) {
        file.write_all_at(data, at as u64)?;
        written = at + data.len();
    }
    match written == blob.len() {
        true => Ok(()),
        false => file.set_len(blob.len() as u64),
    }
}

/// The parts of a blob that are not long runs of zeros, with their offsets.
fn between_holes(blob: &[u8]) -> Vec<(usize, &[u8])> {
    let mut parts = Vec::new();
    let mut begun = None;
    for (number, part) in blob.chunks(HOLE).enumerate() {
        let at = number * HOLE;
        match (part == &ZEROS[..part.len()], begun) {
            (true, Some(start)) => {
                parts.push((start, &blob[start..at]));
                begun = None;
            }
            (false, None) => begun = Some(at),
            _ => {}
        }
    }
    parts.extend(begun.map(|start| (start, &blob[start..])));
    parts
}

fn missing(id: DataId, path: &std::path::Path) -> Error {
    Error::Damaged {
        object: format!("/{}", path.display()),
        problem: format!("the index does not list its blob {id}"),
    }
}

fn damaged(piece: &Piece, pack: &str, problem: String) -> Error {
    Error::Damaged {
        object: format!("blob {} in pack {pack}", piece.id),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_runs_of_zeros_are_left_out() {
        let mut blob = vec![1; HOLE];
        blob.extend([0; 2 * HOLE]);
        blob.extend([2; 10]);
        let parts: Vec<(usize, usize)> = between_holes(&blob)
            .into_iter()
            .map(|(at, data)| (at, data.len()))
            .collect();
        assert_eq!(parts, [(0, HOLE), (3 * HOLE, 10)]);
        assert!(between_holes(&[0; 100]).is_empty());
        assert_eq!(between_holes(&[0, 1]).len(), 1);
    }
}
