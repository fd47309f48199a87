//! Comparing one operation of a plan with what the kernel has, for CHECK.
//! The engine asks it about every operation and reports all differences.
//! It must never change anything.

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use wharfline_kernel::bridge_port::PortVlan;
use wharfline_kernel::link::{Link, LinkKey};
use wharfline_kernel::nft::Search;
use wharfline_kernel::route::IpRoute;
use wharfline_spec::cni::{CniResult, mac_text};
use wharfline_spec::names::IfName;

use crate::cascade::member_name;
use crate::error::Result;
use crate::plan::{Bridge, NsRef, Op, Port, PortOf, Veth};
use crate::port_vlan::wanted_vlans;
use crate::session::Session;
use crate::sub_interface;

/// The table that a route is in unless it says another (rt_tables: main).
const MAIN_TABLE: u32 = 254;

/// How the kernel differs from what `op` in `ns` left behind; each difference names its object.
pub(crate) fn differences(session: &Session, ns: NsRef, op: &Op) -> Result<Vec<String>> {
    match op {
        Op::Sysctl {
            key,
            value,
            optional,
        } => sysctl(session, ns, key, value, *optional),
        Op::EnsureBridge(wanted) => bridge(session, wanted),
        Op::EnsureBridgeAddress {
            bridge, network, ..
        } => address(session, NsRef::Host, bridge, *network),
        Op::EnsureVlanGateway { gateway, .. } => up(session, NsRef::Host, gateway),
        Op::CreateVeth(wanted) => veth(session, wanted),
        Op::CreateSubInterface(wanted) => sub_interface::differences(session, wanted),
        Op::EnsureVlanParent(parent) => up(session, NsRef::Host, &parent.name),
        Op::EnsureIsolatedParent(parent) => up(session, NsRef::Host, &parent.name),
        Op::EnsureHostShim(shim) => up(session, NsRef::Host, &shim.link),
        Op::AttachPort { link, bridge } => attached(session, link, bridge),
        Op::SetPort(wanted) => port(session, wanted),
        Op::SetNeighbour { link, ip, mac } => neighbour(session, ns, link, *ip, *mac),
        Op::EnsureElements { elements } | Op::CreateElements { elements } => {
            let missing = session.with_nft(|nft| nft.missing(elements))?;
            Ok(missing
                .iter()
                .map(|element| format!("nftables: {element} is missing"))
                .collect())
        }
        Op::LetThrough { .. } => let_through(session),
        Op::CreateRoute {
            link,
            route: wanted,
        }
        | Op::EnsureRoute {
            link,
            route: wanted,
        }
        | Op::AddRoute {
            link,
            route: wanted,
        } => route(session, ns, link, wanted),
        Op::AddAddress { link, network, .. } => address(session, ns, link, *network),
        Op::SetUp { link } => up(session, ns, link),
        // What people may change, and what leaves no trace.
        Op::RaisePort { .. }
        | Op::Announce { .. }
        | Op::KeepRouterAdvertisements
        | Op::AwaitDuplicateDetection { .. }
        | Op::RequireFree { .. }
        | Op::EvictElements { .. }
        | Op::ForgetConnections { .. } => Ok(Vec::new()),
    }
}

fn where_text(ns: NsRef) -> &'static str {
    match ns {
        NsRef::Host => "on the host",
        NsRef::Container => "in the container",
    }
}

fn one(difference: String) -> Result<Vec<String>> {
    Ok(vec![difference])
}

fn none() -> Result<Vec<String>> {
    Ok(Vec::new())
}

fn sysctl(
    session: &Session,
    ns: NsRef,
    key: &str,
    value: &str,
    optional: bool,
) -> Result<Vec<String>> {
    match session.read_sysctl(ns, key)? {
        Some(found) if found == value => none(),
        Some(found) => one(format!(
            "sysctl {key} {} is {found}, not {value}",
            where_text(ns)
        )),
        None if optional => none(),
        None => one(format!("sysctl {key} is missing {}", where_text(ns))),
    }
}

/// What differs of a link that must be there; `None` where it is missing, which is said.
fn with_link(
    session: &Session,
    ns: NsRef,
    name: &IfName,
    look: impl FnOnce(&Link) -> Result<Vec<String>>,
) -> Result<Vec<String>> {
    match session.link(ns, name)? {
        Some(link) => look(&link),
        None => one(format!("link {name} is missing {}", where_text(ns))),
    }
}

