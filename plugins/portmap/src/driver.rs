//! What published ports consist of, decided purely: elements of our maps, and what lets loopback clients in.
//! The engine calls it for every verb; the CNI face (and Docker's) brings the configuration.
//! `plan` must never touch kernel, disk or clock: its tests are tables.

use std::net::{IpAddr, Ipv6Addr};

use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::error::{Error, ErrorKind, Result};
use wharfline_core::passage::require_passage;
use wharfline_core::plan::{Plan, Target};
use wharfline_core::publish::{self, Addresses, Publication, Rival, protocol, rivals};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::link::LinkKey;
use wharfline_kernel::listener;
use wharfline_kernel::nft::{Element, tool_is_installed};
use wharfline_spec::cni::{CniResult, PortMapping};
use wharfline_spec::names::IfName;

use crate::config::PortmapConfig;

/// Ports of the host, published for containers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortmapDriver;

/// What a plan depends on besides configuration and addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PortmapFacts {
    /// The interface of this attachment on the host that leads to the container.
    pub link: Option<IfName>,
    /// Whether it leads to this container alone, as ptp's does.
    pub link_is_own: bool,
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
        for address in addresses_of(endpoint).each() {
            let Some(egress) = session.host().egress(address)? else {
                continue;
            };
            let link = session.host().link(LinkKey::Index(egress.link))?;
            if facts.link.is_none()
                && let Some(link) = link
                && let Ok(name) = IfName::new(&link.name)
                && is_ours(&name, endpoint.previous)
            {
                facts.link_is_own = link.kind == "veth";
                facts.link = Some(name);
            }
            if let Some(IpAddr::V6(source)) = egress.source {
                facts.source6 = Some(source);
            }
        }
        let wanted = publish::wanted(&publication(config, endpoint, &facts));
        facts.rivals = rivals::find(session, endpoint, &wanted, None)?;
        warn_of_listeners(&config.ports);
        Ok(facts)
    }

    fn plan(
        &self,
        config: &PortmapConfig,
        endpoint: &Endpoint<'_>,
        facts: &PortmapFacts,
    ) -> Result<Plan> {
        publish::refuse_live("runtimeConfig.portMappings", &facts.rivals)?;
        let publication = publication(config, endpoint, facts);
        let ports = publish::published(&publication);
        let mut plan = Plan {
            result: endpoint.previous.cloned().unwrap_or_default(),
            ..Plan::default()
        };
        if ports.is_empty() {
            return Ok(plan);
        }
        publish::evict(&mut plan, &facts.rivals);
        let mut elements = publish::wanted(&publication);
        elements.retain(|element| !publish::is_served_by_another(element, &facts.rivals));
        match &facts.link {
            Some(link) if facts.link_is_own => elements.push(publish::own_link(&mut plan, link)),
            Some(link) => publish::share_link(&mut plan, link),
            None => {}
        }
        let loopback = facts.link.as_ref();
        let loopback = loopback.filter(|_| config.masquerade && publication.addresses.v4.is_some());
        publish::enact(&mut plan, elements, ports, loopback);
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
        targets.push(Target::predecessor(key));
        targets
    }

    fn makes_link(&self) -> bool {
        false
    }

    fn owns(&self, element: &Element) -> bool {
        matches!(
            element,
            Element::Published { .. }
                | Element::Link { .. }
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
fn addresses_of(endpoint: &Endpoint<'_>) -> Addresses {
    let Some(previous) = endpoint.previous else {
        return Addresses::default();
    };
    let inside = previous.ips.iter().filter(|ip| {
        let interface = ip
            .interface
            .and_then(|index| previous.interfaces.get(index));
        interface.is_none_or(|interface| {
            interface.name == endpoint.key.ifname.as_str()
                && !interface.sandbox.as_deref().unwrap_or_default().is_empty()
        })
    });
    Addresses::first_of(inside.map(|ip| ip.address.ip()))
}

fn publication<'a>(
    config: &'a PortmapConfig,
    endpoint: &Endpoint<'_>,
    facts: &PortmapFacts,
) -> Publication<'a> {
    Publication {
        ports: &config.ports,
        addresses: addresses_of(endpoint),
        masquerade: config.masquerade,
        masquerade_all: config.masquerade_all,
        conditions: config.conditions.as_ref(),
        source6: facts.source6,
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
