//! Our nftables tables as the engine uses them: laid before the first element, healed when somebody flushed them.
//! Operations call it before they add elements; every verb heals through it.
//! It must never run nft while the tables stand.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use wharfline_kernel::nft::{Element, Nft, Standing, Table, Tag};

use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Lock, Mode};
use crate::record::{Record, SharedNote};
use crate::session::Session;
use crate::state;
use crate::vouched;

/// Adds elements that others may have added before, unless it is known that they are there.
pub fn ensure(session: &Session, elements: &[Element], tag: &Tag) -> Result<()> {
    if session.with_nft(|nft| Ok(nft.stands(elements)))? {
        return Ok(());
    }
    Ok(standing(session, elements, |nft| {
        nft.ensure(elements, tag)
    })??)
}

/// Adds elements of one attachment; a key that is taken is a [`ErrorKind::Conflict`].
pub fn create(session: &Session, elements: &[Element], tag: &Tag) -> Result<()> {
    let created = standing(session, elements, |nft| match nft.create(elements, tag) {
        // Whoever laid the table a moment ago filled it from the records, and ours was written by then.
        Err(taken) if taken.is_present() => {
            nft.delete(elements, Some(tag))?;
            nft.create(elements, tag)
        }
        other => other,
    })?;
    match created {
        Err(taken) if taken.is_present() => Err(Error::new(ErrorKind::Conflict, taken.to_string())),
        done => Ok(done?),
    }
}

/// Does `add` with the tables standing that `elements` live in. One that vanishes meanwhile is laid once more.
fn standing(
    session: &Session,
    elements: &[Element],
    add: impl Fn(&mut Nft) -> wharfline_kernel::Result<()>,
) -> Result<wharfline_kernel::Result<()>> {
    stand(session, elements)?;
    match session.with_nft(|nft| Ok(add(nft)))? {
        Err(gone) if gone.is_absent() => {
            vouched::distrust(session);
            stand(session, elements)?;
            session.with_nft(|nft| Ok(add(nft)))
        }
        done => Ok(done),
    }
}

/// Makes sure that the tables which `elements` live in stand.
fn stand(session: &Session, elements: &[Element]) -> Result<()> {
    let tables: BTreeSet<Table> = elements.iter().map(Element::table).collect();
    let news = remember(session, &tables)?;
    for table in &tables {
        if vouched::is_whole(session, table)? {
            continue;
        }
        if let Err(failure) = lay(session, table) {
            forget_absent(session, &news)?;
            return Err(failure);
        }
    }
    Ok(())
}

/// Lays anew what was flushed or altered since. Costs one file look-up where nothing of ours is in nftables.
pub fn heal(session: &Session) -> Result<()> {
    let tables = remembered(session)?;
    session.whole().noted_tables.clone_from(&tables);
    for table in tables {
        if !vouched::is_whole(session, &table)? {
            lay(session, &table)?;
        }
    }
    Ok(())
}

/// The attachments' own elements that no record tells of, by their marks; `is_stale` judges each owner.
pub fn marked(
    session: &Session,
    is_stale: impl Fn(&Element, &Tag) -> bool,
) -> Result<Vec<(Element, Tag)>> {
    let mut found = Vec::new();
    for table in known(session)? {
        let all = session.with_nft(|nft| nft.dump(&table))?;
        found.extend(
            all.into_iter()
                .filter(|(element, tag)| is_stale(element, tag)),
        );
    }
    Ok(found)
}

/// Every table that may hold something of ours, whether a note says so or not.
pub(crate) fn known(session: &Session) -> Result<BTreeSet<Table>> {
    let mut tables = remembered(session)?;
    tables.extend([Table::Main, Table::Bridge, Table::Boundary]);
    Ok(tables)
}

fn lay(session: &Session, table: &Table) -> Result<()> {
    // nft(8) takes some 5 ms: two hundred verbs that find the table gone at once lay it once.
    let _alone = Lock::acquire(&session.state().lock("nftables"), Mode::Exclusive)?;
    let elements = elements_of(session, table)?;
    session.with_nft(|nft| nft.lay(table, &elements)).map(drop)
}

/// Every element that a record or a note of this host says is in `table`.
fn elements_of(session: &Session, table: &Table) -> Result<Vec<(Element, Tag)>> {
    let mut elements = Vec::new();
    for record in Record::all(session.state())? {
        let tag = record.key().tag();
        elements.extend(record.elements().into_iter().map(|element| (element, tag)));
    }
    for (network, note) in SharedNote::all(session.state())? {
        let tag = Tag::network(&network);
        elements.extend(note.elements().into_iter().map(|element| (element, tag)));
    }
    elements.retain(|(element, _)| element.table() == *table);
    // Two networks may share an element; the kernel takes it once.
    let mut seen = BTreeSet::new();
    elements.retain(|(element, _)| seen.insert(element.clone()));
    Ok(elements)
}

fn note(session: &Session) -> PathBuf {
    session.state().note("tables.json")
}

fn remembered(session: &Session) -> Result<BTreeSet<Table>> {
    match fs::read(note(session)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(e) => Err(Error::io("read the note of our tables", e)),
    }
}

/// Notes the tables before they are laid, and returns those that no note told of.
fn remember(session: &Session, tables: &BTreeSet<Table>) -> Result<BTreeSet<Table>> {
    if session.whole().noted_tables.is_superset(tables) {
        return Ok(BTreeSet::new());
    }
    let _alone = Lock::acquire(&session.state().lock("shared"), Mode::Exclusive)?;
    let before = remembered(session)?;
    let after = &before | tables;
    write_note(session, &after)?;
    session.whole().noted_tables = after;
    Ok(tables - &before)
}

/// Strikes tables that could not be laid: every later verb, a DEL too, would try to lay them anew.
fn forget_absent(session: &Session, tables: &BTreeSet<Table>) -> Result<()> {
    let _alone = Lock::acquire(&session.state().lock("shared"), Mode::Exclusive)?;
    let mut all = remembered(session)?;
    for table in tables {
        if session.with_nft(|nft| nft.verify(table))? == Standing::Absent {
            all.remove(table);
        }
    }
    write_note(session, &all)?;
    session.whole().noted_tables = all;
    Ok(())
}

fn write_note(session: &Session, tables: &BTreeSet<Table>) -> Result<()> {
    let path = note(session);
    if tables.is_empty() {
        return match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove the note of our tables", e))
            }
            _ => Ok(()),
        };
    }
    let text = serde_json::to_vec(tables)
        .map_err(|e| Error::io("write the note of our tables", std::io::Error::other(e)))?;
    state::write_whole(&path, &text)
}