fn bridge(session: &Session, wanted: &Bridge) -> Result<Vec<String>> {
    with_link(session, NsRef::Host, &wanted.name, |link| {
        let name = &wanted.name;
        let mut differences = Vec::new();
        if link.kind != "bridge" {
            differences.push(format!("link {name} is no bridge but {}", link.kind));
        }
        if !link.up {
            differences.push(format!("bridge {name} is down"));
        }
        if wanted.vlan_filtering && !link.vlan_filtering {
            differences.push(format!("bridge {name} does not filter by VLAN"));
        }
        if wanted.promiscuous && !link.promiscuous {
            differences.push(format!("bridge {name} is not promiscuous"));
        }
        Ok(differences)
    })
}

fn address(session: &Session, ns: NsRef, name: &IfName, network: IpNetwork) -> Result<Vec<String>> {
    with_link(session, ns, name, |link| {
        let present = session.socket(ns)?.addresses(link.index)?;
        if present.iter().any(|address| address.network == network) {
            return none();
        }
        one(format!(
            "link {name} {} lacks the address {network}",
            where_text(ns)
        ))
    })
}

fn up(session: &Session, ns: NsRef, name: &IfName) -> Result<Vec<String>> {
    with_link(session, ns, name, |link| match link.up {
        true => none(),
        false => one(format!("link {name} is down {}", where_text(ns))),
    })
}

fn veth(session: &Session, wanted: &Veth) -> Result<Vec<String>> {
    let mut differences = with_link(session, NsRef::Host, &wanted.host_end, |link| {
        let mut found = mac(link, wanted.host_mac, NsRef::Host);
        if !link.up {
            found.push(format!("link {} is down on the host", wanted.host_end));
        }
        if let Some(PortOf { bridge, .. }) = &wanted.port_of
            && !on_bridge(session, link, bridge)?
        {
            found.push(format!(
                "link {} is no port of bridge {bridge}",
                wanted.host_end
            ));
        }
        Ok(found)
    })?;
    let inside = with_link(session, wanted.born_in, &wanted.container_end, |link| {
        Ok(mac(link, wanted.container_mac, wanted.born_in))
    })?;
    differences.extend(inside);
    Ok(differences)
}

fn mac(link: &Link, wanted: MacAddr6, ns: NsRef) -> Vec<String> {
    if link.mac == Some(wanted) {
        return Vec::new();
    }
    let found = link.mac.map_or("none".into(), mac_text);
    vec![format!(
        "link {} {} has the MAC {found}, not {}",
        link.name,
        where_text(ns),
        mac_text(wanted)
    )]
}

/// Whether the link is a port of the bridge or of one of its members.
fn on_bridge(session: &Session, link: &Link, bridge: &IfName) -> Result<bool> {
    let Some(controller) = link.controller else {
        return Ok(false);
    };
    let Some(found) = session.host().link(LinkKey::Index(controller))? else {
        return Ok(false);
    };
    let member = (0..=crate::cascade::members_noted(session, bridge))
        .any(|number| member_name(bridge, number).as_str() == found.name);
    Ok(member)
}

fn attached(session: &Session, name: &IfName, bridge: &IfName) -> Result<Vec<String>> {
    with_link(session, NsRef::Host, name, |link| {
        if on_bridge(session, link, bridge)? {
            return none();
        }
        one(format!("link {name} is no port of bridge {bridge}"))
    })
}

fn port(session: &Session, wanted: &Port) -> Result<Vec<String>> {
    with_link(session, NsRef::Host, &wanted.link, |link| {
        let name = &wanted.link;
        let found = link.port.unwrap_or_default();
        let mut differences = Vec::new();
        if found.hairpin != wanted.hairpin {
            differences.push(format!("port {name}: hairpin mode is {}", found.hairpin));
        }
        if found.isolated != wanted.isolated {
            differences.push(format!("port {name}: isolation is {}", found.isolated));
        }
        if wanted.has_vlans() {
            differences.extend(vlans(session, link.index, wanted)?);
        }
        Ok(differences)
    })
}

fn vlans(session: &Session, index: u32, wanted: &Port) -> Result<Vec<String>> {
    let found = session.host().port_vlans(index)?;
    let missing = |vlan: &PortVlan| !found.contains(vlan);
    Ok(wanted_vlans(wanted)
        .into_iter()
        .filter(missing)
        .map(|vlan| format!("port {} lacks VLAN {}", wanted.link, vlan.id))
        .collect())
}

