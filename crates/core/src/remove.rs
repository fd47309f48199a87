//! Deleting one target of a teardown. What is absent counts as deleted, what is foreign stays.
//! The engine's DEL and GC call it, and the last DEL of a network for what was shared.
//! It must never stop at the first failure: its callers collect them.

use wharfline_kernel::link::LinkKey;
use wharfline_kernel::nft::{Element, Named, Tag};
use wharfline_spec::names::IfName;

use crate::cascade;
use crate::error::Result;
use crate::isolated_parent;
use crate::outcome::or_absent;
use crate::plan::{NsRef, Target};
use crate::session::Session;
use crate::sub_interface;
use crate::tables;
use crate::undo::{delete_link, detach, with_link};

/// Whose elements may go. The plugins of a chain put the same mark on what they make for one attachment, so that the
/// mark alone does not tell one's from another's.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// The attachment's mark.
    pub(crate) tag: &'a Tag,
    /// Whether an element is of a kind that the plugin makes.
    pub(crate) owns: &'a dyn Fn(&Element) -> bool,
}

/// Deletes `target`. Elements go only if they are `owner`'s; with `None`, whoever's they are.
pub(crate) fn remove(session: &Session, target: &Target, owner: Option<Owner<'_>>) -> Result<()> {
    tracing::debug!(?target, "remove");
    match target {
        Target::Link { name, mac } => {
            let bridge = controller_of(session, name)?;
            delete_link(session, name, *mac)?;
            cascade::port_was_freed(session, bridge)
        }
        Target::SubInterface(identity) => sub_interface::delete(session, identity),
        Target::VlanParent(parent) => sub_interface::delete_parent(session, parent),
        Target::IsolatedParent(parent) => isolated_parent::delete(session, parent),
        Target::Port { link, bridge } => detach_from(session, link, bridge),
        Target::Neighbour { link, ip } => with_link(session, NsRef::Host, link, |host, index| {
            host.delete_neighbour(index, *ip)
        }),
        Target::Route { link, route } => with_link(session, NsRef::Host, link, |host, index| {
            host.delete_route(index, route)
        }),
        Target::Elements { elements } => {
            session.with_nft(|nft| nft.delete(elements, owner.map(|owner| owner.tag)))
        }
        Target::LetThrough => session.with_nft(|nft| nft.withdraw()),
        Target::Predecessor {
            network,
            container,
            ifname,
        } => {
            let whom = Named {
                network: network.as_str(),
                container: container.as_str(),
                ifname: ifname.as_str(),
            };
            session
                .with_nft(|nft| nft.clear_predecessor(&whom))
                .map(drop)
        }
        Target::Flows { elements } => session.with_nft(|nft| nft.forget_flows(elements)),
        Target::MarkedElements { tag } => delete_marked(session, tag, owner),
        Target::Bridge { name } => delete_empty_bridge(session, name),
        Target::ContainerLinkDown { link } => set_down(session, link),
    }
}

fn controller_of(session: &Session, name: &IfName) -> Result<Option<u32>> {
    Ok(session
        .link(NsRef::Host, name)?
        .and_then(|link| link.controller))
}

fn detach_from(session: &Session, link: &IfName, bridge: &IfName) -> Result<()> {
    let Some(bridge) = session.link(NsRef::Host, bridge)? else {
        return Ok(());
    };
    match controller_of(session, link)? {
        Some(controller) if controller == bridge.index => detach(session, link),
        _ => Ok(()),
    }
}

fn delete_marked(session: &Session, tag: &Tag, owner: Option<Owner<'_>>) -> Result<()> {
    let marked = tables::marked(session, |element, mark| {
        mark == tag && owner.is_none_or(|owner| (owner.owns)(element))
    })?;
    let elements: Vec<Element> = marked.into_iter().map(|(element, _)| element).collect();
    session.with_nft(|nft| nft.delete(&elements, Some(tag)))
}

fn delete_empty_bridge(session: &Session, name: &IfName) -> Result<()> {
    let Some(bridge) = session.link(NsRef::Host, name)? else {
        return Ok(());
    };
    if bridge.kind != "bridge" || !session.host().ports(bridge.index)?.is_empty() {
        return Ok(());
    }
    session.forget(NsRef::Host, name);
    or_absent(session.host().delete_link(LinkKey::Index(bridge.index)))
}

fn set_down(session: &Session, link: &IfName) -> Result<()> {
    if session.container_netns().is_err() {
        // The namespace is gone, and the link with it.
        return Ok(());
    }
    with_link(session, NsRef::Container, link, |container, index| {
        container.set_up(index, false)
    })
}
