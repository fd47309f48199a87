//! Elements of the table that keeps networks apart: who is protected from whom, and what is let through all the same.
//! Docker's networks plan them; `element` stores them.
//! It must never touch the kernel: it knows keys and their bytes only.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

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
    /// What is first sent from a link leaves with this address of the host's.
    Source {
        /// The bridge.
        ifname: String,
        /// The address.
        source: IpAddr,
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
            Self::Source { source, .. } => by_family(source.is_ipv6(), "source4", "source6"),
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
            | Self::Routed { ifname, .. }
            | Self::Source { ifname, .. } => key.name(ifname),
            Self::Open { protocol, to } => key.address(to.ip()).protocol(*protocol).port(to.port()),
            Self::Trusted { from, ifname } => key.name(from).name(ifname),
        }
    }

    /// What a map maps the key to.
    pub(super) fn data(&self) -> Option<Key> {
        match self {
            Self::Source { source, .. } => Some(Key::default().address(*source)),
            _ => None,
        }
    }

    /// The element that a dump of `set` shows as these bytes; `None`: not an element of ours.
    pub(super) fn read(set: &str, key: &[u8], data: Option<&[u8]>) -> Option<Self> {
        let mut fields = Fields(key);
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
            "source" => Self::Source {
                ifname: fields.name()?,
                source: Fields(data?).address(ipv6)?,
            },
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
            Self::Source { ifname, source } => write!(f, "{ifname} : {source}"),
            Self::Trusted { from, ifname } => write!(f, "{from} . {ifname}"),
        }
    }
}
