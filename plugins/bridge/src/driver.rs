//! What a container on a bridge consists of, decided purely.
//! The engine calls it for every verb; the CNI face (and Docker's) brings the configuration.
//! `plan` must never touch kernel, disk or clock: its tests are tables (testdata/).

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde::Deserialize;
use wharfline_core::attachment::{AttachmentKey, bridge_mac};
use wharfline_core::cascade;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::error::{Error, ErrorKind, Result};
use wharfline_core::plan::{Bridge, ContainerView, NsRef, Op, Overflow, Plan, Port, Target, Veth};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::nft::Element;
use wharfline_kernel::route::IpRoute;
use wharfline_spec::cni::{CniResult, Interface, IpConfig, Route};
use wharfline_spec::names::IfName;

use crate::config::BridgeConfig;
use crate::egress;

/// How many salted names a teardown without record looks for.
const SALTS_WITHOUT_RECORD: u8 = 3;

/// Containers on a bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BridgeDriver;

/// What a plan depends on besides configuration and lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct BridgeFacts {
    /// MTU of the bridge that is there.
    pub bridge_mtu: Option<u32>,
    /// MAC of the bridge that is there.
    #[serde(with = "optional_mac")]
    pub bridge_mac: Option<MacAddr6>,
    /// Least MTU of the links that lead outside.
    pub egress_mtu: Option<u32>,
    /// Further bridges cascaded to it.
    pub members: u32,
}

impl Driver for BridgeDriver {
    type Config = BridgeConfig;
    type Facts = BridgeFacts;

    fn name(&self) -> &'static str {
        "bridge"
    }

    fn observe(
        &self,
        config: &BridgeConfig,
        _endpoint: &Endpoint<'_>,
        session: &Session,
    ) -> Result<BridgeFacts> {
        let bridge = session.link(NsRef::Host, &config.bridge)?;
        let egress_mtu = match (&bridge, config.mtu) {
            (None, None) => egress::mtu(session.host())?,
            _ => None,
        };
        Ok(BridgeFacts {
            bridge_mtu: bridge.as_ref().map(|link| link.mtu),
            bridge_mac: bridge.as_ref().and_then(|link| link.mac),
            egress_mtu,
            members: cascade::members_noted(session, &config.bridge),
        })
    }

    fn plan(
        &self,
        config: &BridgeConfig,
        endpoint: &Endpoint<'_>,
        facts: &BridgeFacts,
    ) -> Result<Plan> {
        Planning::new(config, endpoint, facts)?.plan()
    }

    fn teardown(
        &self,
        config: &BridgeConfig,
        key: &AttachmentKey,
        record: Option<&Record>,
    ) -> Vec<Target> {
        let mut targets = match record {
            Some(record) => record.own.clone(),
            None => marks(key),
        };
        if config.masquerade {
            targets.push(Target::Predecessor {
                network: key.network.clone(),
                container: key.container.clone(),
                ifname: key.ifname.clone(),
            });
        }
        targets
    }

    fn makes_link(&self) -> bool {
        true
    }

    fn owns(&self, element: &Element) -> bool {
        matches!(
            element,
            Element::BoundMac { .. } | Element::Guarded { .. } | Element::Isolated { .. }
        )
    }

    fn require(&self, config: &BridgeConfig, session: &Session) -> Result<()> {
        let Some(link) = session.link(NsRef::Host, &config.bridge)? else {
            return Ok(());
        };
        if link.kind != "bridge" {
            return Err(Error::new(
                ErrorKind::NotAvailable,
                format!("bridge: link {} exists and is no bridge", config.bridge),
            ));
        }
        Ok(())
    }
}

/// Where an attachment without a record is to be looked for.
fn marks(key: &AttachmentKey) -> Vec<Target> {
    let mut targets: Vec<Target> = (0..SALTS_WITHOUT_RECORD)
        .map(|salt| Target::Link {
            name: key.host_end(salt),
            mac: key.host_mac(),
        })
        .collect();
    targets.push(Target::MarkedElements { tag: key.tag() });
    targets
}

/// One plan in the making.
struct Planning<'a> {
    config: &'a BridgeConfig,
    endpoint: &'a Endpoint<'a>,
    /// The host's end: our veth's, or in a chain the link that a plugin before us made.
    host_end: IfName,
    chained: bool,
    mtu: u32,
    bridge_mac: MacAddr6,
    container_mac: MacAddr6,
    members: u32,
    bridge_is_new: bool,
    ips: Vec<IpConfig>,
}

