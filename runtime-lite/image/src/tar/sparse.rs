//! Which parts of a sparse file an archive holds: GNU's own header and its pax formats 0.0, 0.1 and 1.0
//! (GNU tar manual, "Storing Sparse Files"). The reader asks for the map of one entry.
//! It must never let a map reach beyond the file or go back: every map is checked as a whole.

use super::pax::Pax;
use crate::error::{Error, Result};

/// The most parts of one sparse file.
pub(super) const PARTS: usize = 65_536;

/// A part of a file that the archive holds; the rest of the file is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where in the file.
    pub(crate) offset: u64,
    /// How many bytes.
    pub(crate) length: u64,
}

/// How the map of an entry is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Not sparse.
    Dense,
    /// In the extended header.
    Listed { size: u64, parts: Vec<Part> },
    /// At the beginning of the contents (format 1.0).
    InFront { size: u64 },
}

/// What the extended header says of the map.
pub(super) fn form(pax: &Pax, entry: &[u8]) -> Result<Form> {
    if pax.get("GNU.sparse.major") == Some(b"1") {
        let size = pax.number("GNU.sparse.realsize", entry)?;
        let size = size.ok_or_else(|| Error::entry(entry, "is sparse and has no size"))?;
        return Ok(Form::InFront { size });
    }
    let Some(size) = pax.number("GNU.sparse.size", entry)? else {
        return Ok(Form::Dense);
    };
    let numbers = match pax.get("GNU.sparse.map") {
        None => pax.sparse.clone(),
        Some(map) => {
            let numbers = map.split(|&byte| byte == b',');
            numbers
                .map(|text| number(text, entry))
                .collect::<Result<_>>()?
        }
    };
    let parts = pairs(&numbers, entry)?;
    Ok(Form::Listed { size, parts })
}

/// Reads the map in front of the contents from its blocks so far; `None` if there have to be more.
pub(super) fn map_in_front(blocks: &[u8], entry: &[u8]) -> Result<Option<Vec<Part>>> {
    let mut lines = blocks.split_inclusive(|&byte| byte == b'\n');
    let mut next = || match lines.next()?.split_last()? {
        (b'\n', text) => Some(number(text, entry)),
        _ => None,
    };
    let Some(count) = next().transpose()? else {
        return Ok(None);
    };
    if count > PARTS as u64 {
        return Err(too_many(entry));
    }
    let mut numbers = Vec::new();
    for _ in 0..count * 2 {
        match next().transpose()? {
            Some(number) => numbers.push(number),
            None => return Ok(None),
        }
    }
    pairs(&numbers, entry).map(Some)
}

/// Offsets and lengths in turn, as parts.
pub(super) fn pairs(numbers: &[u64], entry: &[u8]) -> Result<Vec<Part>> {
    if numbers.len() > PARTS * 2 {
        return Err(too_many(entry));
    }
    let (pairs, odd) = numbers.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Error::entry(entry, "has half a part in its sparse map"));
    }
    let part = |&[offset, length]: &[u64; 2]| Part { offset, length };
    Ok(pairs.iter().map(part).collect())
}

/// Checks that the parts go up, stay within `size`, and are together what the archive holds.
pub(super) fn check(parts: &[Part], size: u64, stored: u64, entry: &[u8]) -> Result<()> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for part in parts {
        let next = part.offset.checked_add(part.length);
        match next {
            Some(next) if part.offset >= end && next <= size => end = next,
            _ => return Err(Error::entry(entry, "has a sparse map that can't be")),
        }
        sum += part.length;
    }
    match sum == stored {
        true => Ok(()),
        false => Err(Error::entry(
            entry,
            format!("its sparse map has {sum} bytes, the archive {stored}"),
        )),
    }
}

fn number(text: &[u8], entry: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::entry(entry, "has a sparse map that is not of numbers"))
}

pub(super) fn too_many(entry: &[u8]) -> Error {
    Error::entry(entry, format!("has more than {PARTS} sparse parts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn part(offset: u64, length: u64) -> Part {
        Part { offset, length }
    }

    #[test]
    fn a_map_in_front_is_read_once_it_is_whole() {
        assert_eq!(map_in_front(b"2\n0\n512\n40", b"x").expect("read"), None);
        let whole = map_in_front(b"2\n0\n512\n4096\n1\n\0\0", b"x").expect("read");
        assert_eq!(whole, Some(vec![part(0, 512), part(4096, 1)]));
        assert!(map_in_front(b"9999999\n", b"x").is_err());
        assert!(map_in_front(b"-1\n", b"x").is_err());
    }

    #[test]
    fn maps_that_go_back_or_beyond_are_refused() {
        assert!(check(&[part(0, 5), part(9, 1)], 10, 6, b"x").is_ok());
        for (parts, size, stored) in [
            (vec![part(5, 5), part(0, 1)], 10, 6),
            (vec![part(0, 11)], 10, 11),
            (vec![part(u64::MAX, 2)], u64::MAX, 2),
            (vec![part(0, 5)], 10, 6),
        ] {
            assert!(check(&parts, size, stored, b"x").is_err(), "{parts:?}");
        }
    }
}
