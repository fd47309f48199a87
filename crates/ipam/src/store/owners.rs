//! A hash table on pages: from the holder of a lease to its addresses.
//! Part of the index; makes release and the check for duplicates independent of the number of leases.
//! Must never be trusted without the index's stamp, nor believed without reading the lease it points to.

use std::io;

use super::pages::{PAGE, Pages};
use crate::address::Addr;

/// Bytes of a slot: hash of the holder (8), address (16), 1 when in use (1), rest unused.
const SLOT: usize = 32;
const SLOTS_PER_PAGE: u64 = (PAGE / SLOT) as u64;
/// The table begins after the page that the index keeps for its own heading.
const FIRST_PAGE: u64 = 1;
/// Slots of an empty table. Every table fills its pages.
const SMALLEST: u64 = SLOTS_PER_PAGE;

/// More slots than any network fills; a heading that says more is damaged.
const MOST: u64 = 1 << 28;

/// One lease as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// [`crate::lease::Holder::hash64`] of the holder.
    pub(super) hash: u64,
    /// The address.
    pub(super) addr: Addr,
}

/// The table: open addressing, linear probing, no gravestones.
#[derive(Debug)]
pub(super) struct Owners {
    pages: Pages,
    slots: u64,
    used: u64,
}

impl Owners {
    /// An empty table in memory with room for `leases` entries.
    pub(super) fn with_room_for(leases: usize) -> Owners {
        Owners {
            pages: Pages::default(),
            slots: with_headroom(leases as u64),
            used: 0,
        }
    }

    /// The table that stands in `pages` with the sizes from its heading.
    pub(super) fn stored(pages: Pages, slots: u64, used: u64) -> Option<Owners> {
        let is_sane = slots.is_multiple_of(SLOTS_PER_PAGE)
            && (SMALLEST..=MOST).contains(&slots)
            && used < slots;
        is_sane.then_some(Owners { pages, slots, used })
    }

    /// Slots and entries, for the heading.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.slots, self.used)
    }

    /// The pages, of which the first is not the table's.
    pub(super) fn pages(&mut self) -> &mut Pages {
        &mut self.pages
    }

    /// The addresses under a hash.
    pub(super) fn find(&mut self, hash: u64) -> io::Result<Vec<Addr>> {
        let mut found = Vec::new();
        let mut at = self.home(hash);
        for _ in 0..self.slots {
            match self.read(at)? {
                None => return Ok(found),
                Some(slot) if slot.hash == hash => found.push(slot.addr),
                Some(_) => {}
            }
            at = self.after(at);
        }
        Err(damaged())
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, slot: Slot) -> io::Result<()> {
        // Three quarters: probes stay short and an empty slot always ends them.
        if (self.used + 1) * 4 > self.slots * 3 {
            self.grow()?;
        }
        let mut at = self.home(slot.hash);
        for _ in 0..self.slots {
            if self.read(at)?.is_none() {
                self.used += 1;
                return self.write(at, Some(slot));
            }
            at = self.after(at);
        }
        Err(damaged())
    }

    /// Removes an entry; tells whether it was there.
    pub(super) fn remove(&mut self, gone: Slot) -> io::Result<bool> {
        let mut at = self.home(gone.hash);
        for _ in 0..self.slots {
            match self.read(at)? {
                None => return Ok(false),
                Some(slot) if slot == gone => {
                    self.used = self.used.saturating_sub(1);
                    return self.close_gap(at).map(|()| true);
                }
                Some(_) => at = self.after(at),
            }
        }
        Err(damaged())
    }

    /// All entries.
    pub(super) fn all(&mut self) -> io::Result<Vec<Slot>> {
        let mut all = Vec::new();
        for number in 0..self.slots / SLOTS_PER_PAGE {
            let page = self.pages.get(FIRST_PAGE + number)?;
            all.extend(page.chunks_exact(SLOT).filter_map(parse));
        }
        Ok(all)
    }

    /// Moves later entries of the same run forward so that none becomes unreachable.
    fn close_gap(&mut self, mut hole: u64) -> io::Result<()> {
        let mut at = self.after(hole);
        for _ in 0..self.slots {
            let Some(slot) = self.read(at)? else {
                return self.write(hole, None);
            };
            if self.distance(self.home(slot.hash), at) >= self.distance(hole, at) {
                self.write(hole, Some(slot))?;
                hole = at;
            }
            at = self.after(at);
        }
        Err(damaged())
    }

    /// A wider table, in new pages; the caller's file is written anew. Each page goes as it has been moved: with both
    /// tables whole, 50,000 leases would take twice the memory.
    fn grow(&mut self) -> io::Result<()> {
        let mut wider = Owners {
            pages: Pages::default(),
            slots: with_headroom(self.slots),
            used: 0,
        };
        for number in 0..self.slots / SLOTS_PER_PAGE {
            let page = self.pages.take(FIRST_PAGE + number)?;
            for slot in page.chunks_exact(SLOT).filter_map(parse) {
                wider.insert(slot)?;
            }
        }
        *self = wider;
        Ok(())
    }

    /// The upper half of hash times slots: even over any number of slots, a power of two or not.
    fn home(&self, hash: u64) -> u64 {
        ((u128::from(hash) * u128::from(self.slots)) >> 64) as u64
    }

    fn after(&self, at: u64) -> u64 {
        (at + 1) % self.slots
    }

    /// How many slots `to` lies behind `from`, going round.
    fn distance(&self, from: u64, to: u64) -> u64 {
        (to + self.slots - from) % self.slots
    }

    fn read(&mut self, at: u64) -> io::Result<Option<Slot>> {
        let page = self.pages.get(FIRST_PAGE + at / SLOTS_PER_PAGE)?;
        Ok(parse(&page[offset(at)..offset(at) + SLOT]))
    }

    fn write(&mut self, at: u64, slot: Option<Slot>) -> io::Result<()> {
        let page = self.pages.change(FIRST_PAGE + at / SLOTS_PER_PAGE)?;
        let place = &mut page[offset(at)..offset(at) + SLOT];
        place.fill(0);
        if let Some(slot) = slot {
            place[..8].copy_from_slice(&slot.hash.to_le_bytes());
            place[8..24].copy_from_slice(&slot.addr.number().to_le_bytes());
            place[24] = 1;
        }
        Ok(())
    }
}

