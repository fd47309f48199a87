//! Parents that lead nowhere: who stands on one reaches the others on it, and nothing else.
//! `perform` and `remove` come here for networks that name no parent.
//! It must never take a link that it did not make, nor one that somebody of the host still stands on.

use nix::errno::Errno;
use wharfline_kernel::link::{Link, LinkKey, LoneKind, NewLone};

use crate::attachment::bridge_mac;
use crate::error::{Error, ErrorKind, Result};
use crate::outcome::{or_absent, or_present};
use crate::plan::{IsolatedParent, NsRef};
use crate::session::Session;
use crate::sub_interface::PARENT_GROUP;

/// Makes the parent unless it is there, of the first kind that the kernel has, and sets it up.
pub(crate) fn ensure(session: &Session, wanted: &IsolatedParent) -> Result<()> {
    if session.link(NsRef::Host, &wanted.name)?.is_none() {
        create(session, wanted)?;
    }
    let index = session.index(NsRef::Host, &wanted.name)?;
    Ok(session.host().raise_port(index, &wanted.alias)?)
}

fn create(session: &Session, wanted: &IsolatedParent) -> Result<()> {
    for kind in [LoneKind::Dummy, LoneKind::Ifb] {
        let created = session.host().create_lone(&NewLone {
            name: &wanted.name,
            kind,
            mac: bridge_mac(&wanted.name),
            mtu: wanted.mtu,
            group: PARENT_GROUP,
        });
        match created {
            Err(refusal) if refusal.errno() == Errno::EOPNOTSUPP => {}
            created => return or_present(created),
        }
    }
    Err(Error::new(
        ErrorKind::NotAvailable,
        "a network without a parent needs a link without a wire, and this kernel has neither dummy nor ifb links \
         (CONFIG_DUMMY, CONFIG_IFB)",
    ))
}

/// Deletes the parent if it is ours and nobody of this namespace stands on it.
pub(crate) fn delete(session: &Session, parent: &IsolatedParent) -> Result<()> {
    let Some(link) = session.link(NsRef::Host, &parent.name)? else {
        return Ok(());
    };
    if link.group != PARENT_GROUP || link.mac != Some(bridge_mac(&parent.name)) {
        return Ok(());
    }
    let stands_on = |other: &Link| other.lower == Some(link.index) && !other.lower_is_elsewhere;
    if session.host().links()?.iter().any(stands_on) {
        return Ok(());
    }
    session.forget(NsRef::Host, &parent.name);
    or_absent(session.host().delete_link(LinkKey::Index(link.index)))
}
