//! The undo of an operation, as a value: made when the operation is done, run when a later one fails.
//! The transaction keeps them in order.
//! Running one must never fail because its object is gone already.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use wharfline_kernel::link::LinkKey;
use wharfline_kernel::nft::{Element, Tag};
use wharfline_kernel::route::IpRoute;
use wharfline_spec::names::IfName;

use crate::error::Result;
use crate::outcome::or_absent;
use crate::plan::{NsRef, SubInterfaceIdentity};
use crate::session::Session;
use crate::sub_interface;

/// What takes one operation back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Undo {
    /// The object was there before, or others rely on it.
    Nothing,
    /// Delete the link, if it still has this MAC.
    Link {
        /// Its name on the host.
        name: IfName,
        /// Its MAC.
        mac: MacAddr6,
    },
    /// Delete the link that stands on another, if it is still the one.
    SubInterface {
        /// Which one.
        identity: SubInterfaceIdentity,
    },
    /// Take the link off its bridge.
    Port {
        /// The link.
        link: IfName,
    },
    /// Take the address off.
    Address {
        /// Where.
        ns: NsRef,
        /// The link.
        link: IfName,
        /// The address.
        network: IpNetwork,
    },
    /// Delete the route.
    Route {
        /// Where.
        ns: NsRef,
        /// The link.
        link: IfName,
        /// The route.
        route: IpRoute,
    },
    /// Forget the neighbour.
    Neighbour {
        /// Where.
        ns: NsRef,
        /// The link.
        link: IfName,
        /// The address.
        ip: IpAddr,
    },
    /// Delete the elements.
    Elements {
        /// The elements.
        elements: Vec<Element>,
        /// Whose they are.
        tag: Tag,
    },
}

impl Undo {
    /// Takes the operation back; what is gone already counts as taken back.
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Link { name, mac } => delete_link(session, name, *mac),
            Self::SubInterface { identity } => sub_interface::delete(session, identity),
            Self::Port { link } => detach(session, link),
            Self::Address { ns, link, network } => {
                with_link(session, *ns, link, |socket, index| {
                    socket.delete_address(index, *network)
                })
            }
            Self::Route { ns, link, route } => with_link(session, *ns, link, |socket, index| {
                socket.delete_route(index, route)
            }),
            Self::Neighbour { ns, link, ip } => with_link(session, *ns, link, |socket, index| {
                socket.delete_neighbour(index, *ip)
            }),
            Self::Elements { elements, tag } => {
                session.with_nft(|nft| nft.delete(elements, Some(tag)))
            }
        }
    }
}

/// Deletes the host's link `name` if it is the one with `mac`: another's of the same name stays.
pub(crate) fn delete_link(session: &Session, name: &IfName, mac: MacAddr6) -> Result<()> {
    session.forget(NsRef::Host, name);
    let Some(link) = session.host().link(LinkKey::Name(name))? else {
        return Ok(());
    };
    if link.mac != Some(mac) {
        return Ok(());
    }
    or_absent(session.host().delete_link(LinkKey::Index(link.index)))
}

/// Takes the host's link off whatever bridge it is on.
pub(crate) fn detach(session: &Session, link: &IfName) -> Result<()> {
    with_link(session, NsRef::Host, link, |socket, index| {
        socket.set_controller(index, None)
    })
}

/// Does `work` on the link, if it is there.
pub(crate) fn with_link(
    session: &Session,
    ns: NsRef,
    link: &IfName,
    work: impl FnOnce(&wharfline_kernel::RouteSocket, u32) -> wharfline_kernel::Result<()>,
) -> Result<()> {
    match session.link(ns, link)? {
        Some(found) => or_absent(work(session.socket(ns)?, found.index)),
        None => Ok(()),
    }
}
