//! What the container is to see: its link, addresses, routes, neighbours and kernel parameters.
//! A plan carries it; CNI compiles it into operations, Docker answers it.
//! It must never hold anything of the host's side.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use wharfline_core::plan::{ContainerView, interior};
use wharfline_spec::cni::Route;

use crate::plan::Planning;

impl Planning<'_> {
    pub(crate) fn view(&self) -> ContainerView {
        if self.chained {
            return ContainerView::default();
        }
        let link = &self.endpoint.key.ifname;
        let up = !self.config.container_interface_down;
        let addresses: Vec<IpNetwork> = self.ips.iter().map(|ip| ip.address).collect();
        let detect_duplicates = self.config.detect_duplicates;
        ContainerView {
            link: Some(link.clone()),
            up,
            detect_duplicates,
            alone: false,
            probe: None,
            // A link that is down takes none.
            routes: match up {
                true => interior::routes(self.routes(), &self.ips),
                false => Vec::new(),
            },
            neighbours: self.known_gateways(),
            sysctls: interior::ipv6_parameters(link, &addresses, detect_duplicates),
            addresses,
        }
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
}

fn default_of(ip: IpAddr) -> Option<IpNetwork> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNetwork::new(any, 0).ok()
}
