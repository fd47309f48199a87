//! The index of one lease directory: which addresses are taken, and which lease is whose.
//! Kept under /run by the store, under the directory's own lock; only ever a copy of what the leases say.
//! Must never be believed unless its stamp is the directory's time of last change.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::folder::Identity;
use super::owners::{Owners, Slot};
use super::pages::{PAGE, Pages};
use super::taken::Bits;
use crate::address::{Addr, Span};

/// First bytes of the heading; the last two are the version of the format.
const MAGIC: &[u8; 8] = b"WHARFI02";
/// Name of the file with the heading and the owners.
const OWNERS: &str = "owners";
/// Length of the kernel's boot id as text.
const BOOT_ID: usize = 36;

/// Time of last change that we give the directory after our own writes, seconds and nanoseconds.
pub(super) type Stamp = (i64, i64);

/// The index: from its files as far as it was read, or wholly in memory.
#[derive(Debug)]
pub(super) struct Index {
    home: Option<PathBuf>,
    owners: Owners,
    bits: Bits,
    boot: String,
    changed: bool,
    damaged: bool,
}

impl Index {
    /// The index that was kept for a directory, if it describes the directory's present state.
    pub(super) fn stored(home: &Path, identity: Identity) -> Option<Index> {
        let home = home.join(name_of(identity));
        let file = File::options()
            .read(true)
            .write(true)
            .open(home.join(OWNERS))
            .ok()?;
        let mut pages = Pages::of_file(file);
        let heading = Heading::read(pages.get(0).ok()?)?;
        if heading.stamp != identity.mtime {
            return None;
        }
        let owners = Owners::stored(pages, heading.slots, heading.used)?;
        let home = Some(home);
        Some(Index {
            home,
            owners,
            bits: Bits::default(),
            boot: heading.boot,
            changed: false,
            damaged: false,
        })
    }

    /// An empty index in memory, with room for so many leases.
    pub(super) fn with_room_for(leases: usize) -> Index {
        Index {
            home: None,
            owners: Owners::with_room_for(leases),
            bits: Bits::default(),
            boot: String::new(),
            changed: true,
            damaged: false,
        }
    }

    /// The addresses of a holder, by hash.
    pub(super) fn find(&mut self, hash: u64) -> io::Result<Vec<Addr>> {
        self.owners.find(hash)
    }

    /// Whether somebody has the address.
    pub(super) fn is_taken(&mut self, addr: Addr) -> io::Result<bool> {
        let home = self.home.as_deref();
        self.bits.is_set(addr, &mut |name| open_part(home, name))
    }

    /// The lowest address of the span that nobody has.
    pub(super) fn next_free(&mut self, span: Span) -> io::Result<Option<Addr>> {
        let home = self.home.as_deref();
        self.bits.next_free(span, &mut |name| open_part(home, name))
    }

    /// How many addresses of the span somebody has; the cost grows with the span.
    pub(super) fn count(&mut self, span: Span) -> io::Result<u128> {
        let home = self.home.as_deref();
        self.bits.count(span, &mut |name| open_part(home, name))
    }

    /// Number of leases in the directory.
    pub(super) fn leases(&self) -> u64 {
        self.owners.sizes().1
    }

    /// Every lease.
    pub(super) fn all(&mut self) -> io::Result<Vec<Slot>> {
        self.owners.all()
    }

    /// Notes a new lease. To be called after the lease is there: the directory's time of change then
    /// differs from the stamp, and a crash half-way here makes the index unbelievable, not wrong.
    pub(super) fn insert(&mut self, slot: Slot) -> io::Result<()> {
        self.changed = true;
        self.owners.insert(slot)?;
        let home = self.home.as_deref();
        self.bits
            .set(slot.addr, true, &mut |name| open_part(home, name))
    }

    /// Notes that a lease is gone; to be called after it is.
    pub(super) fn remove(&mut self, slot: Slot) -> io::Result<bool> {
        self.changed = true;
        let home = self.home.as_deref();
        self.bits
            .set(slot.addr, false, &mut |name| open_part(home, name))?;
        self.owners.remove(slot)
    }

    /// Boot id of the boot whose first use was seen to; empty when unknown.
    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// Notes the boot whose first use was seen to.
    pub(super) fn set_boot(&mut self, boot: &str) {
        boot.clone_into(&mut self.boot);
        self.changed = true;
    }

    /// Whether there is anything to save.
    pub(super) fn is_changed(&self) -> bool {
        self.changed && !self.damaged
    }

    /// Gives up on an index that could not be changed: it is not saved.
    pub(super) fn disown(&mut self) {
        self.damaged = true;
    }

    /// Writes the index with the stamp that the directory is to get next.
    pub(super) fn save(&mut self, home: &Path, identity: Identity, stamp: Stamp) -> io::Result<()> {
        let home = match &self.home {
            Some(home) => home.clone(),
            None => {
                let home = home.join(name_of(identity));
                clear(&home)?;
                self.home.insert(home).clone()
            }
        };
        self.bits.write_back(&mut |name| create(&home.join(name)))?;
        let (slots, used) = self.owners.sizes();
        let heading = Heading {
            stamp,
            slots,
            used,
            boot: self.boot.clone(),
        };
        let pages = self.owners.pages();
        heading.write(pages.change(0)?);
        let new = if pages.has_file() {
            None
        } else {
            Some(create(&home.join(OWNERS))?)
        };
        pages.write_back(new)?;
        self.changed = false;
        Ok(())
    }
}

