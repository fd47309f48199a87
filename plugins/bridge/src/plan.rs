//! The operations on the host that put a container on a bridge, in their order.
//! `driver` makes one [`Planning`] per verb; `view`, `traces` and `answer` hold its other halves.
//! It must never ask the kernel: what a plan depends on is among the facts.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde::Deserialize;
use wharfline_core::attachment::bridge_mac;
use wharfline_core::driver::Endpoint;
use wharfline_core::error::{Error, Result};
use wharfline_core::plan::{Bridge, Op, Plan, Port, PortOf, Veth};
use wharfline_spec::cni::{CniResult, IpConfig};
use wharfline_spec::names::IfName;

use crate::config::BridgeConfig;

/// MTU where nothing says another: that of Ethernet.
pub(crate) const ETHERNET_MTU: u32 = 1500;

/// What a plan depends on besides configuration and lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct BridgeFacts {
    /// MTU of the bridge that is there.
    pub bridge_mtu: Option<u32>,
    /// MAC of the bridge that is there.
    #[serde(deserialize_with = "optional_mac")]
    pub bridge_mac: Option<MacAddr6>,
    /// MAC of the bridge's foot in the containers' VLAN that is there.
    #[serde(deserialize_with = "optional_mac")]
    pub foot_mac: Option<MacAddr6>,
    /// Least MTU of the links that lead outside.
    pub egress_mtu: Option<u32>,
    /// Further bridges cascaded to it.
    pub members: u32,
}

/// One plan in the making.
pub(crate) struct Planning<'a> {
    pub(crate) config: &'a BridgeConfig,
    pub(crate) endpoint: &'a Endpoint<'a>,
    /// The host's end: our veth's, or in a chain the link that a plugin before us made.
    pub(crate) host_end: IfName,
    pub(crate) chained: bool,
    pub(crate) mtu: u32,
    pub(crate) bridge_mac: MacAddr6,
    /// MAC of the link that has the gateway's address.
    pub(crate) gateway_mac: MacAddr6,
    pub(crate) container_mac: MacAddr6,
    pub(crate) members: u32,
    pub(crate) ips: Vec<IpConfig>,
    bridge_is_new: bool,
}

impl<'a> Planning<'a> {
    pub(crate) fn new(
        config: &'a BridgeConfig,
        endpoint: &'a Endpoint<'a>,
        facts: &BridgeFacts,
    ) -> Result<Self> {
        let chained = chained_link(config, endpoint)?;
        let derived_mtu = facts.bridge_mtu.or(facts.egress_mtu);
        let bridge = facts.bridge_mac.unwrap_or(bridge_mac(&config.bridge));
        let foot = || facts.foot_mac.unwrap_or(bridge_mac(&config.gateway_link()));
        let first = endpoint.lease.ips.first().map(|ip| ip.address.ip());
        Ok(Self {
            config,
            endpoint,
            chained: chained.is_some(),
            host_end: chained.unwrap_or_else(|| endpoint.key.host_end(endpoint.salt)),
            mtu: config.mtu.or(derived_mtu).unwrap_or(ETHERNET_MTU),
            bridge_mac: bridge,
            gateway_mac: config.vlan.map_or(bridge, |_| foot()),
            container_mac: endpoint.mac.unwrap_or_else(|| endpoint.key.mac(first)),
            members: facts.members,
            ips: leased(config, endpoint.lease)?,
            bridge_is_new: facts.bridge_mtu.is_none(),
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
        self.bridge(&mut plan);
        self.gateway(&mut plan);
        self.shared_tables(&mut plan);
        self.port(&mut plan);
        self.neighbours(&mut plan);
        plan
    }

    /// What the network has before its first container.
    pub(crate) fn network(&self) -> Vec<Op> {
        let mut plan = Plan::default();
        self.bridge(&mut plan);
        self.gateway(&mut plan);
        plan.ops.into_iter().map(|(_, op)| op).collect()
    }

    fn bridge(&self, plan: &mut Plan) {
        plan.on_host(Op::EnsureBridge(Bridge {
            name: self.config.bridge.clone(),
            mac: bridge_mac(&self.config.bridge),
            mtu: self.mtu,
            vlan_filtering: self.config.has_vlans(),
            promiscuous: self.config.promiscuous,
            pinned: self.config.is_gateway,
        }));
        plan.on_host(Op::LetThrough {
            links: self.forwarding_links(),
            thorough: self.bridge_is_new,
            own: false,
        });
    }

    /// Whether the host has a foot in the containers' VLAN: a network without addresses needs none.
    pub(crate) fn has_foot(&self) -> bool {
        self.config.vlan.is_some() && self.gateways().next().is_some()
    }

    fn gateway(&self, plan: &mut Plan) {
        let link = self.config.gateway_link();
        if let Some(vlan) = self.config.vlan.filter(|_| self.has_foot()) {
            plan.on_host(Op::EnsureVlanGateway {
                bridge: self.config.bridge.clone(),
                gateway: link.clone(),
                vlan,
                keep_default_vlan: self.config.keep_default_vlan,
            });
        }
        let has = |ipv6: bool| self.gateways().any(|gateway| gateway.is_ipv6() == ipv6);
        if has(false) {
            plan.on_host(sysctl("net/ipv4/ip_forward", "1"));
        }
        if has(true) {
            plan.on_host(Op::KeepRouterAdvertisements);
            plan.on_host(sysctl("net/ipv6/conf/all/forwarding", "1"));
            plan.on_host(sysctl(&format!("net/ipv6/conf/{link}/disable_ipv6"), "0"));
        }
        for network in self.gateways() {
            plan.on_host(Op::EnsureBridgeAddress {
                bridge: link.clone(),
                network,
                force: self.config.force_address,
                beside: self.config.several_subnets,
            });
        }
    }

    /// The gateways' addresses with the subnets' prefixes, each once; none where the host is not to be the gateway.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = IpNetwork> {
        let mut networks: Vec<IpNetwork> = self
            .ips
            .iter()
            .filter(|_| self.config.is_gateway)
            .filter_map(|ip| IpNetwork::new(ip.gateway?, ip.address.prefix()).ok())
            .collect();
        networks.dedup();
        networks.into_iter()
    }

    /// What containers of the network share in our tables. The marks of cascades stand before a port is put behind one.
    fn shared_tables(&self, plan: &mut Plan) {
        let mut elements = self.masquerade_elements();
        elements.extend(self.cascade_elements());
        elements.extend(self.foot_elements());
        elements.extend(self.boundary_elements());
        if !elements.is_empty() {
            plan.on_host(Op::EnsureElements { elements });
        }
    }

    fn port(&self, plan: &mut Plan) {
        if self.chained {
            plan.on_host(Op::AttachPort {
                link: self.host_end.clone(),
                bridge: self.config.bridge.clone(),
            });
        } else {
            plan.on_host(Op::CreateVeth(self.veth()));
            plan.on_host(Op::RaisePort {
                link: self.host_end.clone(),
                alias: self.endpoint.key.alias(),
            });
        }
        let port = self.port_settings();
        if !port.is_default() {
            plan.on_host(Op::SetPort(port));
        }
        let elements = self.own_elements();
        if !elements.is_empty() {
            plan.on_host(Op::CreateElements { elements });
        }
    }

    /// Known from the start: over a thousand containers stay reachable at the default gc_thresh3, and a reused address
    /// is at its new MAC at once.
    fn neighbours(&self, plan: &mut Plan) {
        if !self.config.is_gateway || self.chained {
            return;
        }
        for ip in self.addresses() {
            plan.on_host(Op::SetNeighbour {
                link: self.config.gateway_link(),
                ip,
                mac: self.container_mac,
            });
        }
        // A MAC that the address does not imply is news to those who knew the address before.
        let implied = |ip: &IpAddr| self.endpoint.key.mac(Some(*ip)) == self.container_mac;
        for ip in self.addresses().filter(|ip| !implied(ip)) {
            plan.on_host(Op::Announce {
                link: self.config.gateway_link(),
                ip,
                mac: self.container_mac,
            });
        }
    }

    /// The container's addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ips.iter().map(|ip| ip.address.ip())
    }

