//! Ports as dockerd writes them into the options of an endpoint.
//! `network::EndpointOptions` holds them; a network driver publishes them.
//! It must never hold a protocol by a number that nobody can publish.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::cni::Protocol;

/// A port that a container listens on (`com.docker.network.endpoint.exposedports`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExposedPort {
    /// Of the port.
    #[serde(rename = "Proto", with = "number")]
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// A port that the user publishes (`com.docker.network.portmap`). The order of a list of them says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortBinding {
    /// Of both ports.
    #[serde(rename = "Proto", with = "number")]
    pub protocol: Protocol,
    /// The container's port.
    #[serde(rename = "Port")]
    pub port: u16,
    /// The host's address; `None`: the network's default.
    #[serde(rename = "HostIP", default, with = "empty_or_address")]
    pub host_ip: Option<IpAddr>,
    /// The host's port, or the first of a range of which one is to be taken; 0: any.
    #[serde(rename = "HostPort", default)]
    pub host_port: u16,
    /// The last of the range; dockerd 20.10 writes 0 beside a port 0, and the port itself beside a single one.
    #[serde(rename = "HostPortEnd", default)]
    pub host_port_end: u16,
}

/// Protocols by their IANA numbers.
mod number {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(
        protocol: &Protocol,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Protocol, D::Error> {
        match u8::deserialize(deserializer)? {
            6 => Ok(Protocol::Tcp),
            17 => Ok(Protocol::Udp),
            132 => Ok(Protocol::Sctp),
            other => Err(serde::de::Error::custom(format!(
                "protocol {other} is not TCP (6), UDP (17) or SCTP (132)"
            ))),
        }
    }
}

/// Go writes an absent address as an empty text.
mod empty_or_address {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(
        address: &Option<IpAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<IpAddr>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        let address = text.parse();
        address
            .map(Some)
            .map_err(|_| serde::de::Error::custom(format!("{text:?} is not an address")))
    }
}
