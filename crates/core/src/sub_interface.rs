//! Links that stand on another: made where they are to live, found again by kind, MAC and parent, and their parents.
//! `perform`, `remove` and `verify` come here for the operations and targets of sub-interfaces.
//! It must never take a parent that was there before us, nor one that somebody still stands on.

use std::os::fd::AsFd;

use nix::errno::Errno;
use wharfline_kernel::link::{Link, LinkKey};
use wharfline_kernel::sub_interface::{MacvlanMode, NewSubInterface, SubInterfaceKind};
use wharfline_kernel::{KernelError, probe};
use wharfline_spec::names::IfName;

use crate::attachment::AttachmentKey;
use crate::error::{Error, ErrorKind, Result};
use crate::outcome::{or_absent, or_present};
use crate::plan::{
    HostShim, NsRef, Parent, SubInterface, SubInterfaceIdentity, Target, VlanParent,
};
use crate::record::Record;
use crate::session::Session;

/// The kernel's word for links that share their parent's MAC.
const IPVLAN: &str = "ipvlan";

/// The group (IFLA_GROUP) of parents that we made: a mark that a link bears from birth (docs/reserved.md).
pub const PARENT_GROUP: u32 = 0x5748_4c50;

/// Creates the sub-interface in the namespace where it is to live.
pub(crate) fn create(session: &Session, key: &AttachmentKey, new: &SubInterface) -> Result<()> {
    let identity = &new.identity;
    let parent = parent_link(session, &identity.parent)?.index;
    let is_taken = |done: &wharfline_kernel::Result<()>| matches!(done, Err(e) if e.is_present());
    let mut done = create_as(session, new, &identity.link, parent)?;
    // Kernels before 6.14 refuse a name that a link beside the parent has: born under one that nobody has.
    let renamed = is_taken(&done) && session.link(identity.ns, &identity.link)?.is_none();
    if renamed {
        done = create_as(session, new, &identity.born_as, parent)?;
    }
    match done {
        Ok(()) if renamed => rename(session, identity),
        Ok(()) => Ok(()),
        Err(refusal) => Err(explained(session, key, new, refusal)?),
    }
}

fn create_as(
    session: &Session,
    new: &SubInterface,
    name: &IfName,
    parent: u32,
) -> Result<wharfline_kernel::Result<()>> {
    let identity = &new.identity;
    let netns = match identity.ns == identity.parent.ns {
        true => None,
        false => Some(session.container_netns()?.as_fd()),
    };
    let host = session.socket(identity.parent.ns)?;
    Ok(host.create_sub_interface(&NewSubInterface {
        name,
        parent,
        netns,
        mac: identity.mac,
        mtu: Some(new.mtu),
        group: None,
        kind: &new.settings,
    }))
}

/// Gives the new link its name, or takes it away again.
fn rename(session: &Session, identity: &SubInterfaceIdentity) -> Result<()> {
    let socket = session.socket(identity.ns)?;
    let link = socket.expect_link(&identity.born_as);
    let Err(refusal) = link.and_then(|link| socket.rename(link.index, &identity.link)) else {
        return Ok(());
    };
    let mut failure = Error::from(refusal);
    if let Err(left) = delete(session, identity) {
        failure.add_failed_undo(left.within("undo"));
    }
    Err(failure)
}

/// What the kernel's refusal means to the one who wrote the configuration.
fn explained(
    session: &Session,
    key: &AttachmentKey,
    new: &SubInterface,
    refusal: KernelError,
) -> Result<Error> {
    let parent = &new.identity.parent;
    let conflict = |told: String| Error::new(ErrorKind::Conflict, told);
    let explanation = match refusal.errno() {
        Errno::EOPNOTSUPP => lacks(&new.settings),
        Errno::EINVAL | Errno::EBUSY => match tenant(session, key, parent)? {
            Some(tenant) => conflict(format!(
                "master: {parent} is in use by {tenant}, and a passthru interface has its parent to itself"
            )),
            None if new.settings.is_exclusive() => conflict(format!(
                "mode: passthru needs {parent} to itself, and others stand on it"
            )),
            None => return Ok(refusal.into()),
        },
        Errno::EEXIST if session.link(new.identity.ns, &new.identity.link)?.is_none() => conflict(
            format!("vlanId: this VLAN of {parent} has an interface already, in some namespace"),
        ),
        _ => return Ok(refusal.into()),
    };
    Ok(explanation.because(refusal))
}

