//! What an endpoint publishes, decided purely: the plugin's second driver, beside the one that makes its link.
//! The engine calls it for ProgramExternalConnectivity and Revoke; `published` makes its configuration.
//! `plan` must never touch kernel, disk or clock.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::error::Result;
use wharfline_core::plan::{Plan, Target};
use wharfline_core::publish::{self, Addresses, Publication, Rival, rivals};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::nft::{Boundary, Element, Protocol};
use wharfline_spec::cni::PortMapping;
use wharfline_spec::names::IfName;

/// Ports of Docker's endpoints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortsDriver;

/// What one endpoint publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortsConfig {
    /// The network's bridge.
    pub bridge: IfName,
    /// Ports of the host, with the container's.
    pub ports: Vec<PortMapping>,
    /// Where they lead: the addresses of translated families.
    pub translated: Vec<IpAddr>,
    /// Ports that are reached at the container's own address.
    pub open: Vec<(Protocol, SocketAddr)>,
}

/// What a plan depends on besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PortsFacts {
    /// The host's address that the container's IPv6 address is reached from.
    pub source6: Option<Ipv6Addr>,
    /// Who has a port that is asked for.
    pub rivals: Vec<Rival>,
}

impl PortsConfig {
    pub(crate) fn publication(&self, source6: Option<Ipv6Addr>) -> Publication<'_> {
        Publication {
            ports: &self.ports,
            addresses: Addresses::first_of(self.translated.iter().copied()),
            masquerade: true,
            masquerade_all: false,
            conditions: None,
            source6,
        }
    }

    fn opened(&self) -> impl Iterator<Item = Element> {
        self.open.iter().map(|(protocol, to)| {
            Element::Boundary(Boundary::Open {
                protocol: *protocol,
                to: *to,
            })
        })
    }
}

impl Driver for PortsDriver {
    type Config = PortsConfig;
    type Facts = PortsFacts;

    fn name(&self) -> &'static str {
        "bridge-ports"
    }

    fn observe(
        &self,
        config: &PortsConfig,
        endpoint: &Endpoint<'_>,
        session: &Session,
    ) -> Result<PortsFacts> {
        let mut facts = PortsFacts::default();
        let v6 = config.translated.iter().find(|ip| ip.is_ipv6());
        if let Some(v6) = v6.filter(|_| !config.ports.is_empty())
            && let Some(egress) = session.host().egress(*v6)?
            && let Some(IpAddr::V6(source)) = egress.source
        {
            facts.source6 = Some(source);
        }
        let mut wanted = publish::wanted(&config.publication(facts.source6));
        wanted.extend(config.opened());
        facts.rivals = rivals::find(session, endpoint, &wanted, endpoint.netns.as_deref())?;
        Ok(facts)
    }

    fn plan(&self, config: &PortsConfig, _: &Endpoint<'_>, facts: &PortsFacts) -> Result<Plan> {
        publish::refuse_live("port", &facts.rivals)?;
        let publication = config.publication(facts.source6);
        let ports = publish::published(&publication);
        let mut plan = Plan::default();
        publish::share_link(&mut plan, &config.bridge);
        publish::evict(&mut plan, &facts.rivals);
        let mut elements = publish::wanted(&publication);
        elements.retain(|element| !publish::is_served_by_another(element, &facts.rivals));
        elements.extend(config.opened());
        let is_local = publication.addresses.v4.is_some() && !ports.is_empty();
        let loopback = is_local.then_some(&config.bridge);
        publish::enact(&mut plan, elements, ports, loopback);
        Ok(plan)
    }

    fn teardown(
        &self,
        _: &PortsConfig,
        key: &AttachmentKey,
        record: Option<&Record>,
    ) -> Vec<Target> {
        match record {
            Some(record) => record.own.clone(),
            None => vec![Target::MarkedElements { tag: key.tag() }],
        }
    }

    fn makes_link(&self) -> bool {
        false
    }

    fn owns(&self, element: &Element) -> bool {
        matches!(
            element,
            Element::Published { .. }
                | Element::LoopbackSource { .. }
                | Element::Boundary(Boundary::Open { .. })
        )
    }

    fn require(&self, _: &PortsConfig, _: &Session) -> Result<()> {
        Ok(())
    }
}
