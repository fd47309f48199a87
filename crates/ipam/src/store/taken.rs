//! One bit per address: whether it is leased. Finds the next free one without looking at any lease.
//! Part of the index; 32,768 addresses to a page, pages of whole files that are mostly holes.
//! Must never be trusted without the index's stamp.

use std::collections::HashMap;
use std::fs::File;
use std::io;

use super::pages::{PAGE, Pages};
use crate::address::{Addr, Span};

/// Bits of an address inside its page.
const PAGE_BITS: u32 = 15;
/// Bits of an address inside its file: a file is at most 2 MiB, holes included, and most networks
/// have one.
const FILE_BITS: u32 = 24;

/// Opens the file of a part of the address space; `None` when there is none.
pub(super) type OpenPart<'a> = dyn FnMut(&str) -> io::Result<Option<File>> + 'a;

/// The bits, by file.
#[derive(Debug, Default)]
pub(super) struct Bits {
    parts: HashMap<u128, Pages>,
}

impl Bits {
    /// Marks an address as taken or free.
    pub(super) fn set(
        &mut self,
        addr: Addr,
        taken: bool,
        open: &mut OpenPart<'_>,
    ) -> io::Result<()> {
        let (byte, bit) = place_in_page(addr);
        let page = self.part(addr, open)?.change(page_number(addr))?;
        if taken {
            page[byte] |= 1 << bit;
        } else {
            page[byte] &= !(1 << bit);
        }
        Ok(())
    }

    /// Whether an address is taken.
    pub(super) fn is_set(&mut self, addr: Addr, open: &mut OpenPart<'_>) -> io::Result<bool> {
        let (byte, bit) = place_in_page(addr);
        let page = self.part(addr, open)?.get(page_number(addr))?;
        Ok(page[byte] & (1 << bit) != 0)
    }

