//! Reads a whole repository and compares it with itself: every tree of every snapshot, every pack, every blob.
//! `wharf volume verify` ends here.
//! It must never stop at the first damage, nor change anything.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::TreeId;
use rustic_core::repofile::{IndexBlob, IndexFile, IndexPack};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::locks::hex;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::snapshots::Filter;
use crate::store::Kind;
use crate::trees::{self, Indexed};

/// What is read of a pack at once; only a larger blob is more.
const RUN: u64 = 2 << 20;

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// Snapshots whose trees were walked.
    pub snapshots: usize,
    /// Packs that were read.
    pub packs: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// Damages, each with the object that has it. None: everything can be restored.
    pub damages: Vec<String>,
    /// Packs that no index lists: left by a writer that died, or being written right now. No damage.
    pub unlisted: usize,
}

impl Repository {
    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// The repository can't be read at all. Damages are no error but part of the answer.
    pub fn verify(&self, progress: &Arc<dyn Progress>) -> Result<Verified> {
        let _lock = self.lock_to_read()?;
        let mut verified = Verified::default();
        let packs = self.listed(&mut verified)?;
        progress.total(
            packs.iter().map(|pack| u64::from(pack.pack_size())).sum(),
            packs.len() as u64,
        );
        let indexed = self.indexed()?;
        self.verify_trees(&indexed, &mut verified)?;
        drop(indexed);
        self.verify_packs(packs, progress.as_ref(), &mut verified);
        Ok(verified)
    }

    /// The packs that the index lists and the store has, after comparing both.
    fn listed(&self, verified: &mut Verified) -> Result<Vec<IndexPack>> {
        let location = self.location();
        let refused = || Error::rustic("read the index of", &location);
        let mut packs = HashMap::new();
        for file in self
            .opened()
            .stream_files::<IndexFile>()
            .map_err(refused())?
        {
            let (_, index) = file.map_err(refused())?;
            for pack in index.packs {
                packs.insert(pack.id.to_hex().as_str().to_owned(), pack);
            }
        }
        let stored: HashMap<String, u64> = self.store().list(Kind::Pack)?.into_iter().collect();
        verified.unlisted = stored
            .keys()
            .filter(|name| !packs.contains_key(*name))
            .count();
        packs.retain(|name, pack| match stored.get(name) {
            Some(size) if *size == u64::from(pack.pack_size()) => true,
            Some(size) => {
                verified.damages.push(format!(
                    "pack {name} has {size} bytes instead of {}",
                    pack.pack_size()
                ));
                true
            }
            None => {
                verified.damages.push(format!("pack {name} is missing"));
                false
            }
        });
        let mut packs: Vec<IndexPack> = packs.into_values().collect();
        packs.sort_by_key(|pack| pack.id);
        Ok(packs)
    }

    fn verify_trees(&self, indexed: &Indexed, verified: &mut Verified) -> Result<()> {
        let mut seen = HashSet::new();
        for snapshot in self.snapshots(&Filter::default())? {
            verified.snapshots += 1;
            let mut open = vec![(snapshot.file.tree, PathBuf::new())];
            while let Some((id, path)) = open.pop() {
                if seen.insert(id) {
                    verify_tree(indexed, id, &path, &mut open).unwrap_or_else(|damage| {
                        verified.damages.push(format!(
                            "snapshot {}: {}",
                            snapshot.id,
                            damage.chain()
                        ));
                    });
                }
            }
        }
        Ok(())
    }

    fn verify_packs(
        &self,
        packs: Vec<IndexPack>,
        progress: &dyn Progress,
        verified: &mut Verified,
    ) {
        verified.packs = packs.len();
        let bytes = AtomicU64::new(0);
        let left = Mutex::new(packs.into_iter());
        let damages = Mutex::new(Vec::new());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let threads = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .clamp(2, 4);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(pack) = next() {
                        let name = pack.id.to_hex().as_str().to_owned();
                        bytes.fetch_add(pack.pack_size().into(), Ordering::Relaxed);
                        let found = self.verify_pack(&name, pack, progress);
                        damages
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .extend(found);
                        progress.advance(0, 1);
                    }
                });
            }
        });
        verified.bytes = bytes.into_inner();
        verified
            .damages
            .extend(damages.into_inner().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reads a pack from begin to end: its bytes are what its name says, and each blob too.
    fn verify_pack(&self, name: &str, pack: IndexPack, progress: &dyn Progress) -> Vec<String> {
        let size = u64::from(pack.pack_size());
        let mut blobs = pack.blobs;
        blobs.sort_unstable_by_key(|blob| blob.location.offset);
        let mut damages = Vec::new();
        let mut digest = Sha256::new();
        let mut at = 0;
        let mut rest = blobs.as_slice();
        while at < size {
            let (run, behind) = rest.split_at(fitting(rest, at));
            let end = run
                .last()
                .map_or(size, |blob| end_of(blob).min(size))
                .max(at + 1);
            let length = usize::try_from(end - at).unwrap_or(usize::MAX);
            let read = match self.store().read_range(Kind::Pack, name, at, length) {
                Ok(read) => read,
                Err(cause) => {
                    damages.push(cause.chain());
                    return damages;
                }
            };
            digest.update(&read);
            damages.extend(
                run.iter()
                    .filter_map(|blob| self.verify_blob(blob, at, &read))
                    .map(|problem| format!("pack {name}: {problem}")),
            );
            progress.advance(end - at, 0);
            (at, rest) = (end, behind);
        }
        if hex(&digest.finalize()) != name {
            damages.push(format!(
                "pack {name}: its contents are not what its name says"
            ));
        }
        damages
    }

    /// What is wrong with a blob; `read` is what the pack has from `start` on.
    fn verify_blob(&self, blob: &IndexBlob, start: u64, read: &[u8]) -> Option<String> {
        let told = |problem: &str| Some(format!("blob {}: {problem}", blob.id));
        let place = blob.location;
        let from = usize::try_from(u64::from(place.offset).checked_sub(start)?).ok()?;
        let Some(sealed) = read.get(from..from + place.length as usize) else {
            return told("the pack ends before it");
        };
        match self
            .key()
            .open_blob(sealed, place.uncompressed_length.map(|length| length.get()))
        {
            Err(problem) => told(&problem.to_string()),
            Ok(plain) if hex(&Sha256::digest(&plain)) != blob.id.to_hex().as_str() => {
                told("its contents are not what its name says")
            }
            Ok(_) => None,
        }
    }
}

/// How many of these blobs are read at once: at least one.
fn fitting(blobs: &[IndexBlob], at: u64) -> usize {
    let fits = blobs
        .iter()
        .take_while(|blob| end_of(blob).saturating_sub(at) <= RUN)
        .count();
    fits.max(1).min(blobs.len())
}

fn end_of(blob: &IndexBlob) -> u64 {
    u64::from(blob.location.offset) + u64::from(blob.location.length)
}

/// One directory: everything in it is listed by the index. Its directories are put on `open`.
fn verify_tree(
    indexed: &Indexed,
    id: TreeId,
    path: &Path,
    open: &mut Vec<(TreeId, PathBuf)>,
) -> Result<()> {
    for node in trees::tree(indexed, id, path)?.nodes {
        let path = trees::joined(path, &node)?;
        for blob in node.content.iter().flatten() {
            if indexed.get_index_entry(blob).is_err() {
                let problem = format!("the index does not list its blob {blob}");
                return Err(Error::Damaged {
                    object: format!("/{}", path.display()),
                    problem,
                });
            }
        }
        open.extend(node.subtree.map(|tree| (tree, path)));
    }
    Ok(())
}
