//! The operations that give a container a link of its own to the host, in their order, and what ADD answers.
//! `driver` makes one [`Planning`] per verb.
//! It must never ask the kernel: what a plan depends on is among the facts.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use wharfline_core::driver::Endpoint;
use wharfline_core::error::{Error, Result};
use wharfline_core::plan::{ContainerView, NsRef, Op, Plan, Target, Veth, interior};
use wharfline_kernel::nft::Element;
use wharfline_kernel::route::IpRoute;
use wharfline_spec::cni::{CniResult, Interface, IpConfig};
use wharfline_spec::names::IfName;

use super::config::PtpConfig;
use super::driver::PtpFacts;
use crate::answer::interface;
use crate::plan::{ETHERNET_MTU, sysctl};

/// Where the container's end stands in the result.
const CONTAINER_END: usize = 1;

/// An address of the container, and the host's on the same link.
struct Pair {
    own: IpNetwork,
    gateway: IpAddr,
}

impl Pair {
    /// The subnet, which is behind the gateway; `None` where it is the address alone.
    fn subnet(&self) -> Option<IpNetwork> {
        let subnet = IpNetwork::new(self.own.network(), self.own.prefix()).ok()?;
        (subnet != IpNetwork::from(self.own.ip())).then_some(subnet)
    }
}

/// One plan in the making.
pub(crate) struct Planning<'a> {
    config: &'a PtpConfig,
    endpoint: &'a Endpoint<'a>,
    host_end: IfName,
    mtu: u32,
    container_mac: MacAddr6,
    pairs: Vec<Pair>,
    is_first: bool,
}

impl<'a> Planning<'a> {
    pub(crate) fn new(
        config: &'a PtpConfig,
        endpoint: &'a Endpoint<'a>,
        facts: &PtpFacts,
    ) -> Result<Self> {
        let pairs = pairs(endpoint.lease)?;
        let first = pairs.first().map(|pair| pair.own.ip());
        Ok(Self {
            config,
            endpoint,
            host_end: endpoint.key.host_end(endpoint.salt),
            mtu: config.mtu.or(facts.egress_mtu).unwrap_or(ETHERNET_MTU),
            container_mac: endpoint.mac.unwrap_or_else(|| endpoint.key.mac(first)),
            pairs,
            is_first: facts.is_first,
        })
    }

    pub(crate) fn plan(&self) -> Plan {
        let mut plan = Plan {
            view: self.view(),
            own: self.own(),
            shared: self.shared(),
            result: self.result(),
            ..Plan::default()
        };
        self.forwarding(&mut plan);
        plan.on_host(Op::CreateVeth(self.veth()));
        plan.on_host(Op::RaisePort {
            link: self.host_end.clone(),
            alias: self.endpoint.key.alias(),
        });
        self.host_side(&mut plan);
        self.tables(&mut plan);
        plan
    }

    fn has(&self, ipv6: bool) -> bool {
        self.pairs.iter().any(|pair| pair.own.is_ipv6() == ipv6)
    }

    fn forwarding(&self, plan: &mut Plan) {
        if self.has(false) {
            plan.on_host(sysctl("net/ipv4/ip_forward", "1"));
        }
        if self.has(true) {
            plan.on_host(Op::KeepRouterAdvertisements);
            plan.on_host(sysctl("net/ipv6/conf/all/forwarding", "1"));
        }
    }

    fn veth(&self) -> Veth {
        Veth {
            host_end: self.host_end.clone(),
            host_mac: self.endpoint.key.host_mac(),
            container_end: self.endpoint.key.ifname.clone(),
            born_in: NsRef::Container,
            container_mac: self.container_mac,
            mtu: self.mtu,
            port_of: None,
        }
    }

    /// The gateways' addresses, each of them alone: all that is behind the link are the container's.
    fn host_side(&self, plan: &mut Plan) {
        let link = || self.host_end.clone();
        if self.has(true) {
            plan.on_host(sysctl(
                &format!("net/ipv6/conf/{}/disable_ipv6", self.host_end),
                "0",
            ));
        }
        for gateway in self.gateways() {
            plan.on_host(Op::AddAddress {
                link: link(),
                network: gateway.into(),
                detect_duplicates: false,
                alone: false,
            });
        }
        for pair in &self.pairs {
            plan.on_host(Op::CreateRoute {
                link: link(),
                route: over_link(pair.own.ip(), pair.gateway),
            });
            // Its MAC is ours to know; a neighbour that was told needs no room in a table of a thousand.
            plan.on_host(Op::SetNeighbour {
                link: link(),
                ip: pair.own.ip(),
                mac: self.container_mac,
            });
        }
    }

    fn gateways(&self) -> Vec<IpAddr> {
        let mut gateways: Vec<IpAddr> = Vec::new();
        for pair in &self.pairs {
            if !gateways.contains(&pair.gateway) {
                gateways.push(pair.gateway);
            }
        }
        gateways
    }

    fn tables(&self, plan: &mut Plan) {
        if self.config.masquerade {
            plan.on_host(Op::EnsureElements {
                elements: self.subnets(),
            });
            plan.on_host(Op::CreateElements {
                elements: self.own_elements(),
            });
        }
        plan.on_host(Op::LetThrough {
            links: vec![self.host_end.clone()],
            thorough: self.is_first,
            own: true,
        });
    }