/// Name of the index of a directory. Two paths of one directory share it; a new directory that gets
/// an old inode number is told apart by the stamp.
fn name_of(identity: Identity) -> String {
    format!("{:x}-{}", identity.place.0, identity.place.1)
}

fn open_part(home: Option<&Path>, name: &str) -> io::Result<Option<File>> {
    let Some(home) = home else { return Ok(None) };
    match File::options().read(true).write(true).open(home.join(name)) {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// A file that holds nothing yet. A longer one of before must not show through.
fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Makes the folder of an index, or empties it: the heading first, so that a crash leaves none.
fn clear(home: &Path) -> io::Result<()> {
    match fs::remove_file(home.join(OWNERS)) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(cause),
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)?;
    for entry in fs::read_dir(home)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

/// The first page of the file of owners.
struct Heading {
    stamp: Stamp,
    slots: u64,
    used: u64,
    boot: String,
}

impl Heading {
    fn read(page: &[u8; PAGE]) -> Option<Heading> {
        let (magic, rest) = page.split_first_chunk::<8>()?;
        if magic != MAGIC {
            return None;
        }
        let (words, rest) = rest.split_first_chunk::<32>()?;
        let (words, _) = words.as_chunks::<8>();
        let word = |i: usize| u64::from_le_bytes(words[i]);
        let boot = String::from_utf8_lossy(&rest[..BOOT_ID]);
        Some(Heading {
            stamp: (word(0).cast_signed(), word(1).cast_signed()),
            slots: word(2),
            used: word(3),
            boot: boot.trim_end_matches('\0').to_owned(),
        })
    }

    fn write(&self, page: &mut [u8; PAGE]) {
        page.fill(0);
        page[..8].copy_from_slice(MAGIC);
        let (seconds, nanos) = self.stamp;
        let words = [
            seconds.cast_unsigned(),
            nanos.cast_unsigned(),
            self.slots,
            self.used,
        ];
        for (i, word) in words.iter().enumerate() {
            page[8 + i * 8..16 + i * 8].copy_from_slice(&word.to_le_bytes());
        }
        let boot = &self.boot.as_bytes()[..self.boot.len().min(BOOT_ID)];
        page[40..40 + boot.len()].copy_from_slice(boot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(mtime: Stamp) -> Identity {
        Identity {
            place: (7, 42),
            mtime,
        }
    }

    fn slot(n: u64) -> Slot {
        Slot {
            hash: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            addr: Addr::from_number(0xffff_0a00_0000 + u128::from(n)),
        }
    }

    #[test]
    fn what_was_saved_is_read_back_under_the_same_stamp_only() {
        let dir = tempfile::tempdir().unwrap();
        let slots: Vec<Slot> = (0..1000).map(slot).collect();
        let mut index = Index::with_room_for(slots.len());
        for slot in &slots {
            index.insert(*slot).unwrap();
        }
        index.set_boot("b2c6f5a4-0000-4000-8000-000000000000");
        index.save(dir.path(), identity((1, 2)), (5, 6)).unwrap();
        assert!(Index::stored(dir.path(), identity((1, 2))).is_none());
        let mut index = Index::stored(dir.path(), identity((5, 6))).unwrap();
        assert_eq!(
            (index.leases(), index.boot()),
            (1000, "b2c6f5a4-0000-4000-8000-000000000000")
        );
        assert_eq!(index.find(slot(7).hash).unwrap(), [slot(7).addr]);
        assert!(index.is_taken(slot(999).addr).unwrap());
        assert!(!index.is_taken(slot(1000).addr).unwrap());
    }

    #[test]
    fn changes_and_growth_are_saved() {
        let dir = tempfile::tempdir().unwrap();
        Index::with_room_for(0)
            .save(dir.path(), identity((0, 0)), (1, 0))
            .unwrap();
        for n in 0..400u64 {
            let stamp = (i64::try_from(n).unwrap() + 1, 0);
            let mut index = Index::stored(dir.path(), identity(stamp)).unwrap();
            index.insert(slot(n)).unwrap();
            if n % 4 == 0 {
                assert!(index.remove(slot(n)).unwrap());
            }
            index
                .save(dir.path(), identity(stamp), (stamp.0 + 1, 0))
                .unwrap();
        }
        let mut index = Index::stored(dir.path(), identity((401, 0))).unwrap();
        assert_eq!(index.leases(), 300);
        let span = Span {
            first: slot(0).addr,
            last: slot(399).addr,
        };
        assert_eq!(index.count(span).unwrap(), 300);
        assert_eq!(
            index
                .next_free(Span {
                    first: slot(1).addr,
                    last: slot(399).addr
                })
                .unwrap(),
            Some(slot(4).addr)
        );
    }

    #[test]
    fn an_index_that_is_no_index_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join(name_of(identity((0, 0))));
        fs::create_dir_all(&home).unwrap();
        for content in [&b""[..], b"junk", &[0xff; 8192]] {
            fs::write(home.join(OWNERS), content).unwrap();
            assert!(Index::stored(dir.path(), identity((0, 0))).is_none());
        }
    }
}
