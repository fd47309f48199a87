//! What published ports consist of, decided purely: elements of our maps, and what lets loopback clients in.
//! The engine calls it for every verb; the CNI face (and Docker's) brings the configuration.
//! `plan` must never touch kernel, disk or clock: its tests are tables.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::error::{Error, ErrorKind, Result};
use wharfline_core::passage::require_passage;
use wharfline_core::plan::{Op, Plan, Target};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::link::LinkKey;
use wharfline_kernel::listener;
use wharfline_kernel::nft::{Element, Protocol, tool_is_installed};
use wharfline_spec::cni::{CniResult, PortMapping, Protocol as Spoken};
use wharfline_spec::names::IfName;

use crate::config::PortmapConfig;
use crate::rivals::{self, Rival};

/// Ports of the host, published for containers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortmapDriver;

/// What a plan depends on besides configuration and addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PortmapFacts {
    /// The interface of this attachment on the host that leads to the container.
    pub link: Option<IfName>,
    /// The host's address that the container's IPv6 address is reached from.
    pub source6: Option<Ipv6Addr>,
    /// Who has a port that is asked for.
    pub rivals: Vec<Rival>,
}

impl Driver for PortmapDriver {
    type Config = PortmapConfig;
    type Facts = PortmapFacts;

    fn name(&self) -> &'static str {
        "portmap"
    }

    fn observe(
        &self,
        config: &PortmapConfig,
        endpoint: &Endpoint<'_>,
        session: &Session,
    ) -> Result<PortmapFacts> {
        let mut facts = PortmapFacts::default();
        let addresses = Addresses::of(endpoint);
        for address in addresses.each() {
            let Some(egress) = session.host().egress(address)? else {
                continue;
            };
            let link = session.host().link(LinkKey::Index(egress.link))?;
            let name = link.and_then(|link| IfName::new(&link.name).ok());
            facts.link = facts
                .link
                .or(name.filter(|name| is_ours(name, endpoint.previous)));
            if let Some(IpAddr::V6(source)) = egress.source {
                facts.source6 = Some(source);
            }
        }
        let wanted = wanted(config, &addresses, &facts);
        facts.rivals = rivals::find(session, endpoint.key, &wanted)?;
        warn_of_listeners(&config.ports);
        Ok(facts)
    }

    fn plan(
        &self,
        config: &PortmapConfig,
        endpoint: &Endpoint<'_>,
        facts: &PortmapFacts,
    ) -> Result<Plan> {
        refuse_live(&facts.rivals)?;
        let addresses = Addresses::of(endpoint);
        let ports = published(config, &addresses);
        let mut plan = Plan {
            result: endpoint.previous.cloned().unwrap_or_default(),
            ..Plan::default()
        };
        if ports.is_empty() {
            return Ok(plan);
        }
        share_link(&mut plan, facts);
        evict(&mut plan, &facts.rivals);
        let mut elements = wanted(config, &addresses, facts);
        elements.retain(|element| !is_served_by_another(element, &facts.rivals));
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
        if let (true, Some(link), Some(_)) = (config.masquerade, &facts.link, addresses.v4) {
            plan.on_host(Op::Sysctl {
                key: format!("net/ipv4/conf/{link}/route_localnet"),
                value: "1".to_owned(),
                optional: false,
            });
        }
        plan.on_host(Op::ForgetConnections { elements: ports });
        Ok(plan)
    }

    fn teardown(
        &self,
        _: &PortmapConfig,
        key: &AttachmentKey,
        record: Option<&Record>,
    ) -> Vec<Target> {
        let mut targets = match record {
            Some(record) => record.own.clone(),
            None => vec![Target::MarkedElements { tag: key.tag() }],
        };
        targets.push(Target::Predecessor {
            network: key.network.clone(),
            container: key.container.clone(),
            ifname: key.ifname.clone(),
        });
        targets
    }

    fn makes_link(&self) -> bool {
        false
    }

    fn owns(&self, element: &Element) -> bool {
        matches!(
            element,
            Element::Published { .. }
                | Element::MasqueradeAll { .. }
                | Element::KeepSource { .. }
                | Element::LoopbackSource { .. }
        )
    }

    fn require(&self, _: &PortmapConfig, _: &Session) -> Result<()> {
        if tool_is_installed() {
            return require_passage();
        }
        Err(Error::new(
            ErrorKind::NotAvailable,
            "nft is not installed: ports are published in nftables (install the package nftables)",
        ))
    }
}