    fn veth(&self) -> Veth {
        Veth {
            host_end: self.host_end.clone(),
            host_mac: self.endpoint.key.host_mac(),
            container_end: self.endpoint.key.ifname.clone(),
            born_in: self.config.born_in,
            container_mac: self.container_mac,
            mtu: self.mtu,
            port_of: Some(PortOf {
                bridge: self.config.bridge.clone(),
                overflow: self.config.overflow,
            }),
        }
    }

    fn port_settings(&self) -> Port {
        Port {
            link: self.host_end.clone(),
            hairpin: self.config.hairpin,
            isolated: self.config.isolated,
            native_vlan: self.config.native_vlan(),
            trunk: self.config.trunk.clone(),
            keep_default_vlan: self.config.keep_default_vlan,
        }
    }
}

/// The leased addresses, each with its gateway: the first address of the subnet unless the lease says another.
fn leased(config: &BridgeConfig, lease: &CniResult) -> Result<Vec<IpConfig>> {
    if config.has_ipam && lease.ips.is_empty() {
        return Err(Error::config(
            "ipam",
            "the address plugin answered no address",
        ));
    }
    let with_gateway = |ip: &IpConfig| {
        let mut ip = ip.clone();
        if config.is_gateway && ip.gateway.is_none() && config.implies_gateway {
            ip.gateway = first_host(ip.address);
        }
        ip.interface = None;
        ip
    };
    Ok(lease.ips.iter().map(with_gateway).collect())
}

/// The address after the subnet's own.
fn first_host(network: IpNetwork) -> Option<IpAddr> {
    match network.network() {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}

/// The link that a plugin before us made on the host, which becomes the port instead of a veth (CNI CONVENTIONS.md).
fn chained_link(config: &BridgeConfig, endpoint: &Endpoint<'_>) -> Result<Option<IfName>> {
    let Some(previous) = endpoint.previous else {
        return Ok(None);
    };
    let own = endpoint.key.host_end(endpoint.salt);
    if previous.interfaces.iter().any(|i| i.name == own.as_str()) {
        // CHECK: the previous result is what ADD answered.
        return Ok(None);
    }
    let on_host = previous.interfaces.iter().find(|interface| {
        interface.sandbox.as_deref().unwrap_or_default().is_empty()
            && interface.name != config.bridge.as_str()
    });
    match on_host {
        Some(interface) => IfName::new(&interface.name)
            .map(Some)
            .map_err(|e| Error::config("prevResult.interfaces", e)),
        None => Ok(None),
    }
}

pub(crate) fn sysctl(key: &str, value: &str) -> Op {
    Op::Sysctl {
        key: key.to_owned(),
        value: value.to_owned(),
        optional: false,
    }
}

/// MACs in the tests' fact files.
fn optional_mac<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<MacAddr6>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}
