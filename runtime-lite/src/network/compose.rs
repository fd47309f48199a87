//! A configuration list from the options of `wharf network create`: bridge, host-local, portmap.
//! `network create` writes what it composes; the plugins read it.
//! It must never use a key that only wharf understands: any CNI runtime can use the file (`keepBridge` is our bridge
//! plugin's; the reference's passes over it).

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;
use serde_json::{Value, json};
use wharfline_spec::cni::{ConfList, Version};
use wharfline_spec::{IfName, NetworkName};

use super::subnet;
use crate::error::{Error, Result};
use crate::home::Home;

/// What the user wants of a network.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) name: NetworkName,
    pub(crate) subnets: Vec<IpNetwork>,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) bridge: Option<IfName>,
    pub(crate) mtu: Option<u32>,
    pub(crate) ipv6: bool,
    pub(crate) internal: bool,
    pub(crate) isolated: bool,
}

impl Wish {
    /// A network with nothing but a name: everything else is chosen.
    pub(crate) fn named(name: NetworkName) -> Wish {
        Wish {
            name,
            subnets: Vec::new(),
            gateways: Vec::new(),
            bridge: None,
            mtu: None,
            ipv6: false,
            internal: false,
            isolated: false,
        }
    }
}

/// The configuration list, in the newest version that all its plugins know.
pub(crate) fn conflist(home: &Home, wish: &Wish) -> Result<Value> {
    let ranges = ranges(&subnets(home, wish)?, &wish.gateways)?;
    let mut document = json!({
        "cniVersion": Version::V1_0_0.as_str(),
        "name": wish.name.as_str(),
        "plugins": [
            bridge(wish, &ranges)?,
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    });
    let list =
        ConfList::parse(document.to_string().as_bytes()).map_err(|source| Error::Config {
            object: format!("network {}", wish.name),
            source,
        })?;
    if let Some(newest) = home.client().versions(&list)?.last() {
        document["cniVersion"] = newest.as_str().into();
    }
    Ok(document)
}

fn subnets(home: &Home, wish: &Wish) -> Result<Vec<IpNetwork>> {
    let mut subnets = wish.subnets.clone();
    if subnets.is_empty() {
        subnets.push(subnet::free_v4(home)?.into());
    }
    if wish.ipv6 && subnets.iter().all(IpNetwork::is_ipv4) {
        subnets.push(subnet::random_v6(random()?)?.into());
    }
    Ok(subnets)
}

fn random() -> Result<[u8; 16]> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    fs::File::open(path)
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(Error::file("read", path))?;
    Ok(bytes)
}

/// One range set per subnet: each gives the container one address.
fn ranges(subnets: &[IpNetwork], gateways: &[IpAddr]) -> Result<Vec<Value>> {
    if let Some(stray) = gateways
        .iter()
        .find(|gateway| !subnets.iter().any(|subnet| subnet.contains(**gateway)))
    {
        return Err(Error::BadSubnet {
            given: stray.to_string(),
            problem: "the gateway is in none of the network's subnets".to_owned(),
        });
    }
    let range = |subnet: &IpNetwork| {
        let mut range = json!({"subnet": subnet.to_string()});
        if let Some(gateway) = gateways.iter().find(|gateway| subnet.contains(**gateway)) {
            range["gateway"] = gateway.to_string().into();
        }
        json!([range])
    };
    Ok(subnets.iter().map(range).collect())
}

fn bridge(wish: &Wish, ranges: &[Value]) -> Result<Value> {
    let name = match &wish.bridge {
        Some(name) => name.clone(),
        None => bridge_name(&wish.name)?,
    };
    let mut ipam = json!({"type": "host-local", "ranges": ranges});
    if !wish.internal {
        ipam["routes"] = default_routes(ranges);
    }
    let mut plugin = json!({
        "type": "bridge",
        "bridge": name.as_str(),
        "isGateway": true,
        "ipMasq": !wish.internal,
        "hairpinMode": true,
        // The bridge goes with the last container and comes with the next: nothing is left for `network rm` to remove.
        "keepBridge": false,
        "ipam": ipam,
        // For --network NAME:ip=..,mac=..
        "capabilities": {"ips": true, "mac": true},
    });
    if let Some(mtu) = wish.mtu {
        plugin["mtu"] = mtu.into();
    }
    if wish.isolated {
        plugin["portIsolation"] = true.into();
    }
    Ok(plugin)
}

fn default_routes(ranges: &[Value]) -> Value {
    let is_v6 = |range: &Value| {
        range[0]["subnet"]
            .as_str()
            .is_some_and(|subnet| subnet.contains(':'))
    };
    let mut routes = Vec::new();
    if !ranges.iter().all(is_v6) {
        routes.push(json!({"dst": "0.0.0.0/0"}));
    }
    if ranges.iter().any(is_v6) {
        routes.push(json!({"dst": "::/0"}));
    }
    Value::Array(routes)
}

/// `wl-` and the network's name; a name that does not fit into fifteen bytes is replaced by its hash.
fn bridge_name(network: &NetworkName) -> Result<IfName> {
    let plain = format!("wl-{network}");
    if let Ok(name) = IfName::new(&plain) {
        return Ok(name);
    }
    let mut hasher = DefaultHasher::new();
    network.as_str().hash(&mut hasher);
    let digits = format!("{:016x}", hasher.finish());
    Ok(IfName::new(&format!("wl-{}", &digits[..12]))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(name: &str) -> Wish {
        Wish::named(NetworkName::new(name).expect("a name"))
    }

    #[test]
    fn a_bridge_is_named_after_its_network_if_that_fits() {
        let name = |network: &str| {
            bridge_name(&NetworkName::new(network).expect("a name"))
                .expect("a bridge name")
                .to_string()
        };
        assert_eq!(name("web"), "wl-web");
        assert_eq!(name("a-rather-long-network").len(), 15);
        assert_ne!(name("a-rather-long-network"), name("a-rather-long-netwerk"));
    }

    #[test]
    fn an_internal_network_has_neither_default_route_nor_masquerading() {
        let mut internal = wish("db");
        internal.internal = true;
        let plugin = bridge(&internal, &[json!([{"subnet": "10.1.0.0/24"}])]).expect("a plugin");
        assert_eq!(plugin["ipMasq"], false);
        assert!(plugin["ipam"].get("routes").is_none());
    }

    #[test]
    fn each_family_gets_its_default_route() {
        let ranges = [
            json!([{"subnet": "10.1.0.0/24"}]),
            json!([{"subnet": "fd00::/64"}]),
        ];
        assert_eq!(
            default_routes(&ranges),
            json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
        );
        assert_eq!(default_routes(&ranges[1..]), json!([{"dst": "::/0"}]));
    }

    #[test]
    fn a_gateway_outside_every_subnet_is_refused() {
        let subnets = ["10.1.0.0/24".parse().expect("a subnet")];
        let inside = ["10.1.0.9".parse().expect("an address")];
        let outside = ["10.2.0.9".parse().expect("an address")];
        assert_eq!(
            ranges(&subnets, &inside).expect("ranges"),
            [json!([{"subnet": "10.1.0.0/24", "gateway": "10.1.0.9"}])]
        );
        assert!(ranges(&subnets, &outside).is_err());
    }
}
