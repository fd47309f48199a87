//! The operations that give a container its sub-interface, and the host its way to it.
//! `driver` makes one [`Planning`] per verb; `answer` holds what ADD answers.
//! It must never ask the kernel: what a plan depends on is among the facts.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use wharfline_core::attachment::{derived_name, shim_mac};
use wharfline_core::driver::Endpoint;
use wharfline_core::error::{Error, Result};
use wharfline_core::plan::{
    ContainerView, HostShim, IsolatedParent, NsRef, Op, Parent, Plan, SubInterface,
    SubInterfaceIdentity, Target, VlanParent, interior,
};
use wharfline_kernel::hash::stable_hash;
use wharfline_kernel::route::IpRoute;
use wharfline_kernel::sub_interface::SubInterfaceKind;
use wharfline_spec::cni::IpConfig;
use wharfline_spec::names::{IfName, NetworkName};

use crate::config::SubInterfaceConfig;

/// What a plan depends on besides configuration and lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubInterfaceFacts {
    /// The parent.
    pub(crate) parent: Parent,
    /// Its MAC.
    pub(crate) parent_mac: Option<MacAddr6>,
    /// Its MTU, bytes.
    pub(crate) parent_mtu: u32,
    /// Whether it is a VLAN of another link that we made or are to make.
    pub(crate) parent_is_ours: bool,
    /// The host's addresses on it.
    pub(crate) host_addresses: Vec<IpAddr>,
    /// MAC of the host's own link on it that is there: containers know it.
    pub(crate) shim_mac: Option<MacAddr6>,
}

/// One plan in the making.
pub(crate) struct Planning<'a> {
    pub(crate) config: &'a SubInterfaceConfig,
    pub(crate) endpoint: &'a Endpoint<'a>,
    facts: &'a SubInterfaceFacts,
    pub(crate) mtu: u32,
    pub(crate) ips: Vec<IpConfig>,
}