/// Slots for so many entries and half as many more.
fn with_headroom(entries: u64) -> u64 {
    (entries.saturating_mul(3) / 2)
        .next_multiple_of(SLOTS_PER_PAGE)
        .max(SMALLEST)
}

/// No slot of the table is empty, which cannot be: whoever asked makes the index anew.
fn damaged() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

/// The entry in a slot's bytes.
fn parse(slot: &[u8]) -> Option<Slot> {
    let (hash, rest) = slot.split_first_chunk::<8>()?;
    let (addr, rest) = rest.split_first_chunk::<16>()?;
    let addr = Addr::from_number(u128::from_le_bytes(*addr));
    (rest.first() == Some(&1)).then(|| Slot {
        hash: u64::from_le_bytes(*hash),
        addr,
    })
}

fn offset(at: u64) -> usize {
    (at % SLOTS_PER_PAGE) as usize * SLOT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_without_an_empty_slot_is_damaged_and_nobody_waits_for_its_end() {
        let mut table = Owners::with_room_for(0);
        let slot = |addr| Slot {
            hash: 5,
            addr: Addr::from_number(addr),
        };
        for at in 0..SMALLEST {
            table.write(at, Some(slot(at.into()))).unwrap();
        }
        assert!(table.find(7).is_err());
        assert!(table.insert(slot(500)).is_err());
        assert!(table.remove(slot(500)).is_err() && table.remove(slot(3)).is_err());
        for slots in [0, SMALLEST + 1, u64::MAX / 2 + 1] {
            assert!(Owners::stored(Pages::default(), slots, 0).is_none());
        }
    }

    proptest! {
        /// Few different hashes, so that runs collide, wrap around and are closed in every way.
        #[test]
        fn the_table_agrees_with_a_list(steps in proptest::collection::vec((any::<bool>(), 0u64..6, 0u128..300), 0..600)) {
            let mut table = Owners::with_room_for(0);
            let mut truth: Vec<Slot> = Vec::new();
            for (add, hash, addr) in steps {
                let slot = Slot { hash: hash.wrapping_mul(u64::MAX / 5), addr: Addr::from_number(addr) };
                let known = truth.iter().position(|s| *s == slot);
                if add {
                    if known.is_none() {
                        table.insert(slot).unwrap();
                        truth.push(slot);
                    }
                } else {
                    prop_assert_eq!(table.remove(slot).unwrap(), known.is_some());
                    if let Some(index) = known { truth.swap_remove(index); }
                }
            }
            for hash in (0..6u64).map(|h| h.wrapping_mul(u64::MAX / 5)) {
                let mut found = table.find(hash).unwrap();
                let mut expected: Vec<Addr> = truth.iter().filter(|s| s.hash == hash).map(|s| s.addr).collect();
                found.sort();
                expected.sort();
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(table.all().unwrap().len(), truth.len());
            prop_assert_eq!(table.sizes().1, truth.len() as u64);
        }
    }
}