fn neighbour(
    session: &Session,
    ns: NsRef,
    name: &IfName,
    ip: std::net::IpAddr,
    mac: MacAddr6,
) -> Result<Vec<String>> {
    with_link(session, ns, name, |link| {
        match session.socket(ns)?.neighbour(link.index, ip)? {
            // Told from outside, it goes when the bridge loses its carrier, and the kernel asks the wire again.
            None => none(),
            Some(found) if found.mac.is_none_or(|found| found == mac) => none(),
            Some(found) => one(format!(
                "neighbour {ip} on {name} is at {}, not {}",
                found.mac.map_or("none".into(), mac_text),
                mac_text(mac)
            )),
        }
    })
}

fn let_through(session: &Session) -> Result<Vec<String>> {
    let barriers = session.with_nft(|nft| nft.barriers(Search::Known))?;
    Ok(barriers
        .iter()
        .map(|chain| format!("chain {chain} drops forwarded packets and lacks our accept rule"))
        .collect())
}

fn route(session: &Session, ns: NsRef, name: &IfName, wanted: &IpRoute) -> Result<Vec<String>> {
    with_link(session, ns, name, |link| {
        let present = session.socket(ns)?.routes(wanted.to.is_ipv6())?;
        let is_there = |(over, found): &(u32, IpRoute)| match *over == link.index {
            true => is_route(found, wanted),
            false => is_first(found, wanted),
        };
        if present.iter().any(is_there) {
            return none();
        }
        let via = wanted.via.map_or(String::new(), |ip| format!(" via {ip}"));
        one(format!(
            "route to {}{via} on {name} is missing {}",
            wanted.to,
            where_text(ns)
        ))
    })
}

/// Whether this default route over another link took the place of the wanted one: of two networks, the first one's
/// stays first.
fn is_first(found: &IpRoute, wanted: &IpRoute) -> bool {
    let anywhere = IpRoute {
        via: found.via,
        mtu: None,
        advmss: None,
        priority: wanted.priority.or(found.priority),
        ..wanted.clone()
    };
    wanted.to.prefix() == 0 && is_route(found, &anywhere)
}

/// Compares what was asked for; the kernel may say more (a scope, a default metric).
fn is_route(found: &IpRoute, wanted: &IpRoute) -> bool {
    let same = |wanted: Option<u32>, found: Option<u32>| wanted.is_none() || wanted == found;
    let table = |route: &IpRoute| route.table.unwrap_or(MAIN_TABLE);
    let network = |route: &IpRoute| (route.to.network(), route.to.prefix());
    network(found) == network(wanted)
        && found.via == wanted.via
        && (wanted.local || table(found) == table(wanted))
        && same(wanted.priority, found.priority)
        && same(wanted.mtu, found.mtu)
        && same(wanted.advmss, found.advmss)
}

/// Whether the container's interface has the MTU that the answer to ADD says: a plugin after ours may have changed it,
/// and then says so (spec 1.1.0). Answers of older versions have none: then both ends of our pair must agree.
pub(crate) fn mtu_differences(
    session: &Session,
    ifname: &IfName,
    answered: &CniResult,
) -> Result<Vec<String>> {
    let is_inside = |sandbox: &Option<String>| sandbox.as_deref().is_some_and(|s| !s.is_empty());
    let Some(interface) = answered
        .interfaces
        .iter()
        .find(|interface| interface.name == ifname.as_str() && is_inside(&interface.sandbox))
    else {
        return none();
    };
    let Some(link) = session.link(NsRef::Container, ifname)? else {
        return none();
    };
    let other_end = || -> Result<Option<u32>> {
        let Some(index) = link.lower else {
            return Ok(None);
        };
        Ok(session
            .host()
            .link(LinkKey::Index(index))?
            .map(|end| end.mtu))
    };
    let wanted = match interface.mtu {
        Some(mtu) => Some(mtu),
        None if link.kind == "veth" => other_end()?,
        None => None,
    };
    match wanted {
        Some(wanted) if wanted != link.mtu => one(format!(
            "link {ifname} in the container has the MTU {}, not {wanted}",
            link.mtu
        )),
        _ => none(),
    }
}
