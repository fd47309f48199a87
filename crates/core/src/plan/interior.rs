//! What drivers have in common when they decide what a container sees: its routes, and IPv6 switched on.
//! The drivers' `view` functions call it.
//! It must never decide which addresses there are: the lease does.

use ipnetwork::IpNetwork;
use wharfline_kernel::route::IpRoute;
use wharfline_spec::cni::{IpConfig, Route};
use wharfline_spec::names::IfName;

/// The result's routes as the kernel is to have them: without a next hop of their own they go by the gateway of the
/// first address of their family.
pub fn routes(routes: Vec<Route>, ips: &[IpConfig]) -> Vec<IpRoute> {
    let gateway = |ipv6: bool| {
        let mut gateways = ips.iter().filter_map(|ip| ip.gateway);
        gateways.find(|ip| ip.is_ipv6() == ipv6)
    };
    let kernels = |route: Route| IpRoute {
        priority: route.priority,
        table: route.table,
        scope: route.scope,
        mtu: route.mtu,
        advmss: route.advmss,
        ..IpRoute::unicast(route.dst, route.gw.or_else(|| gateway(route.dst.is_ipv6())))
    };
    routes.into_iter().map(kernels).collect()
}

/// IPv6 is on where it has an address, and the address outlives a link that is set down and up again.
pub fn ipv6_parameters(
    link: &IfName,
    addresses: &[IpNetwork],
    detect_duplicates: bool,
) -> Vec<(String, String)> {
    if !addresses.iter().any(IpNetwork::is_ipv6) {
        return Vec::new();
    }
    // The link-local address is the kernel's to make: with detection it would be tentative for a second or two.
    let detect = if detect_duplicates { "1" } else { "0" };
    [
        ("net/ipv6/conf/lo/disable_ipv6".to_owned(), "0"),
        (format!("net/ipv6/conf/{link}/disable_ipv6"), "0"),
        (format!("net/ipv6/conf/{link}/keep_addr_on_down"), "1"),
        (format!("net/ipv6/conf/{link}/accept_dad"), detect),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .to_vec()
}
