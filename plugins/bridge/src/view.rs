//! What the container is to see: its link, addresses, routes, neighbours and kernel parameters.
//! A plan carries it; CNI compiles it into operations, Docker answers it.
//! It must never hold anything of the host's side.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use wharfline_core::plan::ContainerView;
use wharfline_kernel::route::IpRoute;
use wharfline_spec::cni::Route;

use crate::plan::Planning;

impl Planning<'_> {
    pub(crate) fn view(&self) -> ContainerView {
        if self.chained {
            return ContainerView::default();
        }
        ContainerView {
            link: Some(self.endpoint.key.ifname.clone()),
            up: !self.config.container_interface_down,
            addresses: self.ips.iter().map(|ip| ip.address).collect(),
            detect_duplicates: self.config.detect_duplicates,
            routes: self.container_routes(),
            neighbours: self.known_gateways(),
            sysctls: self.parameters(),
        }
    }

    /// IPv6 is on where it has an address, and the address outlives a link that is set down and up again.
    fn parameters(&self) -> Vec<(String, String)> {
        if !self.addresses().any(|ip| ip.is_ipv6()) {
            return Vec::new();
        }
        // The link-local address is the kernel's to make: with detection it would be tentative for a second or two.
        let detect = if self.config.detect_duplicates {
            "1"
        } else {
            "0"
        };
        let link = &self.endpoint.key.ifname;
        [
            ("net/ipv6/conf/lo/disable_ipv6".to_owned(), "0"),
            (format!("net/ipv6/conf/{link}/disable_ipv6"), "0"),
            (format!("net/ipv6/conf/{link}/keep_addr_on_down"), "1"),
            (format!("net/ipv6/conf/{link}/accept_dad"), detect),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .to_vec()
    }

    /// The gateway is ours and so is its MAC: the container need not ask.
    fn known_gateways(&self) -> Vec<(IpAddr, MacAddr6)> {
        self.gateways()
            .map(|network| (network.ip(), self.gateway_mac))
            .collect()
    }

    /// The routes of the result: the lease's, and a default route where this bridge is to be the way out.
    pub(crate) fn routes(&self) -> Vec<Route> {
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
}

fn default_of(ip: IpAddr) -> Option<IpNetwork> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNetwork::new(any, 0).ok()
}
