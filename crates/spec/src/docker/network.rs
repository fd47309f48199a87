//! `NetworkDriver`: networks, endpoints, and what is published of them.
//! Bodies as moby's `daemon/libnetwork/drivers/remote/api` and dockerd 20.10 write them (tests: captured requests).
//! It must never hold an identifier that could bend a path: they are checked names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::or_null;
use crate::names::{ContainerId, NetworkName};

/// Options by name, as the user or dockerd set them.
pub type Options = Map<String, Value>;

/// The answer to `GetCapabilities`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Capabilities {
    /// `local`: this host decides alone; `global`: a swarm does.
    pub scope: &'static str,
    /// How far containers reach each other.
    pub connectivity_scope: &'static str,
}

/// `CreateNetwork`. Kept on disk as it came, so that a later release reads options that this one has refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNetwork {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network: NetworkName,
    /// `com.docker.network.*` of dockerd, and the user's own below `com.docker.network.generic`.
    #[serde(rename = "Options", default, deserialize_with = "or_null")]
    pub options: Options,
    /// Its IPv4 subnets.
    #[serde(rename = "IPv4Data", default, deserialize_with = "or_null")]
    pub ipv4: Vec<Subnet>,
    /// Its IPv6 subnets.
    #[serde(rename = "IPv6Data", default, deserialize_with = "or_null")]
    pub ipv6: Vec<Subnet>,
}

/// A subnet as IPAM gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subnet {
    /// Whose pool it is.
    #[serde(default)]
    pub address_space: String,
    /// The subnet; `0.0.0.0/0` of the null driver is none.
    pub pool: IpNetwork,
    /// The gateway's address with the subnet's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpNetwork>,
    /// Addresses that no container gets, by name.
    #[serde(default, deserialize_with = "or_null")]
    pub aux_addresses: BTreeMap<String, IpNetwork>,
}

/// A call about a network: `DeleteNetwork`, `FreeNetwork`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OfNetwork {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network: NetworkName,
}

/// A call about an endpoint: `DeleteEndpoint`, `EndpointOperInfo`, `Leave`, `RevokeExternalConnectivity`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OfEndpoint {
    /// Its network.
    #[serde(rename = "NetworkID")]
    pub network: NetworkName,
    /// The endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint: ContainerId,
}

/// `CreateEndpoint`, and `ProgramExternalConnectivity`, which has no interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CreateEndpoint {
    /// Whose it is.
    #[serde(flatten)]
    pub of: OfEndpoint,
    /// What is settled already: addresses by IPAM, the MAC by the user.
    #[serde(rename = "Interface", default, deserialize_with = "or_null")]
    pub interface: EndpointInterface,
    /// Ports, and what the user gave for this endpoint.
    #[serde(rename = "Options", default, deserialize_with = "or_null")]
    pub options: Options,
}

/// What is known of an endpoint's interface; empty texts are open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointInterface {
    /// IPv4 address with prefix.
    #[serde(rename = "Address", default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// IPv6 address with prefix.
    #[serde(
        rename = "AddressIPv6",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub address_ipv6: String,
    /// Hardware address.
    #[serde(
        rename = "MacAddress",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub mac: String,
}

/// The answer to `CreateEndpoint`: only what the request left open may be in it (clients: libnetwork refuses the rest).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointCreated {
    /// What the driver settled.
    pub interface: EndpointInterface,
}

/// `Join`: the endpoint gets its container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Join {
    /// Whose it is.
    #[serde(flatten)]
    pub of: OfEndpoint,
    /// Path of the container's network namespace.
    #[serde(rename = "SandboxKey")]
    pub sandbox: String,
    /// As at `CreateEndpoint`.
    #[serde(rename = "Options", default, deserialize_with = "or_null")]
    pub options: Options,
}

/// The answer to `Join`: which link dockerd is to move, and the way out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Joined {
    /// The link.
    #[serde(rename = "InterfaceName")]
    pub link: LinkName,
    /// The IPv4 gateway.
    #[serde(rename = "Gateway", skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The IPv6 gateway.
    #[serde(rename = "GatewayIPv6", skip_serializing_if = "Option::is_none")]
    pub gateway_ipv6: Option<IpAddr>,
    /// Further routes.
    #[serde(rename = "StaticRoutes", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<StaticRoute>,
    /// That dockerd must not give the container a leg on docker_gwbridge because it has no gateway.
    #[serde(rename = "DisableGatewayService")]
    pub disable_gateway_service: bool,
}

/// A route over the link itself (libnetwork's `types.CONNECTED`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StaticRoute {
    /// Where it leads.
    pub destination: IpNetwork,
    /// 0: by a next hop; 1: over the link.
    pub route_type: u8,
    /// The next hop; empty over the link.
    pub next_hop: String,
}

impl StaticRoute {
    /// A route over the link.
    #[must_use]
    pub fn on_link(destination: IpNetwork) -> Self {
        Self {
            destination,
            route_type: 1,
            next_hop: String::new(),
        }
    }
}

/// A link of the host's, and what it is to be called inside.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LinkName {
    /// Its name on the host.
    pub src_name: String,
    /// What its name inside begins with; dockerd adds the number.
    pub dst_prefix: String,
}

/// The answer to `EndpointOperInfo`: what people see of a running endpoint.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperInfo {
    /// By name.
    pub value: Options,
}

/// The answer to `AllocateNetwork`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Allocated {
    /// Options that every host of the swarm is to see.
    pub options: Options,
}
