//! Doing one operation of a plan, and giving its undo back at that moment.
//! The transaction calls it for every operation of every plugin.
//! It must never choose: a question that an operation leaves open belongs in the plan.

use std::time::Duration;

use ipnetwork::IpNetwork;
use wharfline_kernel::address::NewAddress;
use wharfline_kernel::link::NewBridge;
use wharfline_kernel::nft::{Element, Table, Tag};
use wharfline_kernel::route::IpRoute;
use wharfline_kernel::{KernelError, announce, sysctl};
use wharfline_spec::names::IfName;

use crate::attachment::AttachmentKey;
use crate::cascade;
use crate::error::{Error, ErrorKind, Result};
use crate::evict::evict;
use crate::isolated_parent;
use crate::outcome::{or_present, vanished};
use crate::passage;
use crate::plan::{Bridge, NsRef, Op, Port};
use crate::port_vlan::set_vlans;
use crate::session::Session;
use crate::sub_interface;
use crate::tables;
use crate::undo::Undo;
use crate::vlan_gateway;

/// How long IPv6 duplicate detection may take: one probe a second (RFC 4862, RetransTimer), and slack.
const DUPLICATE_DETECTION_DEADLINE: Duration = Duration::from_secs(5);

/// Does `op` in `ns`; what it made is undone by the value returned.
pub(crate) fn perform(session: &Session, key: &AttachmentKey, ns: NsRef, op: &Op) -> Result<Undo> {
    match op {
        Op::Sysctl {
            key,
            value,
            optional,
        } => shared(session.ensure_sysctl(ns, key, value, *optional)),
        Op::KeepRouterAdvertisements => shared(keep_router_advertisements(session, ns)),
        Op::EnsureBridge(bridge) => shared(ensure_bridge(session, bridge)),
        Op::EnsureBridgeAddress {
            bridge,
            network,
            force,
            beside,
        } => shared(ensure_bridge_address(
            session,
            bridge,
            *network,
            InTheWay {
                goes: *force,
                may_stay: *beside,
            },
        )),
        Op::EnsureVlanGateway { .. } => shared(vlan_gateway::ensure(session, op)),
        Op::CreateVeth(veth) => cascade::create_veth(session, veth),
        Op::CreateSubInterface(new) => {
            sub_interface::create(session, key, new)?;
            Ok(Undo::SubInterface {
                identity: new.identity.clone(),
            })
        }
        Op::EnsureVlanParent(parent) => shared(sub_interface::ensure_parent(session, parent)),
        Op::EnsureIsolatedParent(parent) => shared(isolated_parent::ensure(session, parent)),
        Op::EnsureHostShim(shim) => shared(sub_interface::ensure_host_shim(session, shim)),
        Op::RequireFree { link, ips } => shared(sub_interface::require_free(session, link, ips)),
        Op::AttachPort { link, bridge } => attach_port(session, link, bridge),
        Op::SetPort(port) => set_port(session, port).map(|()| Undo::Nothing),
        Op::RaisePort { link, alias } => {
            let index = session.index(ns, link)?;
            shared(Ok(session.socket(ns)?.raise_port(index, alias)?))
        }
        Op::SetNeighbour { link, ip, mac } => {
            let index = session.index(ns, link)?;
            session.socket(ns)?.set_neighbour(index, *ip, *mac)?;
            Ok(Undo::Neighbour {
                ns,
                link: link.clone(),
                ip: *ip,
            })
        }
        Op::Announce { link, ip, mac } => {
            let index = session.index(ns, link)?;
            shared(Ok(announce::announce(index, *ip, *mac)?))
        }
        Op::EnsureElements { elements } => {
            let tag = Tag::network(key.network.as_str());
            shared(tables::ensure(session, elements, &tag))
        }
        Op::CreateElements { elements } => create_elements(session, key.tag(), elements),
        Op::EvictElements { elements } => shared(evict(session, elements)),
        Op::LetThrough {
            links,
            thorough,
            own,
        } => let_through(session, key, links, (*thorough, *own)),
        Op::ForgetConnections { elements } => {
            shared(session.with_nft(|nft| nft.forget_flows(elements)))
        }
        Op::CreateRoute { link, route } => create_route(session, ns, link, route),
        Op::EnsureRoute { link, route } => {
            let index = session.index(ns, link)?;
            shared(or_present(session.socket(ns)?.add_route(index, route)))
        }
        Op::AddAddress {
            link,
            network,
            detect_duplicates,
            alone,
        } => {
            let index = session.index(ns, link)?;
            let how = NewAddress {
                detect_duplicates: *detect_duplicates,
                alone: *alone,
            };
            session.socket(ns)?.add_address(index, *network, how)?;
            Ok(Undo::Address {
                ns,
                link: link.clone(),
                network: *network,
            })
        }
        Op::SetUp { link } => {
            let index = session.index(ns, link)?;
            shared(Ok(session.socket(ns)?.set_up(index, true)?))
        }
        Op::AwaitDuplicateDetection { link } => {
            let index = session.index(ns, link)?;
            let wait = || {
                wharfline_kernel::duplicate_detection::settle(index, DUPLICATE_DETECTION_DEADLINE)
            };
            shared(session.inside(ns, wait))
        }
        Op::AddRoute { link, route } => {
            let index = session.index(ns, link)?;
            // Another interface's plugin may have set the same default route before: it stays first.
            or_present(session.socket(ns)?.add_route(index, route))?;
            Ok(Undo::Route {
                ns,
                link: link.clone(),
                route: route.clone(),
            })
        }
    }
}

