//! The MTU of the way out: what a bridge that we make should have, so that nothing must be fragmented there.
//! The driver observes it when no MTU is given and the bridge is not there yet.
//! It must never send a packet: it asks the kernel which route it would take, rules and tables included.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wharfline_core::error::Result;
use wharfline_kernel::RouteSocket;
use wharfline_kernel::link::LinkKey;

/// Public addresses, which nothing but a default route or a policy for all leads to. Those of documentation would not
/// do: labs use them.
const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
];

/// The least MTU of the ways out, by either family; `None` where nothing leads outside.
pub(crate) fn mtu(host: &RouteSocket) -> Result<Option<u32>> {
    let mut least = None;
    for outside in OUTSIDE {
        let Some(egress) = host.egress(outside)? else {
            continue;
        };
        if egress.local {
            continue;
        }
        let Some(link) = host.link(LinkKey::Index(egress.link))? else {
            continue;
        };
        let mtu = egress.mtu.unwrap_or(link.mtu).min(link.mtu);
        least = Some(least.map_or(mtu, |other: u32| other.min(mtu)));
    }
    Ok(least)
}
