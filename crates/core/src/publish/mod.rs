//! What published ports consist of, decided purely: elements of our maps, and what becomes of clients' addresses.
//! The drivers that publish share it: portmap over CNI, bridge over Docker.
//! It must never touch kernel, disk or clock; `rivals` alone looks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use wharfline_kernel::nft::{Conditions, Element, Protocol};
use wharfline_spec::cni::{PortMapping, Protocol as Spoken};
use wharfline_spec::names::IfName;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Op, Plan, Target};

pub mod rivals;

pub use rivals::Rival;

/// What is to be published, and how.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// The ports.
    pub ports: &'a [PortMapping],
    /// Where they lead.
    pub addresses: Addresses,
    /// Whether clients whose answer would not come back through the host are masqueraded.
    pub masquerade: bool,
    /// Whether every client is.
    pub masquerade_all: bool,
    /// What else must hold for a packet.
    pub conditions: Option<&'a Conditions>,
    /// The host's address that the container's IPv6 address is reached from.
    pub source6: Option<Ipv6Addr>,
}

/// The addresses that ports lead to: one of each family.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    /// The IPv4 address.
    pub v4: Option<IpAddr>,
    /// The IPv6 address.
    pub v6: Option<IpAddr>,
}

impl Addresses {
    /// The first of each family.
    pub fn first_of(all: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut found = Self::default();
        for address in all {
            match address {
                IpAddr::V4(_) => found.v4 = found.v4.or(Some(address)),
                IpAddr::V6(_) => found.v6 = found.v6.or(Some(address)),
            }
        }
        found
    }

    /// Both, as far as they are there.
    pub fn each(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.into_iter().chain(self.v6)
    }
}

/// All that the ports consist of: themselves, and what becomes of their clients' source addresses.
pub fn wanted(publication: &Publication<'_>) -> Vec<Element> {
    let mut elements = published(publication);
    let beside: Vec<Element> = sources(publication, &elements)
        .into_iter()
        .chain(loopback_sources(publication, &elements))
        .collect();
    elements.extend(beside);
    elements
}

/// One element for each port and family. A host address of the other family is passed over, the unspecified one
/// stands for every address of its family.
pub fn published(publication: &Publication<'_>) -> Vec<Element> {
    let mut elements = Vec::new();
    for port in publication.ports {
        for address in publication.addresses.each() {
            if port
                .host_ip
                .is_some_and(|host| host.is_ipv4() != address.is_ipv4())
            {
                continue;
            }
            elements.push(Element::Published {
                protocol: protocol(port.protocol),
                host: port.host_ip.filter(|host| !host.is_unspecified()),
                port: port.host_port,
                to: SocketAddr::new(address, port.container_port),
                conditions: publication.conditions.cloned(),
            });
        }
    }
    elements
}

/// The protocol as the kernel crate knows it.
pub fn protocol(spoken: Spoken) -> Protocol {
    match spoken {
        Spoken::Tcp => Protocol::Tcp,
        Spoken::Udp => Protocol::Udp,
        Spoken::Sctp => Protocol::Sctp,
    }
}

/// `snat: false` and `masqAll`: what becomes of the source at each target.
fn sources(publication: &Publication<'_>, ports: &[Element]) -> BTreeSet<Element> {
    let targets = ports.iter().filter_map(|port| match port {
        Element::Published { protocol, to, .. } => Some((*protocol, *to)),
        _ => None,
    });
    match (publication.masquerade, publication.masquerade_all) {
        (false, _) => targets
            .map(|(protocol, to)| Element::KeepSource { protocol, to })
            .collect(),
        (true, true) => targets
            .map(|(protocol, to)| Element::MasqueradeAll { protocol, to })
            .collect(),
        (true, false) => BTreeSet::new(),
    }
}