/// What several attachments rely on is not undone with one of them; the network's last one takes it along.
fn shared(done: Result<()>) -> Result<Undo> {
    done.map(|()| Undo::Nothing)
}

/// What lets the links pass goes with the attachment if they are its own. Own links are made known wherever our table is:
/// a firewall that comes later meets them all.
fn let_through(
    session: &Session,
    key: &AttachmentKey,
    links: &[IfName],
    (thorough, own): (bool, bool),
) -> Result<Undo> {
    let needed = passage::let_through(session, links, thorough)?;
    let elements = passage::elements(links);
    match own {
        false if needed => {
            let tag = Tag::network(key.network.as_str());
            shared(tables::ensure(session, &elements, &tag))
        }
        true if needed || session.whole().noted_tables.contains(&Table::Main) => {
            let missing = session.with_nft(|nft| nft.missing(&elements))?;
            match missing.is_empty() {
                true => Ok(Undo::Nothing),
                false => create_elements(session, key.tag(), &missing),
            }
        }
        _ => Ok(Undo::Nothing),
    }
}

/// Adds the only route to a destination.
fn create_route(session: &Session, ns: NsRef, link: &IfName, route: &IpRoute) -> Result<Undo> {
    let index = session.index(ns, link)?;
    match session.socket(ns)?.add_route(index, route) {
        Err(refusal) if refusal.is_present() => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "there is a route to {} already: another network has this address",
                route.to
            ),
        )
        .because(refusal)),
        Err(refusal) => Err(refusal.into()),
        Ok(()) => Ok(Undo::Route {
            ns,
            link: link.clone(),
            route: route.clone(),
        }),
    }
}

fn create_elements(session: &Session, tag: Tag, elements: &[Element]) -> Result<Undo> {
    tables::create(session, elements, &tag)?;
    Ok(Undo::Elements {
        elements: elements.to_vec(),
        tag,
    })
}

/// Switching forwarding on makes links deaf to router advertisements unless accept_ra is 2 by then.
fn keep_router_advertisements(session: &Session, ns: NsRef) -> Result<()> {
    let forwarding = session.read_sysctl(ns, "net/ipv6/conf/all/forwarding")?;
    if forwarding.as_deref() != Some("0") {
        return Ok(());
    }
    let names = session.inside(ns, || {
        sysctl::interfaces("ipv6")
            .map_err(|e| KernelError::from_io("list interfaces with IPv6", &e))
    })?;
    let of_all = |name: &&String| matches!(name.as_str(), "all" | "default" | "lo");
    for name in names.iter().filter(|name| !of_all(name)) {
        let key = format!("net/ipv6/conf/{name}/accept_ra");
        if session.read_sysctl(ns, &key)?.as_deref() == Some("1") {
            session.ensure_sysctl(ns, &key, "2", true)?;
        }
    }
    Ok(())
}

fn ensure_bridge(session: &Session, bridge: &Bridge) -> Result<()> {
    let found = match session.observed_link(&bridge.name)? {
        Some(link) => link,
        None => create_bridge(session, bridge)?,
    };
    if found.kind != "bridge" {
        return Err(Error::config(
            "bridge",
            format!(
                "link {} exists and is no bridge but {}",
                bridge.name,
                kind_text(&found.kind)
            ),
        ));
    }
    if bridge.vlan_filtering && !found.vlan_filtering {
        filter_by_vlan(session, bridge, found.index)?;
    }
    if bridge.promiscuous && !found.promiscuous {
        session.host().set_promiscuous(found.index, true)?;
    }
    // One that we made has a MAC set from birth. Another's takes its lowest port's until one is set, be it the same.
    if bridge.pinned
        && let Some(mac) = found.mac.filter(|mac| *mac != bridge.mac)
    {
        session.host().set_mac(found.index, mac)?;
    }
    if !found.up {
        session.host().set_up(found.index, true)?;
    }
    Ok(())
}

