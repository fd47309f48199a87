//! Elements of the table that keeps networks apart: who is protected from whom, and what is let through all the same.
//! Docker's networks plan them; `element` stores them.
//! It must never touch the kernel: it knows keys and their bytes only.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::element::{Fields, Key, Protocol, by_family};

/// One element. Interface names are those of the host's namespace; what each does stands in `rules/boundary.nft`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// A link of a network that stands apart: others like it do not reach it, nor it them.
    Network {
        /// The bridge.
        ifname: String,
    },
    /// A link whose containers reach each other by published ports only.
    Secluded {
        /// The bridge.
        ifname: String,
    },
    /// A link that nothing is forwarded from or to.
    Internal {
        /// The bridge.
        ifname: String,
    },
    /// A link of which, in one family, only published ports are reached from elsewhere.
    Protected {
        /// The bridge.
        ifname: String,
        /// Whether it is IPv6 of which.
        ipv6: bool,
    },
    /// A link whose containers answer to ping from elsewhere, in one family.
    Routed {
        /// The bridge.
        ifname: String,
        /// Whether it is IPv6 in which.
        ipv6: bool,
    },
    /// A container's port that is reached from elsewhere at its own address.
    Open {
        /// Of the port.
        protocol: Protocol,
        /// The container's address and port.
        to: SocketAddr,
    },
    /// An interface from which all of a network is reached.
    Trusted {
        /// The interface.
        from: String,
        /// The bridge.
        ifname: String,
    },
}

impl Boundary {
    pub(super) fn set(&self) -> &'static str {
        match self {
            Self::Network { .. } => "networks",
            Self::Secluded { .. } => "secluded",
            Self::Internal { .. } => "internal",
            Self::Protected { ipv6, .. } => by_family(*ipv6, "protected4", "protected6"),
            Self::Routed { ipv6, .. } => by_family(*ipv6, "routed4", "routed6"),
            Self::Open { to, .. } => by_family(to.is_ipv6(), "open4", "open6"),
            Self::Trusted { .. } => "trusted",
        }
    }

    pub(super) fn key(&self) -> Key {
        let key = Key::default();
        match self {
            Self::Network { ifname } => key.name(ifname).name(ifname),
            Self::Secluded { ifname }
            | Self::Internal { ifname }
            | Self::Protected { ifname, .. }
            | Self::Routed { ifname, .. } => key.name(ifname),
            Self::Open { protocol, to } => key.address(to.ip()).protocol(*protocol).port(to.port()),
            Self::Trusted { from, ifname } => key.name(from).name(ifname),
        }
    }

    /// The element that a dump of `set` shows as these fields; `None`: not an element of ours.
    pub(super) fn read(set: &str, fields: &mut Fields<'_>) -> Option<Self> {
        let ipv6 = set.ends_with('6');
        Some(match set.trim_end_matches(['4', '6']) {
            "networks" => Self::Network {
                ifname: fields.name()?,
            },
            "secluded" => Self::Secluded {
                ifname: fields.name()?,
            },
            "internal" => Self::Internal {
                ifname: fields.name()?,
            },
            "protected" => Self::Protected {
                ifname: fields.name()?,
                ipv6,
            },
            "routed" => Self::Routed {
                ifname: fields.name()?,
                ipv6,
            },
            "open" => {
                let address = fields.address(ipv6)?;
                let protocol = fields.protocol()?;
                let to = SocketAddr::new(address, fields.port()?);
                Self::Open { protocol, to }
            }
            "trusted" => Self::Trusted {
                from: fields.name()?,
                ifname: fields.name()?,
            },
            _ => return None,
        })
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { ifname } => write!(f, "{ifname} . {ifname}"),
            Self::Secluded { ifname }
            | Self::Internal { ifname }
            | Self::Protected { ifname, .. }
            | Self::Routed { ifname, .. } => write!(f, "{ifname}"),
            Self::Open { protocol, to } => write!(f, "{} . {protocol} . {}", to.ip(), to.port()),
            Self::Trusted { from, ifname } => write!(f, "{from} . {ifname}"),
        }
    }
}
