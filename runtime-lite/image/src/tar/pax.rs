//! Extended headers: records of `length key=value` before an entry (pax(1), "pax Extended Header").
//! The reader asks for the values of one entry: its own records over the archive's global ones.
//! It must never split a record by its contents: a value may hold any byte, as security.capability does.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// The prefix of extended attributes, as GNU tar, Go and libarchive write them.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records of one extended header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Offsets and lengths of GNU's sparse format 0.0, whose keys repeat.
    pub(super) sparse: Vec<u64>,
}

impl Pax {
    /// Reads the records of a header block's contents.
    pub(crate) fn parse(mut text: &[u8], entry: &[u8]) -> Result<Pax> {
        let mut pax = Pax::default();
        while !text.is_empty() {
            // Some writers fill the last block up.
            if text.iter().all(|&byte| byte == 0) {
                break;
            }
            let (record, rest) = split(text)
                .ok_or_else(|| Error::entry(entry, "has a malformed extended header"))?;
            text = rest;
            let equals = record.iter().position(|&byte| byte == b'=');
            let equals =
                equals.ok_or_else(|| Error::entry(entry, "has an extended header without ="))?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
                pax.sparse.push(number(value, key, entry)?);
            } else {
                pax.records.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(pax)
    }

    /// These records, and of `globals` those that these do not have. An empty value takes a record back.
    pub(crate) fn over(mut self, globals: &Pax) -> Pax {
        for (key, value) in &globals.records {
            if !self.records.contains_key(key) {
                self.records.insert(key.clone(), value.clone());
            }
        }
        self
    }

    /// A record that is there and not empty.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        let value = self.records.get(key.as_bytes())?;
        (!value.is_empty()).then_some(value)
    }

    /// A record as a decimal number.
    pub(crate) fn number(&self, key: &str, entry: &[u8]) -> Result<Option<u64>> {
        let value = self.get(key);
        value
            .map(|value| number(value, key.as_bytes(), entry))
            .transpose()
    }

    /// The extended attributes, in the order of their names.
    pub(crate) fn xattrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(XATTR)?, value.as_slice())))
    }
}

/// One record without its length and its newline, and what follows it.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&text[..space]).ok()?.parse().ok()?;
    let record = text.get(space + 1..length)?;
    let (&last, record) = record.split_last()?;
    (last == b'\n').then_some((record, &text[length..]))
}

fn number(value: &[u8], key: &[u8], entry: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let key = String::from_utf8_lossy(key);
        Error::entry(entry, format!("its {key} is not a number"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_newlines_and_zeros() {
        let text = b"41 SCHILY.xattr.security.capability=\x01\n\0\n\n20 path=long/name/x\n";
        let pax = Pax::parse(text, b"x").expect("records");
        let xattrs: Vec<_> = pax.xattrs().collect();
        assert_eq!(xattrs, [(&b"security.capability"[..], &b"\x01\n\0\n"[..])]);
        assert_eq!(pax.get("path"), Some(&b"long/name/x"[..]));
    }

    #[test]
    fn an_empty_value_takes_a_global_record_back() {
        let globals = Pax::parse(b"9 uid=77\n9 gid=88\n", b"x").expect("records");
        let own = Pax::parse(b"7 uid=\n", b"x")
            .expect("records")
            .over(&globals);
        assert_eq!(own.number("uid", b"x").expect("read"), None);
        assert_eq!(own.number("gid", b"x").expect("read"), Some(88));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for text in [
            &b"999 path=x\n"[..],
            b"3 path=x\n",
            b"0 x=\n",
            b" 9 path=x\n",
            b"18446744073709551616 path=x\n",
            b"10 path=xx",
            b"path=x\n",
        ] {
            assert!(Pax::parse(text, b"x").is_err(), "{text:?}");
        }
    }
}