    /// The lowest free address of the span.
    pub(super) fn next_free(
        &mut self,
        span: Span,
        open: &mut OpenPart<'_>,
    ) -> io::Result<Option<Addr>> {
        let mut at = span.first;
        loop {
            let page = self.part(at, open)?.get(page_number(at))?;
            let from = at.number() & mask(PAGE_BITS);
            if let Some(bit) = first_clear(page, from as usize) {
                let found = Addr::from_number(at.number() - from + bit as u128);
                return Ok((found <= span.last).then_some(found));
            }
            let last_of_page = Addr::from_number(at.number() | mask(PAGE_BITS));
            match last_of_page.next().filter(|next| *next <= span.last) {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
    }

    /// How many addresses of the span are taken. Its cost grows with the span.
    pub(super) fn count(&mut self, span: Span, open: &mut OpenPart<'_>) -> io::Result<u128> {
        let (mut at, mut count) = (span.first, 0u128);
        loop {
            let page = self.part(at, open)?.get(page_number(at))?;
            let last = Addr::from_number(at.number() | mask(PAGE_BITS)).min(span.last);
            let bits = at.number() & mask(PAGE_BITS)..=last.number() & mask(PAGE_BITS);
            count += bits
                .filter(|bit| page[(bit / 8) as usize] & (1 << (bit % 8)) != 0)
                .count() as u128;
            match last.next().filter(|next| *next <= span.last) {
                Some(next) => at = next,
                None => return Ok(count),
            }
        }
    }

    /// Writes what changed back; `make` gives the new file of a part that has none.
    pub(super) fn write_back(
        &mut self,
        make: &mut dyn FnMut(&str) -> io::Result<File>,
    ) -> io::Result<()> {
        for (part, pages) in &mut self.parts {
            let new = if pages.has_file() {
                None
            } else {
                Some(make(&part_name(*part))?)
            };
            pages.write_back(new)?;
        }
        Ok(())
    }

    fn part(&mut self, addr: Addr, open: &mut OpenPart<'_>) -> io::Result<&mut Pages> {
        use std::collections::hash_map::Entry;
        let part = addr.number() >> FILE_BITS;
        match self.parts.entry(part) {
            Entry::Occupied(pages) => Ok(pages.into_mut()),
            Entry::Vacant(place) => {
                let file = open(&part_name(part))?;
                Ok(place.insert(file.map_or_else(Pages::default, Pages::of_file)))
            }
        }
    }
}

/// Name of the file of a part of the address space.
fn part_name(part: u128) -> String {
    format!("taken.{part:x}")
}

const fn mask(bits: u32) -> u128 {
    (1 << bits) - 1
}

fn page_number(addr: Addr) -> u64 {
    ((addr.number() & mask(FILE_BITS)) >> PAGE_BITS) as u64
}

fn place_in_page(addr: Addr) -> (usize, u32) {
    let bit = (addr.number() & mask(PAGE_BITS)) as usize;
    (bit / 8, (bit % 8) as u32)
}

/// The first clear bit at or after `from`, 64 at a time.
fn first_clear(page: &[u8; PAGE], from: usize) -> Option<usize> {
    let (words, _) = page.as_chunks::<8>();
    let head = from / 64;
    for (index, word) in words.iter().enumerate().skip(head) {
        let below = if index == head {
            (1u64 << (from % 64)) - 1
        } else {
            0
        };
        let clear = !(u64::from_le_bytes(*word) | below);
        if clear != 0 {
            return Some(index * 64 + clear.trailing_zeros() as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn none(_: &str) -> io::Result<Option<File>> {
        Ok(None)
    }

    fn addr(text: &str) -> Addr {
        Addr::from(text.parse::<std::net::IpAddr>().unwrap())
    }

    #[test]
    fn a_full_block_is_passed_over() {
        let mut bits = Bits::default();
        let mut at = addr("10.0.0.0");
        while at < addr("10.1.0.7") {
            bits.set(at, true, &mut none).unwrap();
            at = at.next().unwrap();
        }
        let span = Span {
            first: addr("10.0.0.0"),
            last: addr("10.1.255.255"),
        };
        assert_eq!(
            bits.next_free(span, &mut none).unwrap(),
            Some(addr("10.1.0.7"))
        );
        assert_eq!(bits.count(span, &mut none).unwrap(), 65536 + 7);
        let full = Span {
            first: addr("10.0.0.9"),
            last: addr("10.1.0.6"),
        };
        assert_eq!(bits.next_free(full, &mut none).unwrap(), None);
    }

    #[test]
    fn ipv6_files_follow_each_other() {
        let mut bits = Bits::default();
        let edge = addr("fd00::ff:ffff");
        bits.set(edge, true, &mut none).unwrap();
        let span = Span {
            first: edge,
            last: addr("fd00::ffff:ffff:ffff:ffff"),
        };
        assert_eq!(
            bits.next_free(span, &mut none).unwrap(),
            Some(addr("fd00::100:0"))
        );
    }

    proptest! {
        #[test]
        fn bits_agree_with_a_set(changes in proptest::collection::vec((0u32..70_000, any::<bool>()), 0..200),
                                 from in 0u32..70_000, length in 0u32..70_000) {
            let base = addr("10.0.0.0").number();
            let (mut bits, mut truth) = (Bits::default(), BTreeSet::new());
            for (offset, taken) in changes {
                let addr = Addr::from_number(base + u128::from(offset));
                bits.set(addr, taken, &mut none).unwrap();
                if taken { truth.insert(addr); } else { truth.remove(&addr); }
            }
            let first = Addr::from_number(base + u128::from(from));
            let span = Span { first, last: Addr::from_number(first.number() + u128::from(length)) };
            let expected = (0..span.len()).map(|i| Addr::from_number(first.number() + i)).find(|a| !truth.contains(a));
            prop_assert_eq!(bits.next_free(span, &mut none).unwrap(), expected);
            prop_assert_eq!(bits.count(span, &mut none).unwrap(), truth.range(span.first..=span.last).count() as u128);
            prop_assert_eq!(bits.is_set(first, &mut none).unwrap(), truth.contains(&first));
        }
    }
}
