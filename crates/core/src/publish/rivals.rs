//! Who already publishes a port that is asked for, and whether that owner is still alive.
//! Drivers that publish observe with it; their plans refuse a live rival and evict a dead one.
//! It must never change anything.

use std::net::IpAddr;
use std::path::Path;

use crate::driver::Endpoint;
use crate::error::Result;
use crate::record::Record;
use crate::session::Session;
use wharfline_kernel::nft::{Element, Occupant, Tag};

/// An element under a key that we want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// The element that stands there.
    pub element: Element,
    /// Its mark; `None`: no plugin of ours put it there.
    pub tag: Option<Tag>,
    /// Its owner, if he lives: a text that names him.
    pub alive: Option<String>,
}

/// The rivals for `wanted` of a contested endpoint, and of no other; what is our own already is none. Point look-ups;
/// records are read only where there is a rival.
///
/// With `heir_of`, another interface of the container in that namespace gives way as the dead do: which of a container's
/// networks its ports are published by, the last request says.
pub fn find(
    session: &Session,
    endpoint: &Endpoint<'_>,
    wanted: &[Element],
    heir_of: Option<&Path>,
) -> Result<Vec<Rival>> {
    if !endpoint.contested {
        return Ok(Vec::new());
    }
    let found = session.with_nft(|nft| nft.look_up(wanted))?;
    let others: Vec<Occupant> = found
        .into_iter()
        .flatten()
        .filter(|occupant| occupant.tag != Some(endpoint.key.tag()))
        .collect();
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let records = Record::all(session.state())?;
    let own: Vec<IpAddr> = wanted.iter().filter_map(target).collect();
    Ok(others
        .into_iter()
        .map(|occupant| judge(occupant, &records, (&own, heir_of)))
        .collect())
}

fn judge(
    occupant: Occupant,
    records: &[Record],
    (own, heir_of): (&[IpAddr], Option<&Path>),
) -> Rival {
    let record = records
        .iter()
        .find(|record| Some(record.key().tag()) == occupant.tag);
    // An address has one owner: who still publishes to one that is ours now has died without a DEL.
    let inherited = target(&occupant.element).is_some_and(|address| own.contains(&address));
    let of_same = record.is_some_and(|record| heir_of == Some(record.netns.as_path()));
    let alive = match (record, occupant.tag) {
        _ if inherited || of_same => None,
        (Some(record), _) if record.netns_lives() => Some(record.key().to_string()),
        (_, Some(_)) => None,
        (None, None) | (Some(_), None) => {
            Some("an element that no plugin of ours added".to_owned())
        }
    };
    Rival {
        element: occupant.element,
        tag: occupant.tag,
        alive,
    }
}

/// The container's address that a published port leads to.
fn target(element: &Element) -> Option<IpAddr> {
    match element {
        Element::Published { to, .. }
        | Element::KeepSource { to, .. }
        | Element::MasqueradeAll { to, .. } => Some(to.ip()),
        _ => None,
    }
}