/// The refusal of a kernel without this kind of link.
pub fn lacks(kind: &SubInterfaceKind) -> Error {
    Error::new(
        ErrorKind::NotAvailable,
        format!(
            "this kernel has no {0} links (CONFIG_{1})",
            kind.name(),
            option(kind)
        ),
    )
}

fn option(kind: &SubInterfaceKind) -> &'static str {
    match kind {
        SubInterfaceKind::Macvlan { .. } => "MACVLAN",
        SubInterfaceKind::Ipvlan { .. } => "IPVLAN",
        SubInterfaceKind::Vlan { .. } => "VLAN_8021Q",
    }
}

/// Another attachment of ours that stands on the parent.
fn tenant(session: &Session, key: &AttachmentKey, parent: &Parent) -> Result<Option<String>> {
    let stands_on =
        |target: &Target| matches!(target, Target::SubInterface(found) if found.parent == *parent);
    let records = Record::all(session.state())?;
    let mut others = records.iter().filter(|record| record.key() != *key);
    let tenant = others.find(|record| record.own.iter().any(stands_on));
    Ok(tenant.map(|record| record.key().to_string()))
}

/// The parent, which must be there.
pub fn parent_link(session: &Session, parent: &Parent) -> Result<Link> {
    session.link(parent.ns, &parent.name)?.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("master: {parent} does not exist"),
        )
    })
}

/// Deletes the sub-interface if a link of its names is it. In a namespace that is gone it is gone as well.
pub(crate) fn delete(session: &Session, identity: &SubInterfaceIdentity) -> Result<()> {
    if identity.ns == NsRef::Container && session.container_netns().is_err() {
        return Ok(());
    }
    for name in [&identity.link, &identity.born_as] {
        let Some(link) = session.link(identity.ns, name)? else {
            continue;
        };
        if is(session, &link, identity)? {
            let socket = session.socket(identity.ns)?;
            // The look-up has just noted its index, which the next link of this name does not have.
            session.forget(identity.ns, name);
            or_absent(socket.delete_link(LinkKey::Index(link.index)))?;
        }
    }
    Ok(())
}

fn is(session: &Session, link: &Link, identity: &SubInterfaceIdentity) -> Result<bool> {
    if link.kind != identity.kind {
        return Ok(false);
    }
    if identity.mac.is_some() {
        // A writer that was killed may have left it asking.
        return Ok(link.mac == identity.mac || link.mac == identity.probing_mac());
    }
    stands_on(session, link, &identity.parent)
}

/// Whether the link stands on the parent; a parent that is gone has taken along what stood on it.
fn stands_on(session: &Session, link: &Link, parent: &Parent) -> Result<bool> {
    let found = session.link(parent.ns, &parent.name)?;
    Ok(found.is_some_and(|found| link.lower == Some(found.index)))
}

/// How the kernel differs from what [`create`] made.
pub(crate) fn differences(session: &Session, wanted: &SubInterface) -> Result<Vec<String>> {
    let identity = &wanted.identity;
    let Some(parent) = session.link(identity.parent.ns, &identity.parent.name)? else {
        return Ok(vec![format!("master: {} is missing", identity.parent)]);
    };
    let mut found = Vec::new();
    if !parent.up {
        found.push(format!("master: {} is down", identity.parent));
    }
    let name = &identity.link;
    let Some(link) = session.link(identity.ns, name)? else {
        found.push(format!("link {name} is missing in the container"));
        return Ok(found);
    };
    if link.kind != identity.kind {
        found.push(format!(
            "link {name} is no {} but {}",
            identity.kind, link.kind
        ));
    } else if link.lower != Some(parent.index) {
        found.push(format!("link {name} does not stand on {}", identity.parent));
    }
    if let Some(mac) = identity.mac.filter(|mac| link.mac != Some(*mac)) {
        let mac = wharfline_spec::cni::mac_text(mac);
        found.push(format!(
            "link {name} in the container has not the MAC {mac}"
        ));
    }
    Ok(found)
}

