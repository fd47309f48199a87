//! Subnets: which ones this host uses, and which one a new network can have.
//! `network create` asks for a free one when none is given; `network ls` shows a network's.
//! It must never hand out a subnet that the host routes anywhere or another network uses.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde_json::Value;
use wharfline_spec::cni::ConfList;

use crate::error::{Error, Result};
use crate::home::Home;

/// Where subnets come from: 256 networks of 254 addresses. Neither Docker (172.17 to 172.31, 192.168) nor podman
/// (10.88, 10.89), flannel (10.244) or the usual service ranges (10.96) take it by default.
const POOL: &str = "10.90.0.0/16";
const POOL_FIRST: u32 = 0x0a5a_0000;
const POOL_SUBNETS: u32 = 256;
const PREFIX: u8 = 24;

/// The first /24 of the pool that nothing on this host uses.
pub(crate) fn free_v4(home: &Home) -> Result<Ipv4Network> {
    let mut taken = routed_v4();
    let (known, _) = super::all(home)?;
    for network in &known {
        let used = of_list(&network.list);
        taken.extend(
            used.iter()
                .filter_map(|text| text.parse::<Ipv4Network>().ok()),
        );
    }
    (0..POOL_SUBNETS)
        .filter_map(|number| {
            let first = Ipv4Addr::from(POOL_FIRST + (number << (32 - PREFIX)));
            Ipv4Network::new(first, PREFIX).ok()
        })
        .find(|subnet| !taken.iter().any(|other| other.overlaps(*subnet)))
        .ok_or(Error::NoFreeSubnet(POOL))
}

/// A unique local /64 of random bits, as RFC 4193 section 3.2 asks: a clash is then not to be feared.
pub(crate) fn random_v6(random: [u8; 16]) -> Result<Ipv6Network> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random[..8]);
    bytes[0] = 0xfd;
    bytes[6..8].fill(0);
    Ipv6Network::new(Ipv6Addr::from(bytes), 64).map_err(|cause| Error::BadSubnet {
        given: Ipv6Addr::from(bytes).to_string(),
        problem: cause.to_string(),
    })
}

/// Destinations in the host's main table, the default route excepted. /proc/net/route has them in hexadecimal,
/// in the byte order of the machine.
fn routed_v4() -> Vec<Ipv4Network> {
    // /proc/net is this process's namespace: wharf is single-threaded where it is asked, and in the host's.
    let text = fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    text.lines().skip(1).filter_map(route).collect()
}

fn route(line: &str) -> Option<Ipv4Network> {
    let mut columns = line.split_ascii_whitespace();
    let address = |digits: &str| {
        let raw = u32::from_str_radix(digits, 16).ok()?;
        Some(Ipv4Addr::from(raw.to_ne_bytes()))
    };
    let destination = address(columns.nth(1)?)?;
    let mask = address(columns.nth(5)?)?;
    let network = Ipv4Network::with_netmask(destination, mask).ok()?;
    (network.prefix() > 0).then_some(network)
}

/// Every `subnet` that a list's configuration names, in its order.
pub(crate) fn of_list(list: &ConfList) -> Vec<String> {
    let mut found = Vec::new();
    for plugin in &list.plugins {
        for value in plugin.raw.values() {
            collect(value, &mut found);
        }
    }
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(text) if key == "subnet" => found.push(text.to_owned()),
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}

/// Checks a subnet that the user gave.
pub(crate) fn parse(given: &str) -> Result<IpNetwork> {
    let refuse = |problem: String| Error::BadSubnet {
        given: given.to_owned(),
        problem,
    };
    let subnet: IpNetwork = given.parse().map_err(|_| {
        refuse("is not of the form ADDRESS/PREFIX, as in 10.1.2.0/24 or fd00:1::/64".to_owned())
    })?;
    if subnet.ip() != subnet.network() {
        return Err(refuse(format!(
            "is an address in {}/{}",
            subnet.network(),
            subnet.prefix()
        )));
    }
    let longest = if subnet.is_ipv4() { 30 } else { 126 };
    if subnet.prefix() > longest {
        return Err(refuse(
            "has no room for a gateway and a container".to_owned(),
        ));
    }
    Ok(subnet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_net_route_becomes_a_network() {
        let line = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        #[cfg(target_endian = "little")]
        assert_eq!(route(line), "192.168.0.0/24".parse().ok());
        let default = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(route(default), None);
        assert_eq!(route("nonsense"), None);
    }

    #[test]
    fn a_given_subnet_must_be_a_whole_network_with_room() {
        assert!(parse("10.1.2.0/24").is_ok());
        assert!(parse("fd00:1::/64").is_ok());
        for bad in ["10.1.2.3/24", "10.1.2.0/31", "10.1.2.0", "x", "fd00::/127"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_random_subnet_is_a_unique_local_one() {
        let subnet = random_v6([0xab; 16]).expect("a subnet");
        assert_eq!(subnet.to_string(), "fdab:abab:abab::/64");
    }
}