    /// What our tables say of the link and of who is behind it.
    fn own_elements(&self) -> Vec<Element> {
        let mut elements = vec![Element::Link {
            ifname: self.host_end.to_string(),
        }];
        if self.config.masquerade {
            elements.extend(self.masqueraded());
        }
        elements
    }

    fn masqueraded(&self) -> impl Iterator<Item = Element> {
        self.pairs.iter().map(|pair| Element::MasqueradeHost {
            ifname: self.host_end.to_string(),
            address: pair.own.ip(),
        })
    }

    fn subnets(&self) -> Vec<Element> {
        let mut subnets = Vec::new();
        for subnet in self.pairs.iter().filter_map(Pair::subnet) {
            let within = Element::Within { subnet };
            if !subnets.contains(&within) {
                subnets.push(within);
            }
        }
        subnets
    }

    /// What DEL deletes: addresses, routes and neighbours go with the link.
    fn own(&self) -> Vec<Target> {
        let link = Target::Link {
            name: self.host_end.clone(),
            mac: self.endpoint.key.host_mac(),
        };
        let elements = self.own_elements();
        vec![link, Target::Elements { elements }]
    }

    /// What the network's last DEL deletes.
    fn shared(&self) -> Vec<Target> {
        match self.config.masquerade {
            true => vec![
                Target::Elements {
                    elements: self.subnets(),
                },
                Target::LetThrough,
            ],
            false => vec![Target::LetThrough],
        }
    }

    fn view(&self) -> ContainerView {
        let link = &self.endpoint.key.ifname;
        let addresses: Vec<IpNetwork> = self.pairs.iter().map(|pair| pair.own).collect();
        let mut routes = self.ways_to_gateways();
        routes.extend(interior::routes(
            self.endpoint.lease.routes.clone(),
            &self.endpoint.lease.ips,
        ));
        let host_mac = self.endpoint.key.host_mac();
        ContainerView {
            link: Some(link.clone()),
            up: true,
            alone: true,
            detect_duplicates: false,
            probe: None,
            routes,
            neighbours: self
                .gateways()
                .into_iter()
                .map(|ip| (ip, host_mac))
                .collect(),
            sysctls: interior::ipv6_parameters(link, &addresses, false),
            addresses,
        }
    }

    /// The gateway is on the link, and the rest of the subnet behind it.
    fn ways_to_gateways(&self) -> Vec<IpRoute> {
        let mut routes = Vec::new();
        for pair in &self.pairs {
            let gateway = over_link(pair.gateway, pair.own.ip());
            // Two addresses may have one gateway.
            if !routes.iter().any(|route: &IpRoute| route.to == gateway.to) {
                routes.push(gateway);
            }
            routes.extend(pair.subnet().map(|subnet| IpRoute {
                source: Some(pair.own.ip()),
                ..IpRoute::unicast(subnet, Some(pair.gateway))
            }));
        }
        routes
    }

    /// Interfaces in the reference's order: the host's end, then the container's.
    fn result(&self) -> CniResult {
        let sandbox = self.endpoint.netns.as_ref();
        let host_end = interface(&self.host_end, self.endpoint.key.host_mac());
        let container_end = Interface {
            sandbox: sandbox.map(|path| path.to_string_lossy().into_owned()),
            ..interface(&self.endpoint.key.ifname, self.container_mac)
        };
        let mtu = Some(self.mtu);
        let lease = self.endpoint.lease;
        let of_container = |ip: &IpConfig| IpConfig {
            interface: Some(CONTAINER_END),
            ..ip.clone()
        };
        CniResult {
            interfaces: vec![
                Interface { mtu, ..host_end },
                Interface {
                    mtu,
                    ..container_end
                },
            ],
            ips: lease.ips.iter().map(of_container).collect(),
            routes: lease.routes.clone(),
            // The network's own settings win over the address plugin's.
            dns: match self.config.dns.is_empty() {
                true => lease.dns.clone(),
                false => self.config.dns.clone(),
            },
        }
    }
}

/// The route to one address over the link itself.
fn over_link(to: IpAddr, source: IpAddr) -> IpRoute {
    IpRoute {
        source: Some(source),
        ..IpRoute::unicast(to.into(), None)
    }
}

/// The leased addresses, each with its gateway, which is to be the host's.
fn pairs(lease: &CniResult) -> Result<Vec<Pair>> {
    if lease.ips.is_empty() {
        return Err(Error::config(
            "ipam",
            "the address plugin answered no address",
        ));
    }
    let pair = |ip: &IpConfig| {
        let own = ip.address;
        match ip.gateway {
            Some(gateway) if gateway != own.ip() && gateway.is_ipv6() == own.is_ipv6() => {
                Ok(Pair { own, gateway })
            }
            Some(gateway) => Err(Error::config(
                "ipam",
                format!("the gateway {gateway} of {own} can't be the host's end of its link"),
            )),
            None => Err(Error::config(
                "ipam",
                format!(
                    "the address {own} comes without a gateway, which the host's end of its link would have"
                ),
            )),
        }
    };
    lease.ips.iter().map(pair).collect()
}