/// The addresses that ports lead to: the first of each family of the container's interface, as with the reference.
#[derive(Debug, Clone, Copy, Default)]
struct Addresses {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl Addresses {
    fn of(endpoint: &Endpoint<'_>) -> Self {
        let mut found = Self::default();
        let Some(previous) = endpoint.previous else {
            return found;
        };
        for ip in &previous.ips {
            let interface = ip
                .interface
                .and_then(|index| previous.interfaces.get(index));
            let elsewhere = interface.is_some_and(|interface| {
                interface.name != endpoint.key.ifname.as_str()
                    || interface.sandbox.as_deref().unwrap_or_default().is_empty()
            });
            if elsewhere {
                continue;
            }
            let address = ip.address.ip();
            match address {
                IpAddr::V4(_) => found.v4 = found.v4.or(Some(address)),
                IpAddr::V6(_) => found.v6 = found.v6.or(Some(address)),
            }
        }
        found
    }

    fn each(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.into_iter().chain(self.v6)
    }
}

/// Whether the result says that this link of the host's is part of the attachment. An uplink is not: its traffic must
/// keep to the host's firewall, and 127.0.0.0/8 off it.
fn is_ours(link: &IfName, previous: Option<&CniResult>) -> bool {
    previous.is_some_and(|previous| {
        previous.interfaces.iter().any(|interface| {
            interface.name == link.as_str()
                && interface.sandbox.as_deref().unwrap_or_default().is_empty()
        })
    })
}

/// All that the ports consist of: themselves, and what becomes of their clients' source addresses.
fn wanted(config: &PortmapConfig, addresses: &Addresses, facts: &PortmapFacts) -> Vec<Element> {
    let mut elements = published(config, addresses);
    let beside: Vec<Element> = sources(config, &elements)
        .into_iter()
        .chain(loopback_sources(config, &elements, facts))
        .collect();
    elements.extend(beside);
    elements
}

/// One element for each port and family. A host address of the other family is passed over, the unspecified one
/// stands for every address of its family.
fn published(config: &PortmapConfig, addresses: &Addresses) -> Vec<Element> {
    let mut elements = Vec::new();
    for port in &config.ports {
        for address in addresses.each() {
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
                conditions: config.conditions.clone(),
            });
        }
    }
    elements
}

fn protocol(spoken: Spoken) -> Protocol {
    match spoken {
        Spoken::Tcp => Protocol::Tcp,
        Spoken::Udp => Protocol::Udp,
        Spoken::Sctp => Protocol::Sctp,
    }
}

/// `snat: false` and `masqAll`: what becomes of the source at each target.
fn sources(config: &PortmapConfig, ports: &[Element]) -> BTreeSet<Element> {
    let targets = ports.iter().filter_map(|port| match port {
        Element::Published { protocol, to, .. } => Some((*protocol, *to)),
        _ => None,
    });
    match (config.masquerade, config.masquerade_all) {
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
fn loopback_sources(
    config: &PortmapConfig,
    ports: &[Element],
    facts: &PortmapFacts,
) -> BTreeSet<Element> {
    let Some(source) = facts.source6.filter(|_| config.masquerade) else {
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
fn share_link(plan: &mut Plan, facts: &PortmapFacts) {
    let Some(link) = &facts.link else {
        return;
    };
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
    });
    plan.on_host(Op::EnsureElements { elements });
}

/// One port may be two containers': one has it on ::1, the other on every address. The source that clients from ::1
/// are given there serves both.
fn is_served_by_another(element: &Element, rivals: &[Rival]) -> bool {
    let key = |element: &Element| match element {
        Element::LoopbackSource { protocol, port, .. } => Some((*protocol, *port)),
        _ => None,
    };
    key(element).is_some()
        && rivals
            .iter()
            .any(|rival| rival.alive.is_some() && key(&rival.element) == key(element))
}

fn refuse_live(rivals: &[Rival]) -> Result<()> {
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
        format!(
            "runtimeConfig.portMappings: {protocol} port {port} of {host} is published to {to} by {owner}"
        ),
    ))
}

fn evict(plan: &mut Plan, rivals: &[Rival]) {
    let dead: Vec<_> = rivals
        .iter()
        .filter(|rival| rival.alive.is_none())
        .filter_map(|rival| Some((rival.element.clone(), rival.tag?)))
        .collect();
    if !dead.is_empty() {
        plan.on_host(Op::EvictElements { elements: dead });
    }
}

/// The port is the container's from now on; who listens on the host will hear from loopback and LAN no more.
fn warn_of_listeners(ports: &[PortMapping]) {
    for port in ports {
        if listener::is_taken(protocol(port.protocol), port.host_ip, port.host_port) {
            tracing::warn!(
                "a process of the host listens on {} port {}: clients reach the container instead",
                port.protocol,
                port.host_port
            );
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
