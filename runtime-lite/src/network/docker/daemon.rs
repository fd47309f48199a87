//! What dockerd knows and tells no driver, asked over its socket: names of networks and containers, and which addresses are theirs.
//! The parent module puts names in the place of identifiers; `gc` looks for addresses that dockerd has forgotten.
//! It must never be waited for: a dockerd that does not answer at once knows nothing.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::plugin::{Address, exchange};

/// Where dockerd listens (docs.docker.com, "dockerd", option -H).
const SOCKET: &str = "/run/docker.sock";
/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(2);

/// Names of networks by their identifiers.
pub(super) fn network_names() -> HashMap<String, String> {
    let Some(Value::Array(networks)) = ask("/networks") else {
        return HashMap::new();
    };
    let text = |network: &Value, key: &str| network[key].as_str().map(str::to_owned);
    networks
        .iter()
        .filter_map(|network| Some((text(network, "Id")?, text(network, "Name")?)))
        .collect()
}

/// Containers of a network by their endpoints: identifier and name.
pub(super) fn container_names(network: &str) -> HashMap<String, (String, String)> {
    let Some(about) = ask(&format!("/networks/{network}")) else {
        return HashMap::new();
    };
    let containers = about["Containers"].as_object().into_iter().flatten();
    containers
        .filter_map(|(id, container)| {
            let endpoint = container["EndpointID"].as_str()?.to_owned();
            let name = container["Name"].as_str()?.to_owned();
            Some((endpoint, (id.clone(), name)))
        })
        .collect()
}

/// A subnet of one of dockerd's networks.
#[derive(Debug)]
pub(crate) struct Subnet {
    pub(crate) network: IpNetwork,
    /// The part that containers get addresses out of (`--ip-range`).
    pub(crate) part: Option<IpNetwork>,
    /// Every address of the network that dockerd speaks of.
    pub(crate) known: HashSet<IpAddr>,
}

/// The subnets of this host's own networks whose addresses are given by an IPAM driver.
pub(crate) fn subnets_of(driver: &str) -> Vec<Subnet> {
    let Some(Value::Array(networks)) = ask("/networks") else {
        return Vec::new();
    };
    let ids = networks.iter().filter_map(|network| network["Id"].as_str());
    let told = ids.filter_map(|id| ask(&format!("/networks/{id}")));
    told.filter(|network| network["IPAM"]["Driver"] == driver && network["Scope"] == "local")
        .flat_map(|network| subnets(&network))
        .collect()
}

/// As the Engine's API tells of a network (`GET /networks/{id}`).
fn subnets(network: &Value) -> Vec<Subnet> {
    let ipam = network["IPAM"]["Config"].as_array().into_iter().flatten();
    let auxiliary = ipam
        .clone()
        .filter_map(|one| one["AuxiliaryAddresses"].as_object());
    let gateways = ipam.clone().map(|one| &one["Gateway"]);
    let containers = network["Containers"].as_object().into_iter().flatten();
    let of_containers = containers.flat_map(|(_, one)| [&one["IPv4Address"], &one["IPv6Address"]]);
    let all = auxiliary
        .flat_map(|all| all.values())
        .chain(gateways)
        .chain(of_containers);
    let known: HashSet<IpAddr> = all.filter_map(parsed).map(|at| at.ip()).collect();
    ipam.filter_map(|one| {
        let whole = |at: IpNetwork| IpNetwork::new(at.network(), at.prefix()).ok();
        Some(Subnet {
            network: parsed(&one["Subnet"]).and_then(whole)?,
            part: parsed(&one["IPRange"]).and_then(whole),
            known: known.clone(),
        })
    })
    .collect()
}

/// An address, with a prefix or without.
fn parsed(text: &Value) -> Option<IpNetwork> {
    text.as_str()?.parse().ok()
}

fn ask(path: &str) -> Option<Value> {
    let dockerd = Address::Unix(SOCKET.into());
    exchange::get(&dockerd, path, Instant::now() + WITHIN).ok()
}
