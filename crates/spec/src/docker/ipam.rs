//! `IpamDriver`: pools of addresses, and addresses out of them.
//! Bodies as moby's `daemon/libnetwork/ipams/remote/api` and dockerd 20.10 write them (tests: captured requests).
//! It must never hold an address that is only text: what does not parse is refused with the body.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::or_null;

/// Value of the option `RequestAddressType` when the address is to be a subnet's gateway.
pub const GATEWAY: &str = "com.docker.network.gateway";

/// The answer to `GetCapabilities`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Capabilities {
    /// Whether every request for an address must name a MAC.
    #[serde(rename = "RequiresMACAddress")]
    pub requires_mac: bool,
    /// Whether dockerd must repeat all requests after a restart: not where leases outlive one.
    #[serde(rename = "RequiresRequestReplay")]
    pub requires_replay: bool,
}

/// The answer to `GetDefaultAddressSpaces`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddressSpaces {
    /// For networks of one host.
    pub local_default_address_space: &'static str,
    /// For networks of a swarm.
    pub global_default_address_space: &'static str,
}

/// `RequestPool`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestPool {
    /// Pools of one space never overlap.
    pub address_space: String,
    /// The subnet that the user named.
    #[serde(default, deserialize_with = "or_empty")]
    pub pool: Option<IpNetwork>,
    /// The part of it that containers get addresses out of (`--ip-range`).
    #[serde(default, deserialize_with = "or_empty")]
    pub sub_pool: Option<IpNetwork>,
    /// The user's `--ipam-opt`.
    #[serde(default, deserialize_with = "or_null")]
    pub options: Map<String, Value>,
    /// Which family, where no pool is named.
    #[serde(default)]
    pub v6: bool,
}

/// The answer to `RequestPool`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// What later calls name it by.
    #[serde(rename = "PoolID")]
    pub id: String,
    /// The subnet.
    #[serde(rename = "Pool")]
    pub subnet: IpNetwork,
    /// What people see of it.
    #[serde(rename = "Data")]
    pub data: Map<String, Value>,
}

/// `ReleasePool`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReleasePool {
    /// The pool.
    #[serde(rename = "PoolID")]
    pub id: String,
}

/// `RequestAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RequestAddress {
    /// The pool.
    #[serde(rename = "PoolID")]
    pub pool: String,
    /// The address that is wanted; none: any.
    #[serde(rename = "Address", default, deserialize_with = "or_empty")]
    pub address: Option<IpAddr>,
    /// `RequestAddressType`, `com.docker.network.endpoint.macaddress`, `com.docker.network.endpoint.name`.
    #[serde(rename = "Options", default, deserialize_with = "or_null")]
    pub options: Map<String, Value>,
}

/// The answer to `RequestAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Address {
    /// The address with its subnet's prefix.
    pub address: IpNetwork,
    /// What people see of it.
    pub data: Map<String, Value>,
}

/// `ReleaseAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReleaseAddress {
    /// The pool.
    #[serde(rename = "PoolID")]
    pub pool: String,
    /// The address.
    #[serde(rename = "Address")]
    pub address: IpAddr,
}

/// Go writes what is absent as an empty text.
fn or_empty<'de, D: Deserializer<'de>, T: std::str::FromStr>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    T::Err: std::fmt::Display,
{
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse();
    read.map(Some)
        .map_err(|e| serde::de::Error::custom(format!("{text:?}: {e}")))
}