impl<'a> Planning<'a> {
    fn new(
        config: &'a BridgeConfig,
        endpoint: &'a Endpoint<'a>,
        facts: &BridgeFacts,
    ) -> Result<Self> {
        let chained = chained_link(config, endpoint)?;
        let mtu = config
            .mtu
            .or(facts.bridge_mtu)
            .or(facts.egress_mtu)
            .unwrap_or(1500);
        let first = endpoint.lease.ips.first().map(|ip| ip.address.ip());
        Ok(Self {
            config,
            endpoint,
            chained: chained.is_some(),
            host_end: chained.unwrap_or_else(|| endpoint.key.host_end(endpoint.salt)),
            mtu,
            bridge_mac: facts
                .bridge_mac
                .unwrap_or_else(|| bridge_mac(&config.bridge)),
            container_mac: endpoint.mac.unwrap_or_else(|| endpoint.key.mac(first)),
            members: facts.members,
            bridge_is_new: facts.bridge_mtu.is_none(),
            ips: leased(config, endpoint.lease)?,
        })
    }

    fn plan(&self) -> Result<Plan> {
        let mut plan = Plan {
            view: self.view(),
            own: self.own(),
            shared: self.shared(),
            result: self.result(),
            ..Plan::default()
        };
        self.bridge(&mut plan);
        self.gateway(&mut plan);
        self.masquerade(&mut plan);
        self.port(&mut plan);
        Ok(plan)
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
            link: self.config.bridge.clone(),
            thorough: self.bridge_is_new,
        });
    }

    fn gateway(&self, plan: &mut Plan) {
        if !self.config.is_gateway {
            return;
        }
        if let Some(vlan) = self.config.vlan {
            plan.on_host(Op::EnsureVlanGateway {
                bridge: self.config.bridge.clone(),
                gateway: self.config.gateway_link(),
                vlan,
                keep_default_vlan: self.config.keep_default_vlan,
            });
        }
        let has = |ipv6: bool| self.gateways().any(|gateway| gateway.is_ipv6() == ipv6);
        if has(false) {
            plan.on_host(sysctl("net/ipv4/ip_forward", "1"));
        }
        if has(true) {
            let link = self.config.gateway_link();
            plan.on_host(Op::KeepRouterAdvertisements);
            plan.on_host(sysctl("net/ipv6/conf/all/forwarding", "1"));
            plan.on_host(sysctl(&format!("net/ipv6/conf/{link}/disable_ipv6"), "0"));
        }
        for network in self.gateways() {
            plan.on_host(Op::EnsureBridgeAddress {
                bridge: self.config.gateway_link(),
                network,
                force: self.config.force_address,
            });
        }
    }

    fn masquerade(&self, plan: &mut Plan) {
        if self.config.masquerade && !self.ips.is_empty() {
            plan.on_host(Op::EnsureElements {
                elements: self.shared_elements(),
            });
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
            plan.on_host(Op::SetAlias {
                link: self.host_end.clone(),
                text: self.endpoint.key.alias(),
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
        self.neighbours(plan);
    }

    /// Permanent entries: over a thousand containers stay reachable at the default gc_thresh3, and a reused address is
    /// at its new MAC at once.
    fn neighbours(&self, plan: &mut Plan) {
        if !self.config.is_gateway || self.chained {
            return;
        }
        for ip in &self.ips {
            plan.on_host(Op::SetNeighbour {
                link: self.config.gateway_link(),
                ip: ip.address.ip(),
                mac: self.container_mac,
            });
        }
        // A MAC that the address does not imply is news to those who knew the address before.
        if self.endpoint.mac.is_some() {
            for ip in &self.ips {
                plan.on_host(Op::Announce {
                    link: self.config.gateway_link(),
                    ip: ip.address.ip(),
                    mac: self.container_mac,
                });
            }
        }
    }

    fn veth(&self) -> Veth {
        Veth {
            host_end: self.host_end.clone(),
            host_mac: self.endpoint.key.host_mac(),
            container_end: self.endpoint.key.ifname.clone(),
            container_mac: self.container_mac,
            mtu: self.mtu,
            bridge: self.config.bridge.clone(),
            overflow: self.config.overflow,
        }
    }

    fn port_settings(&self) -> Port {
        Port {
            link: self.host_end.clone(),
            hairpin: self.config.hairpin,
            isolated: self.config.isolated,
            native_vlan: self.config.vlan,
            trunk: self.config.trunk.clone(),
            keep_default_vlan: self.config.keep_default_vlan,
        }
    }

    fn view(&self) -> ContainerView {
        if self.chained {
            return ContainerView::default();
        }
        let ipv6 = self.ips.iter().any(|ip| ip.address.is_ipv6());
        let link = &self.endpoint.key.ifname;
        let mut sysctls = Vec::new();
        if ipv6 {
            let key = |name: &str| format!("net/ipv6/conf/{link}/{name}");
            sysctls.push((key("disable_ipv6"), "0".to_owned()));
            if !self.config.detect_duplicates {
                // The link-local address is the kernel's to make, and it would be tentative for a second or two.
                sysctls.push((key("accept_dad"), "0".to_owned()));
            }
        }
        ContainerView {
            link: Some(link.clone()),
            up: !self.config.container_interface_down,
            addresses: self.ips.iter().map(|ip| ip.address).collect(),
            detect_duplicates: self.config.detect_duplicates,
            routes: self.container_routes(),
            neighbours: self.known_gateways(),
            sysctls,
        }
    }

    /// The gateway is ours and so is its MAC: the container need not ask, nor the neighbour table remember.
    fn known_gateways(&self) -> Vec<(IpAddr, MacAddr6)> {
        if !self.config.is_gateway {
            return Vec::new();
        }
        let mac = match self.config.vlan {
            Some(_) => bridge_mac(&self.config.gateway_link()),
            None => self.bridge_mac,
        };
        self.gateways().map(|network| (network.ip(), mac)).collect()
    }

    /// The gateways' addresses with the subnets' prefixes, each once.
    fn gateways(&self) -> impl Iterator<Item = IpNetwork> {
        let mut networks: Vec<IpNetwork> = self
            .ips
            .iter()
            .filter_map(|ip| IpNetwork::new(ip.gateway?, ip.address.prefix()).ok())
            .collect();
        networks.dedup();
        networks.into_iter()
    }

    /// The routes of the result: the lease's, and a default route where this bridge is to be the way out.
    fn routes(&self) -> Vec<Route> {
        let mut routes = self.endpoint.lease.routes.clone();
        if !self.config.is_default_gateway {
            return routes;
        }
        for gateway in self.gateways() {
            let default = default_of(gateway.ip());
            let missing = |to: &IpNetwork| !routes.iter().any(|route| route.dst == *to);
            if let Some(to) = default.filter(missing) {
                routes.push(Route::new(to, Some(gateway.ip())));
            }
        }
        routes
    }

    /// The result's routes as the kernel is to have them: without a next hop of their own they go by the gateway.
    fn container_routes(&self) -> Vec<IpRoute> {
        if self.config.container_interface_down {
            return Vec::new();
        }
        let gateway = |ipv6: bool| {
            self.ips
                .iter()
                .filter_map(|ip| ip.gateway)
                .find(|ip| ip.is_ipv6() == ipv6)
        };
        self.routes()
            .into_iter()
            .map(|route| IpRoute {
                priority: route.priority,
                table: route.table,
                scope: route.scope,
                mtu: route.mtu,
                advmss: route.advmss,
                ..IpRoute::unicast(route.dst, route.gw.or_else(|| gateway(route.dst.is_ipv6())))
            })
            .collect()
    }

    fn own_elements(&self) -> Vec<Element> {
        let ifname = || self.host_end.to_string();
        let mut elements = Vec::new();
        if self.config.mac_spoof_check && !self.chained {
            elements.push(Element::BoundMac {
                ifname: ifname(),
                mac: self.container_mac.into_array(),
            });
            elements.push(Element::Guarded { ifname: ifname() });
        }
        if self.isolates_members() {
            elements.push(Element::Isolated { ifname: ifname() });
        }
        elements
    }

    /// The port's own flag ends at its bridge; where the network may have several, our table carries it on.
    fn isolates_members(&self) -> bool {
        self.config.isolated && self.config.overflow == Overflow::Cascade
    }

    fn shared_elements(&self) -> Vec<Element> {
        let link = self.config.gateway_link().to_string();
        let mut elements = vec![Element::Link {
            ifname: link.clone(),
        }];
        if self.config.masquerade {
            for ip in &self.ips {
                let subnet = Element::Masquerade {
                    ifname: link.clone(),
                    subnet: network_of(ip.address),
                };
                if !elements.contains(&subnet) {
                    elements.push(subnet);
                }
            }
        }
        elements
    }

    fn own(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        if self.chained {
            targets.push(Target::Port {
                link: self.host_end.clone(),
                bridge: self.config.bridge.clone(),
            });
        } else {
            targets.push(Target::Link {
                name: self.host_end.clone(),
                mac: self.endpoint.key.host_mac(),
            });
        }
        if self.config.is_gateway && !self.chained {
            targets.extend(self.ips.iter().map(|ip| Target::Neighbour {
                link: self.config.gateway_link(),
                ip: ip.address.ip(),
            }));
        }
        let elements = self.own_elements();
        if !elements.is_empty() {
            targets.push(Target::Elements { elements });
        }
        targets
    }

    fn shared(&self) -> Vec<Target> {
        let mut elements = self.shared_elements();
        if self.isolates_members() {
            elements.extend(cascade::cascade_elements(&self.config.bridge, self.members));
        }
        let mut targets = vec![Target::Elements { elements }, Target::LetThrough];
        if !self.config.keep_bridge {
            if self.config.vlan.is_some() && self.config.is_gateway {
                let gateway = self.config.gateway_link();
                targets.push(Target::Link {
                    mac: bridge_mac(&gateway),
                    name: gateway,
                });
            }
            targets.push(Target::Bridge {
                name: self.config.bridge.clone(),
            });
        }
        targets
    }

    /// Interfaces in the reference's order: bridge, host's end, container's end, then the foot in the VLAN.
    fn result(&self) -> CniResult {
        let sandbox = self
            .endpoint
            .netns
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned());
        let mut result = CniResult {
            ips: self.ips.clone(),
            routes: self.routes(),
            dns: self.dns(),
            ..CniResult::default()
        };
        result
            .interfaces
            .push(interface(&self.config.bridge, self.bridge_mac, None));
        if self.chained {
            result.interfaces.extend(
                self.endpoint
                    .previous
                    .iter()
                    .flat_map(|p| p.interfaces.clone()),
            );
            return result;
        }
        result.interfaces.push(Interface {
            mtu: Some(self.mtu),
            ..interface(&self.host_end, self.endpoint.key.host_mac(), None)
        });
        result.interfaces.push(Interface {
            mtu: Some(self.mtu),
            ..interface(&self.endpoint.key.ifname, self.container_mac, sandbox)
        });
        if self.config.vlan.is_some() && self.config.is_gateway {
            let gateway = self.config.gateway_link();
            result
                .interfaces
                .push(interface(&gateway, bridge_mac(&gateway), None));
        }
        for ip in &mut result.ips {
            ip.interface = Some(2);
        }
        result
    }

    fn dns(&self) -> wharfline_spec::cni::Dns {
        if self.config.dns.is_empty() {
            self.endpoint.lease.dns.clone()
        } else {
            self.config.dns.clone()
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
        if config.is_gateway && ip.gateway.is_none() {
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

fn default_of(ip: IpAddr) -> Option<IpNetwork> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNetwork::new(any, 0).ok()
}

/// Text of a link that a plugin before us made on the host, which becomes the port instead of a veth (CONVENTIONS.md).
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

fn interface(name: &IfName, mac: MacAddr6, sandbox: Option<String>) -> Interface {
    Interface {
        name: name.to_string(),
        mac: Some(mac),
        sandbox,
        ..Interface::default()
    }
}

fn sysctl(key: &str, value: &str) -> Op {
    Op::Sysctl {
        key: key.to_owned(),
        value: value.to_owned(),
        optional: false,
    }
}

fn network_of(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}

/// MACs in the tests' fact files.
mod optional_mac {
    use macaddr::MacAddr6;
    use serde::{Deserialize, Deserializer, de};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MacAddr6>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| text.parse().map_err(de::Error::custom))
            .transpose()
    }
}