/// Makes the parent unless it is there, and sets it up.
pub(crate) fn ensure_parent(session: &Session, wanted: &VlanParent) -> Result<()> {
    let under = Parent {
        name: wanted.under.clone(),
        ns: NsRef::Host,
    };
    let kind = SubInterfaceKind::Vlan { id: wanted.vlan };
    if session.link(NsRef::Host, &wanted.name)?.is_none() {
        let parent = parent_link(session, &under)?.index;
        let created = session.host().create_sub_interface(&NewSubInterface {
            name: &wanted.name,
            parent,
            netns: None,
            mac: None,
            mtu: None,
            group: Some(PARENT_GROUP),
            kind: &kind,
        });
        match created {
            Err(refusal) if refusal.errno() == Errno::EOPNOTSUPP => {
                return Err(lacks(&kind).because(refusal));
            }
            created => or_present(created)?,
        }
    }
    let index = session.index(NsRef::Host, &wanted.name)?;
    Ok(session.host().set_up(index, true)?)
}

/// Deletes a parent that we made, once nobody of this namespace stands on it. The records have been asked before.
pub(crate) fn delete_parent(session: &Session, parent: &VlanParent) -> Result<()> {
    let Some(link) = session.link(NsRef::Host, &parent.name)? else {
        return Ok(());
    };
    if link.group != PARENT_GROUP || link.kind != "vlan" {
        return Ok(());
    }
    let stands_on = |other: &Link| other.lower == Some(link.index) && !other.lower_is_elsewhere;
    if session.host().links()?.iter().any(stands_on) {
        return Ok(());
    }
    session.forget(NsRef::Host, &parent.name);
    or_absent(session.host().delete_link(LinkKey::Index(link.index)))
}

/// Makes the host's own link on the parent unless it is there. IPv6 gives it no address: it has none of its own.
pub(crate) fn ensure_host_shim(session: &Session, shim: &HostShim) -> Result<()> {
    if session.link(NsRef::Host, &shim.link)?.is_none() {
        let parent = Parent {
            name: shim.parent.clone(),
            ns: NsRef::Host,
        };
        let parent = parent_link(session, &parent)?.index;
        or_present(session.host().create_sub_interface(&NewSubInterface {
            name: &shim.link,
            parent,
            netns: None,
            mac: Some(shim.mac),
            mtu: None,
            group: None,
            kind: &SubInterfaceKind::Macvlan {
                mode: MacvlanMode::Bridge,
                broadcast_queue: None,
            },
        }))?;
    }
    let index = session.index(NsRef::Host, &shim.link)?;
    Ok(session.host().raise_port(index, &shim.alias)?)
}

/// Asks on the parent: an ipvlan hears what is for one of its addresses, and a probe bears none that an answer could be for
/// (ipvlan_addr_lookup() in drivers/net/ipvlan/ipvlan_core.c).
fn occupant_beyond(
    session: &Session,
    parent: &Parent,
    ips: &[std::net::IpAddr],
) -> Result<Option<(std::net::IpAddr, macaddr::MacAddr6)>> {
    let link = parent_link(session, parent)?;
    let from = link.mac.unwrap_or_default();
    session.inside(parent.ns, || probe::occupant(link.index, from, ips))
}

/// Asks the segment whether somebody has one of the addresses. The link is up for that long, under another MAC than its
/// own where it has one.
///
/// # Errors
/// [`ErrorKind::Conflict`] names the address and the MAC that answered.
pub(crate) fn require_free(
    session: &Session,
    identity: &SubInterfaceIdentity,
    ips: &[std::net::IpAddr],
) -> Result<()> {
    let socket = session.socket(identity.ns)?;
    let found = socket.expect_link(&identity.link)?;
    let probing = identity.probing_mac();
    if let Some(mac) = probing {
        socket.set_mac(found.index, mac)?;
    }
    socket.set_up(found.index, true)?;
    let occupant = match identity.kind == IPVLAN {
        true => occupant_beyond(session, &identity.parent, ips),
        false => {
            let from = probing.or(found.mac).unwrap_or_default();
            session.inside(identity.ns, || probe::occupant(found.index, from, ips))
        }
    };
    socket.set_up(found.index, false)?;
    if let Some(own) = identity.mac {
        socket.set_mac(found.index, own)?;
    }
    match occupant? {
        None => Ok(()),
        Some((ip, mac)) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "ipam: address {ip} is in use on the segment by {}",
                wharfline_spec::cni::mac_text(mac)
            ),
        )),
    }
}