fn kind_text(kind: &str) -> &str {
    if kind.is_empty() {
        "a physical device"
    } else {
        kind
    }
}

fn create_bridge(session: &Session, bridge: &Bridge) -> Result<wharfline_kernel::link::Link> {
    let created = session.host().create_bridge(&NewBridge {
        name: &bridge.name,
        mac: bridge.mac,
        mtu: bridge.mtu,
        vlan_filtering: bridge.vlan_filtering,
    });
    let ours = created.is_ok();
    or_present(created)?;
    let link = session
        .link(NsRef::Host, &bridge.name)?
        .ok_or_else(|| vanished(&bridge.name))?;
    if ours && bridge.vlan_filtering && !link.vlan_filtering {
        // The kernel ignores the attribute where it was built without the feature.
        session
            .host()
            .delete_link(wharfline_kernel::link::LinkKey::Index(link.index))?;
        return Err(no_vlan_filtering(&bridge.name));
    }
    let key = format!("net/ipv6/conf/{}/accept_ra", bridge.name);
    session.ensure_sysctl(NsRef::Host, &key, "0", true)?;
    Ok(link)
}

fn filter_by_vlan(session: &Session, bridge: &Bridge, index: u32) -> Result<()> {
    // A kernel without the feature either refuses the attribute or ignores it: the read-back tells.
    let _ = session.host().set_vlan_filtering(index, true);
    match session.link(NsRef::Host, &bridge.name)? {
        Some(link) if link.vlan_filtering => Ok(()),
        _ => Err(no_vlan_filtering(&bridge.name)),
    }
}

fn no_vlan_filtering(bridge: &IfName) -> Error {
    Error::new(
        ErrorKind::UnsupportedField,
        format!(
            "vlan, vlanTrunk: bridge {bridge} cannot filter by VLAN: this kernel lacks CONFIG_BRIDGE_VLAN_FILTERING"
        ),
    )
}

/// What becomes of another IPv4 subnet of a bridge.
#[derive(Clone, Copy)]
struct InTheWay {
    goes: bool,
    may_stay: bool,
}

fn ensure_bridge_address(
    session: &Session,
    bridge: &IfName,
    network: IpNetwork,
    other: InTheWay,
) -> Result<()> {
    let index = session.index(NsRef::Host, bridge)?;
    let present = session.host().addresses(index)?;
    if present.iter().any(|address| address.network == network) {
        return Ok(());
    }
    let in_the_way = present.iter().filter(|address| {
        let there = address.network;
        !address.link_local
            && match (there, network) {
                // One IPv4 subnet a bridge unless said; several of IPv6, as long as they do not overlap.
                (IpNetwork::V4(a), IpNetwork::V4(b)) => !other.may_stay || a.overlaps(b),
                (IpNetwork::V6(a), IpNetwork::V6(b)) => a.overlaps(b),
                _ => false,
            }
    });
    for address in in_the_way {
        if !other.goes {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "bridge {bridge} already has the address {}, which is not {network}; forceAddress replaces it",
                    address.network
                ),
            ));
        }
        session.host().delete_address(index, address.network)?;
    }
    let plain = NewAddress::default();
    or_present(session.host().add_address(index, network, plain))
}

fn attach_port(session: &Session, link: &IfName, bridge: &IfName) -> Result<Undo> {
    let port = session.link(NsRef::Host, link)?.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("prevResult: link {link} is not on the host"),
        )
    })?;
    let bridge_index = session.index(NsRef::Host, bridge)?;
    match port.controller {
        Some(controller) if controller == bridge_index => return Ok(Undo::Nothing),
        Some(_) => {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("link {link} is a port of another bridge than {bridge}"),
            ));
        }
        None => {}
    }
    session
        .host()
        .set_controller(port.index, Some(bridge_index))?;
    let undo = Undo::Port { link: link.clone() };
    if let Err(refusal) = session.host().set_up(port.index, true) {
        undo.run(session)?;
        return Err(refusal.into());
    }
    Ok(undo)
}

fn set_port(session: &Session, port: &Port) -> Result<()> {
    let index = session.index(NsRef::Host, &port.link)?;
    if port.hairpin || port.isolated {
        session
            .host()
            .set_bridge_port(index, port.hairpin, port.isolated)?;
    }
    set_vlans(session, index, port)
}