impl<'a> Planning<'a> {
    pub(crate) fn new(
        config: &'a SubInterfaceConfig,
        endpoint: &'a Endpoint<'a>,
        facts: &'a SubInterfaceFacts,
    ) -> Result<Self> {
        let mtu = config.mtu.unwrap_or(facts.parent_mtu);
        if mtu > facts.parent_mtu {
            let most = facts.parent_mtu;
            let why = format!("{mtu} is more than the {most} of {}", facts.parent);
            return Err(Error::config("mtu", why));
        }
        Ok(Self {
            config,
            endpoint,
            facts,
            mtu,
            ips: addresses(config, endpoint)?,
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
        plan.ops = self.parents();
        if self.config.host_access {
            plan.on_host(Op::EnsureHostShim(self.shim()));
        }
        plan.on_host(Op::CreateSubInterface(SubInterface {
            identity: self.identity(),
            mtu: self.mtu,
            settings: self.config.settings.clone(),
        }));
        if self.config.probe && self.config.born_in == NsRef::Host {
            self.probe_on_host(&mut plan);
        }
        self.host_access(&mut plan);
        plan
    }

    /// What makes the parent, where it is ours.
    pub(crate) fn parents(&self) -> Vec<(NsRef, Op)> {
        let vlan = self.own_vlan_parent().map(Op::EnsureVlanParent);
        let isolated = self.isolated_parent().map(Op::EnsureIsolatedParent);
        let made = vlan.into_iter().chain(isolated);
        made.map(|op| (NsRef::Host, op)).collect()
    }

    /// What takes such a parent away.
    pub(crate) fn parent_targets(&self) -> Vec<Target> {
        let vlan = self.own_vlan_parent().map(Target::VlanParent);
        let isolated = self.isolated_parent().map(Target::IsolatedParent);
        vlan.into_iter().chain(isolated).collect()
    }

    fn own_vlan_parent(&self) -> Option<VlanParent> {
        let parent = self.config.vlan_parent();
        parent.filter(|_| self.facts.parent_is_ours)
    }

    fn isolated_parent(&self) -> Option<IsolatedParent> {
        self.config.isolated.then(|| IsolatedParent {
            name: self.facts.parent.name.clone(),
            mtu: self.facts.parent_mtu,
            alias: format!("wharfline: parent of network {}", self.endpoint.key.network),
        })
    }

    /// The segment is asked before dockerd gets the link. It must hear answers and take nothing from routers meanwhile.
    fn probe_on_host(&self, plan: &mut Plan) {
        let link = &self.endpoint.key.ifname;
        plan.on_host(Op::RaisePort {
            link: link.clone(),
            alias: self.endpoint.key.alias(),
        });
        if self.ips.iter().any(|ip| ip.address.is_ipv6()) {
            for (key, value) in [("accept_ra", "0"), ("disable_ipv6", "0")] {
                plan.on_host(Op::Sysctl {
                    key: format!("net/ipv6/conf/{link}/{key}"),
                    value: value.to_owned(),
                    optional: true,
                });
            }
        }
        plan.on_host(Op::RequireFree {
            link: self.identity(),
            ips: self.ips.iter().map(|ip| ip.address.ip()).collect(),
        });
    }

    /// What the container's interface has of its own; the others have their parent's.
    fn own_mac(&self) -> Option<MacAddr6> {
        let first = self.ips.first().map(|ip| ip.address.ip());
        let own = || {
            self.endpoint
                .mac
                .unwrap_or_else(|| self.endpoint.key.mac(first))
        };
        self.config.has_own_mac().then(own)
    }

    pub(crate) fn mac(&self) -> Option<MacAddr6> {
        self.own_mac().or(self.facts.parent_mac)
    }

    fn identity(&self) -> SubInterfaceIdentity {
        SubInterfaceIdentity {
            link: self.endpoint.key.ifname.clone(),
            born_as: self.endpoint.key.host_end(self.endpoint.salt),
            ns: self.config.born_in,
            parent: self.facts.parent.clone(),
            kind: self.config.settings.name().to_owned(),
            mac: self.own_mac(),
        }
    }

    fn own(&self) -> Vec<Target> {
        let mut own = vec![Target::SubInterface(self.identity())];
        for ip in self.reached_from_host() {
            let link = self.shim().link;
            own.push(Target::Route {
                link: link.clone(),
                route: self.route_to(ip),
            });
            own.push(Target::Neighbour { link, ip });
        }
        own
    }

    /// The shim before the parent that it stands on.
    fn shared(&self) -> Vec<Target> {
        let mut shared = Vec::new();
        if self.config.host_access {
            let shim = self.shim();
            shared.push(Target::Link {
                name: shim.link,
                mac: shim.mac,
            });
        }
        // A parent that leads nowhere is nobody else's, and goes with the network itself.
        shared.extend(self.own_vlan_parent().map(Target::VlanParent));
        shared
    }

    fn view(&self) -> ContainerView {
        let link = &self.endpoint.key.ifname;
        let addresses: Vec<IpNetwork> = self.ips.iter().map(|ip| ip.address).collect();
        let mut sysctls = interior::ipv6_parameters(link, &addresses, false);
        if !addresses.is_empty() {
            // Who knew the address elsewhere hears of it as soon as the link is up (ip-sysctl.rst).
            sysctls.push((format!("net/ipv4/conf/{link}/arp_notify"), "1".to_owned()));
            sysctls.push((format!("net/ipv6/conf/{link}/ndisc_notify"), "1".to_owned()));
        }
        ContainerView {
            link: Some(link.clone()),
            up: true,
            routes: interior::routes(self.endpoint.lease.routes.clone(), &self.ips),
            neighbours: self.known_host(),
            sysctls,
            addresses,
            detect_duplicates: false,
            alone: false,
            probe: (self.config.probe && self.config.born_in == NsRef::Container)
                .then(|| self.identity()),
        }
    }

    /// The host's own link on the parent. Several hosts on one segment may have a network of this name: the parent's
    /// MAC tells their shims apart.
    fn shim(&self) -> HostShim {
        let network = &self.endpoint.key.network;
        let parent = &self.facts.parent.name;
        let link = shim_name(network, parent);
        let derived = || shim_mac(&link, self.facts.parent_mac.unwrap_or_default());
        HostShim {
            mac: self.facts.shim_mac.unwrap_or_else(derived),
            link,
            parent: parent.clone(),
            alias: format!("wharfline: the host on network {network}"),
        }
    }

    /// The container's addresses that the host has an address of the same family for.
    fn reached_from_host(&self) -> impl Iterator<Item = IpAddr> {
        let hosts = |ip: &IpAddr| self.host_address(ip.is_ipv6()).is_some();
        let all = self.ips.iter().map(|ip| ip.address.ip());
        all.filter(move |ip| self.config.host_access && hosts(ip))
    }

    fn host_address(&self, ipv6: bool) -> Option<IpAddr> {
        let mut all = self.facts.host_addresses.iter().copied();
        all.find(|ip| ip.is_ipv6() == ipv6)
    }

    fn route_to(&self, ip: IpAddr) -> IpRoute {
        IpRoute {
            source: self.host_address(ip.is_ipv6()),
            ..IpRoute::unicast(IpNetwork::from(ip), None)
        }
    }

    fn host_access(&self, plan: &mut Plan) {
        let Some(mac) = self.own_mac() else {
            return;
        };
        if self.config.born_in == NsRef::Host {
            self.answer_for_host(plan);
        }
        for ip in self.reached_from_host() {
            let link = self.shim().link;
            plan.on_host(Op::EnsureRoute {
                link: link.clone(),
                route: self.route_to(ip),
            });
            plan.on_host(Op::SetNeighbour { link, ip, mac });
        }
    }

    /// dockerd tells containers of no neighbour, so they ask. ARP is answered on every link of the host's (arp_ignore), a
    /// solicitation only on one that has the address.
    fn answer_for_host(&self, plan: &mut Plan) {
        let link = self.shim().link;
        if let Some(ip) = self.host_address(true) {
            plan.on_host(Op::Sysctl {
                key: format!("net/ipv6/conf/{link}/disable_ipv6"),
                value: "0".to_owned(),
                optional: true,
            });
            plan.on_host(Op::EnsureBridgeAddress {
                bridge: link,
                network: ip.into(),
                force: false,
                beside: true,
            });
        }
    }

    /// The host is at the shim, for who has it on his own subnet: a link does not hear what its parent sends.
    fn known_host(&self) -> Vec<(IpAddr, MacAddr6)> {
        let on_link = |host: &&IpAddr| self.ips.iter().any(|ip| ip.address.contains(**host));
        let hosts = self.facts.host_addresses.iter().filter(on_link);
        hosts.map(|host| (*host, self.shim().mac)).collect()
    }
}

/// The name of the host's own link on the parent.
pub(crate) fn shim_name(network: &NetworkName, parent: &IfName) -> IfName {
    let parts = [network.as_str().as_bytes(), parent.as_str().as_bytes()];
    derived_name("wm", stable_hash(&parts))
}

/// The leased addresses; ipvlan after another plugin takes over that one's, as with the reference.
fn addresses(config: &SubInterfaceConfig, endpoint: &Endpoint<'_>) -> Result<Vec<IpConfig>> {
    let inherits = matches!(config.settings, SubInterfaceKind::Ipvlan { .. }) && !config.has_ipam;
    let leased = match endpoint.previous.filter(|_| inherits) {
        Some(previous) => &previous.ips,
        None => &endpoint.lease.ips,
    };
    if config.has_ipam && leased.is_empty() {
        return Err(Error::config(
            "ipam",
            "the address plugin answered no address",
        ));
    }
    let ours = |ip: &IpConfig| IpConfig {
        interface: Some(0),
        ..ip.clone()
    };
    Ok(leased.iter().map(ours).collect())
}