/// What the host's own ::1 needs to reach the ports.
fn loopback_sources(publication: &Publication<'_>, ports: &[Element]) -> BTreeSet<Element> {
    let Some(source) = publication.source6.filter(|_| publication.masquerade) else {
        return BTreeSet::new();
    };
    let loopback = IpAddr::V6(Ipv6Addr::LOCALHOST);
    ports
        .iter()
        .filter_map(|element| match element {
            Element::Published {
                protocol,
                host,
                port,
                to,
                ..
            } if to.is_ipv6() && host.is_none_or(|host| host == loopback) => {
                Some(Element::LoopbackSource {
                    protocol: *protocol,
                    port: *port,
                    source,
                })
            }
            _ => None,
        })
        .collect()
}

/// The link is known to our tables, and other firewalls let pass what goes over it.
pub fn share_link(plan: &mut Plan, link: &IfName) {
    let elements = vec![Element::Link {
        ifname: link.to_string(),
    }];
    plan.shared = vec![
        Target::Elements {
            elements: elements.clone(),
        },
        Target::LetThrough,
    ];
    // First: it warns of what it cannot mend while the link is not known yet.
    plan.on_host(Op::LetThrough {
        links: vec![link.clone()],
        thorough: false,
        own: false,
    });
    plan.on_host(Op::EnsureElements { elements });
}

/// Puts `elements` in force, and has them taken back with the attachment. `ports` are those of them that lead clients to the
/// container, also such as have a connection that led elsewhere. Over the link `loopback` 127.0.0.1 does, where it is to.
pub fn enact(
    plan: &mut Plan,
    elements: Vec<Element>,
    ports: Vec<Element>,
    loopback: Option<&IfName>,
) {
    plan.own = vec![
        Target::Elements {
            elements: elements.clone(),
        },
        Target::Flows {
            elements: ports.clone(),
        },
    ];
    plan.on_host(Op::CreateElements { elements });
    // Only now: the table's guard drops what would come to 127.0.0.1 over the link.
    if let Some(link) = loopback {
        plan.on_host(Op::Sysctl {
            key: format!("net/ipv4/conf/{link}/route_localnet"),
            value: "1".to_owned(),
            optional: false,
        });
    }
    plan.on_host(Op::ForgetConnections { elements: ports });
}

/// The same for a link that is the attachment's alone: what makes it known is returned, to be created with the ports.
pub fn own_link(plan: &mut Plan, link: &IfName) -> Element {
    plan.on_host(Op::LetThrough {
        links: vec![link.clone()],
        thorough: false,
        own: true,
    });
    Element::Link {
        ifname: link.to_string(),
    }
}

/// One port may be two containers': one has it on ::1, the other on every address. The source that clients from ::1
/// are given there serves both.
pub fn is_served_by_another(element: &Element, rivals: &[Rival]) -> bool {
    let key = |element: &Element| match element {
        Element::LoopbackSource { protocol, port, .. } => Some((*protocol, *port)),
        _ => None,
    };
    key(element).is_some()
        && rivals
            .iter()
            .any(|rival| rival.alive.is_some() && key(&rival.element) == key(element))
}

/// Refuses a port that a living owner has; `key` is what the user named the ports by.
pub fn refuse_live(key: &str, rivals: &[Rival]) -> Result<()> {
    let live = rivals.iter().find_map(|rival| match &rival.element {
        Element::Published {
            protocol,
            host,
            port,
            to,
            ..
        } => Some((protocol, host, port, to, rival.alive.as_ref()?)),
        _ => None,
    });
    let Some((protocol, host, port, to, owner)) = live else {
        return Ok(());
    };
    let host = host.map_or("every address".to_owned(), |host| host.to_string());
    Err(Error::new(
        ErrorKind::Conflict,
        format!("{key}: {protocol} port {port} of {host} is published to {to} by {owner}"),
    ))
}

/// Dead rivals make room.
pub fn evict(plan: &mut Plan, rivals: &[Rival]) {
    let dead: Vec<_> = rivals
        .iter()
        .filter(|rival| rival.alive.is_none())
        .filter_map(|rival| Some((rival.element.clone(), rival.tag?)))
        .collect();
    if !dead.is_empty() {
        plan.on_host(Op::EvictElements { elements: dead });
    }
}
