//! The note of what was so at one generation of the ruleset: which tables of ours were whole, which shared elements were
//! there, that no known firewall dropped. tables.rs asks here first; the end of a session that used nftables keeps the note.
//! It must never be more than a hint: the kernel says whether that generation still stands.

use std::fs;
use std::path::PathBuf;

use wharfline_kernel::hash::stable_hash;
use wharfline_kernel::nft::{Standing, Table, Vouched};

use crate::error::Result;
use crate::session::Session;

/// Whether `table` stands as it was laid. A table found whole is not looked at again by the same verb; nor by a later
/// one, while nobody has changed anything in nftables.
pub(crate) fn is_whole(session: &Session, table: &Table) -> Result<bool> {
    if !session.whole().recalled {
        recall(session)?;
    }
    if session.whole().tables.contains(table) {
        return Ok(true);
    }
    let whole = session.with_nft(|nft| nft.verify(table))? == Standing::Sealed;
    if whole {
        session.whole().tables.insert(table.clone());
    }
    Ok(whole)
}

/// Forgets which tables were whole, because one was found gone.
pub(crate) fn distrust(session: &Session) {
    session.whole().tables.clear();
}

/// Forgets which shared elements were there: another network's last container may have taken them along before a note
/// said that this network needs them.
pub(crate) fn distrust_shared(session: &Session) -> Result<()> {
    if session.has_nft() {
        session.with_nft(|nft| {
            nft.doubt_shared();
            Ok(())
        })?;
    }
    Ok(())
}

fn recall(session: &Session) -> Result<()> {
    session.whole().recalled = true;
    let Some(noted) = fs::read(note(session)).ok().and_then(|bytes| read(&bytes)) else {
        return Ok(());
    };
    if session.with_nft(|nft| nft.believe(noted.clone()))? {
        session.whole().tables.clone_from(&noted.tables);
    }
    session.whole().noted = Some(noted);
    Ok(())
}

impl Drop for Session {
    /// Whatever the verb was, and however it ended: what is vouched for then is noted.
    fn drop(&mut self) {
        if self.has_nft() {
            keep(self);
        }
    }
}

/// Notes what is vouched for, if that is news. Best effort: without it the next verb verifies.
fn keep(session: &Session) {
    let Ok(Some(vouched)) = session.with_nft(|nft| Ok(nft.vouched().cloned())) else {
        return;
    };
    if session.whole().noted.as_ref() != Some(&vouched) {
        let _ = fs::write(note(session), write(&vouched));
    }
}

fn note(session: &Session) -> PathBuf {
    session.state().note("whole")
}

/// Verbs write the file where it lies, and at the same time: a line with the hash of the rest tells a torn one.
fn write(vouched: &Vouched) -> String {
    let text = serde_json::to_string(vouched).unwrap_or_default();
    format!("{:016x}\n{text}", stable_hash(&[text.as_bytes()]))
}

fn read(bytes: &[u8]) -> Option<Vouched> {
    let (hash, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let intact = u64::from_str_radix(hash, 16).ok()? == stable_hash(&[text.as_bytes()]);
    serde_json::from_str(text).ok().filter(|_| intact)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wharfline_kernel::nft::Element;

    use super::*;

    #[test]
    fn a_note_reads_back_and_a_torn_one_does_not() {
        let vouched = Vouched {
            namespace: 7,
            generation: u32::MAX,
            tables: BTreeSet::from([Table::Main, Table::Bridge]),
            shared: BTreeSet::from([Element::Link {
                ifname: "cni0".to_owned(),
            }]),
            unopposed: true,
        };
        let text = write(&vouched);
        assert_eq!(read(text.as_bytes()), Some(vouched));
        for length in 0..text.len() {
            assert_eq!(read(&text.as_bytes()[..length]), None, "{length}");
        }
        assert_eq!(read(text.replace('7', "8").as_bytes()), None);
    }
}
