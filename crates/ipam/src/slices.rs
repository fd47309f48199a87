//! A subnet for a network that names none: the first small slice that nothing on the host uses or routes to.
//! Called by `pools` with what is taken; decides only.
//! It must never touch the kernel: the routes are the caller's to list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::address::{Addr, Span};
use crate::range::span_of;

/// Prefix length of an IPv4 slice: 254 containers, and thousands of networks (Docker's own are /16, some thirty of them).
const SLICE_V4: u8 = 24;
/// Prefix length of an IPv6 slice (RFC 4291, section 2.5.1).
const SLICE_V6: u8 = 64;
/// A route shorter than this is a way out, not a place: the default route, and the halves of the Internet that VPNs set
/// in its stead (0.0.0.0/1 and 128.0.0.0/1).
const PLACE: u8 = 8;

/// Where IPv4 slices are cut from unless the operator says: private space (RFC 1918), first where few LANs are.
#[must_use]
pub fn default_bases() -> [IpNetwork; 3] {
    let network = |a, b, prefix| {
        let ip = Ipv4Addr::new(a, b, 0, 0);
        ipnetwork::Ipv4Network::new_checked(ip, prefix).map(IpNetwork::V4)
    };
    let all = [
        network(10, 192, 12),
        network(172, 16, 12),
        network(192, 168, 16),
    ];
    all.map(|network| network.unwrap_or(IpNetwork::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
}

/// The unique local prefix of a host (RFC 4193): fd and 40 bits that are its own.
#[must_use]
pub fn unique_local(global_id: u64) -> IpNetwork {
    let address = (0xfd_u128 << 120) | (u128::from(global_id & 0xff_ffff_ffff) << 80);
    let network = ipnetwork::Ipv6Network::new_checked(Ipv6Addr::from(address), 48);
    network.map_or(
        IpNetwork::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        IpNetwork::V6,
    )
}

/// The first slice of the bases that overlaps with nothing taken. Routes that are a way out do not count as taken.
#[must_use]
pub fn first_free(bases: &[IpNetwork], taken: &[IpNetwork]) -> Option<IpNetwork> {
    let busy = merged(taken);
    bases.iter().find_map(|base| free_in(*base, &busy))
}

fn free_in(base: IpNetwork, busy: &[Span]) -> Option<IpNetwork> {
    let (width, slice) = if base.is_ipv4() {
        (32, SLICE_V4)
    } else {
        (128, SLICE_V6)
    };
    let prefix = slice.max(base.prefix());
    let size = 1u128 << (width - u32::from(prefix));
    let whole = span_of(base);
    let mut first = whole.first.number();
    loop {
        let last = first.checked_add(size - 1)?;
        if last > whole.last.number() {
            return None;
        }
        // The first busy span that does not end before the slice begins.
        let at = busy.partition_point(|span| span.last.number() < first);
        match busy.get(at) {
            Some(span) if span.first.number() <= last => {
                // On to the slice after the span: its end rounded up.
                let behind = span.last.number().checked_add(1)?;
                first = behind.checked_next_multiple_of(size)?;
            }
            _ => return IpNetwork::new(Addr::from_number(first).ip(), prefix).ok(),
        }
    }
}

/// The taken spans in order, each address in one of them.
fn merged(taken: &[IpNetwork]) -> Vec<Span> {
    let places = taken.iter().filter(|network| network.prefix() >= PLACE);
    let mut spans: Vec<Span> = places.map(|network| span_of(*network)).collect();
    spans.sort_unstable_by_key(|span| span.first);
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(before) if before.last >= span.first => before.last = before.last.max(span.last),
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNetwork> {
        texts
            .iter()
            .map(|t| t.parse().expect("a network"))
            .collect()
    }

    fn free(bases: &[&str], taken: &[&str]) -> Option<String> {
        first_free(&networks(bases), &networks(taken)).map(|network| network.to_string())
    }

    #[test]
    fn a_slice_is_the_first_that_no_route_covers_or_lies_in() {
        let base = ["10.192.0.0/12"];
        assert_eq!(free(&base, &[]).as_deref(), Some("10.192.0.0/24"));
        let taken = ["10.192.0.0/25", "10.192.1.7/32", "10.192.2.0/23"];
        assert_eq!(free(&base, &taken).as_deref(), Some("10.192.4.0/24"));
        // A VPN that takes the whole of 10/8: on to the next base.
        let bases = ["10.192.0.0/12", "172.16.0.0/12"];
        let taken = ["10.0.0.0/8", "172.16.0.0/16"];
        assert_eq!(free(&bases, &taken).as_deref(), Some("172.17.0.0/24"));
        assert_eq!(free(&base, &["10.0.0.0/8"]), None);
    }

    #[test]
    fn ways_out_take_nothing() {
        let taken = ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0"];
        assert_eq!(
            free(&["10.192.0.0/12"], &taken).as_deref(),
            Some("10.192.0.0/24")
        );
    }

    #[test]
    fn more_networks_than_docker_has_prefixes_for() {
        let bases = default_bases();
        let mut taken = networks(&["10.0.0.0/9", "172.17.0.0/16"]);
        for _ in 0..500 {
            let next = first_free(&bases, &taken).expect("a slice");
            let overlap = taken
                .iter()
                .any(|other| span_of(*other).overlaps(&span_of(next)));
            assert!(!overlap, "{next} is taken");
            taken.push(next);
        }
    }

    #[test]
    fn a_host_has_ipv6_slices_of_its_own() {
        let base = unique_local(0x12_3456_789a);
        assert_eq!(base.to_string(), "fd12:3456:789a::/48");
        let first = first_free(&[base], &[]).expect("a slice");
        assert_eq!(first.to_string(), "fd12:3456:789a::/64");
        let second = first_free(&[base], &[first]).expect("a slice");
        assert_eq!(second.to_string(), "fd12:3456:789a:1::/64");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_the_slice_is_free(taken in proptest::collection::vec((any::<u16>(), 12u8..=32), 0..60)) {
            let taken: Vec<IpNetwork> = taken.into_iter().map(|(bits, prefix)| {
                let ip = Ipv4Addr::from(0x0ac0_0000 | (u32::from(bits) << 4));
                let network = ipnetwork::Ipv4Network::new(ip, prefix).expect("a prefix");
                IpNetwork::new(network.network().into(), prefix).expect("a network")
            }).collect();
            if let Some(slice) = first_free(&networks(&["10.192.0.0/12"]), &taken) {
                prop_assert!(taken.iter().all(|other| !span_of(*other).overlaps(&span_of(slice))));
            }
        }
    }
}
