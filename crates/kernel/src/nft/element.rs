//! What is particular to a network or an attachment, as one element of a set or map of ours.
//! Drivers plan them, records keep them, `Nft` adds, looks up and deletes them.
//! It must never touch the kernel: it knows keys and their bytes only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::boundary::Boundary;
use super::table::{Conditions, Table};

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission control protocol, number 6.
    Tcp,
    /// User datagram protocol, number 17.
    Udp,
    /// Stream control transmission protocol, number 132.
    Sctp,
}

impl Protocol {
    /// The IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|protocol| protocol.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// One element. Interface names are those of the host's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    /// A routed interface of ours (a bridge): what passes it bears the mark that foreign firewalls let through,
    /// and a published port reached from its own link is masqueraded.
    Link {
        /// The interface.
        ifname: String,
    },
    /// ipMasq: what comes from `subnet` over `ifname` and leaves by another interface is masqueraded.
    Masquerade {
        /// The interface that the subnet is behind.
        ifname: String,
        /// The subnet; host bits are ignored.
        subnet: IpNetwork,
    },
    /// ipMasq of a container behind a link of its own: what comes from `address` over `ifname` is masqueraded, unless it
    /// stays within its subnet.
    MasqueradeHost {
        /// The interface that the container is behind.
        ifname: String,
        /// Its address.
        address: IpAddr,
    },
    /// A subnet whose containers reach each other over links of their own without being masqueraded.
    Within {
        /// The subnet; host bits are ignored.
        subnet: IpNetwork,
    },
    /// A port of this host, translated to a container's.
    Published {
        /// Of the port.
        protocol: Protocol,
        /// The host address; absent: every local address of the target's family.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<IpAddr>,
        /// The host port.
        port: u16,
        /// The container's address and port.
        to: SocketAddr,
        /// What else must hold; the port then lives in a table of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        conditions: Option<Conditions>,
    },
    /// Where the host's own ::1 seems to come from when it asks this published port; the container answers to it.
    LoopbackSource {
        /// Of the port.
        protocol: Protocol,
        /// The host port.
        port: u16,
        /// An address of the host.
        source: Ipv6Addr,
    },
    /// Whoever reaches this published target is masqueraded (portmap's `masqAll`).
    MasqueradeAll {
        /// Of the port.
        protocol: Protocol,
        /// The container's address and port.
        to: SocketAddr,
    },
    /// Nobody who reaches this published target is masqueraded (portmap's `snat: false`).
    KeepSource {
        /// Of the port.
        protocol: Protocol,
        /// The container's address and port.
        to: SocketAddr,
    },
    /// A source address that a guarded port may use.
    BoundMac {
        /// The bridge port.
        ifname: String,
        /// The Ethernet address.
        mac: [u8; 6],
    },
    /// A bridge port whose frames from any but its bound addresses are counted and dropped.
    Guarded {
        /// The bridge port.
        ifname: String,
    },
    /// A bridge port whose frames conntrack is not to see on the bridge: it sees them where they are routed.
    Untracked {
        /// The bridge port.
        ifname: String,
    },
    /// A bridge port isolated from its like on every bridge of a cascade.
    Isolated {
        /// The bridge port.
        ifname: String,
    },
    /// A bridge port that leads to another bridge of the cascade.
    Cascade {
        /// The bridge port.
        ifname: String,
    },
    /// What keeps networks apart.
    Boundary(Boundary),
}

/// Where an element goes and as which bytes.
#[derive(PartialEq, Eq)]
pub(super) struct Place {
    pub(super) set: &'static str,
    pub(super) key: Vec<u8>,
    /// The end of the key's interval, where the set has intervals; inclusive in every field.
    pub(super) key_end: Option<Vec<u8>>,
    /// What a map maps the key to.
    pub(super) data: Option<Vec<u8>>,
}

/// Fields of a concatenated key, each padded to a multiple of four bytes (nf_tables.h, `NFT_REG32_SIZE`).
#[derive(Default)]
pub(super) struct Key(Vec<u8>);

impl Key {
    fn bytes(mut self, field: &[u8]) -> Self {
        self.0.extend_from_slice(field);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn name(self, ifname: &str) -> Self {
        let mut field = [0; 16];
        let length = ifname.len().min(15);
        field[..length].copy_from_slice(&ifname.as_bytes()[..length]);
        self.bytes(&field)
    }

    pub(super) fn protocol(self, protocol: Protocol) -> Self {
        self.bytes(&[protocol.number()])
    }

    pub(super) fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
    }

    pub(super) fn port(self, port: u16) -> Self {
        self.bytes(&port.to_be_bytes())
    }

    fn socket(self, socket: &SocketAddr) -> Self {
        self.address(socket.ip()).port(socket.port())
    }
}

/// Takes the fields of a key apart again.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let field = self.0.get(..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..)?;
        Some(field)
    }

    pub(super) fn name(&mut self) -> Option<String> {
        self.take(16).map(super::wire::text)
    }

    pub(super) fn protocol(&mut self) -> Option<Protocol> {
        Protocol::of(self.take(1)?[0])
    }

    pub(super) fn address(&mut self, v6: bool) -> Option<IpAddr> {
        Some(if v6 {
            Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?).ok()?).into()
        } else {
            Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?).ok()?).into()
        })
    }

    pub(super) fn port(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn socket(&mut self, v6: bool) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address(v6)?, self.port()?))
    }
}

pub(super) fn by_family(v6: bool, four: &'static str, six: &'static str) -> &'static str {
    if v6 { six } else { four }
}

impl Element {
    /// The table that it lives in.
    pub fn table(&self) -> Table {
        match self {
            Element::Published {
                conditions: Some(conditions),
                ..
            } => Table::Conditional(conditions.clone()),
            Element::BoundMac { .. }
            | Element::Guarded { .. }
            | Element::Untracked { .. }
            | Element::Isolated { .. }
            | Element::Cascade { .. } => Table::Bridge,
            Element::Boundary(_) => Table::Boundary,
            _ => Table::Main,
        }
    }

    /// Whether several attachments of a network may need one and the same element.
    pub fn is_shared(&self) -> bool {
        matches!(
            self,
            Element::Link { .. } | Element::Masquerade { .. } | Element::Within { .. }
        )
    }

    /// Whether both stand under one key, be it with other data.
    pub(super) fn same_key(&self, other: &Self) -> bool {
        let (mine, others) = (self.place(), other.place());
        self.table() == other.table() && mine.set == others.set && mine.key == others.key
    }

    pub(super) fn place(&self) -> Place {
        let one = Key::default();
        let (key, key_end, data) = match self {
            Element::Link { ifname } => (one.name(ifname).name(ifname), None, None),
            Element::Masquerade { ifname, subnet } => (
                one.name(ifname).address(subnet.network()),
                Some(Key::default().name(ifname).address(subnet.broadcast())),
                None,
            ),
            Element::MasqueradeHost { ifname, address } => {
                (one.name(ifname).address(*address), None, None)
            }
            Element::Within { subnet } => {
                let (first, last) = (subnet.network(), subnet.broadcast());
                (
                    one.address(first).address(first),
                    Some(Key::default().address(last).address(last)),
                    None,
                )
            }
            Element::Published {
                protocol,
                host,
                port,
                to,
                ..
            } => {
                let key = one.protocol(*protocol);
                let key = match host {
                    Some(address) => key.address(*address),
                    None => key,
                };
                (key.port(*port), None, Some(Key::default().socket(to)))
            }
            Element::LoopbackSource {
                protocol,
                port,
                source,
            } => (
                one.protocol(*protocol).port(*port),
                None,
                Some(Key::default().address((*source).into())),
            ),
            Element::MasqueradeAll { protocol, to } | Element::KeepSource { protocol, to } => (
                one.address(to.ip()).protocol(*protocol).port(to.port()),
                None,
                None,
            ),
            Element::BoundMac { ifname, mac } => (one.name(ifname).bytes(mac), None, None),
            Element::Guarded { ifname }
            | Element::Untracked { ifname }
            | Element::Isolated { ifname }
            | Element::Cascade { ifname } => (one.name(ifname), None, None),
            Element::Boundary(boundary) => (boundary.key(), None, boundary.data()),
        };
        Place {
            set: self.set(),
            key: key.0,
            key_end: key_end.map(|end| end.0),
            data: data.map(|data| data.0),
        }
    }

    pub(super) fn set(&self) -> &'static str {
        match self {
            Element::Link { .. } => "links",
            Element::Masquerade { subnet, .. } => {
                by_family(subnet.is_ipv6(), "masquerade4", "masquerade6")
            }
            Element::MasqueradeHost { address, .. } => {
                by_family(address.is_ipv6(), "masquerade_host4", "masquerade_host6")
            }
            Element::Within { subnet } => by_family(subnet.is_ipv6(), "within4", "within6"),
            Element::Published { host: None, to, .. } => {
                by_family(to.is_ipv6(), "published4_any", "published6_any")
            }
            Element::Published { to, .. } => by_family(to.is_ipv6(), "published4", "published6"),
            Element::LoopbackSource { .. } => "loopback_source6",
            Element::MasqueradeAll { to, .. } => {
                by_family(to.is_ipv6(), "masquerade_all4", "masquerade_all6")
            }
            Element::KeepSource { to, .. } => {
                by_family(to.is_ipv6(), "keep_source4", "keep_source6")
            }
            Element::BoundMac { .. } => "bound_macs",
            Element::Guarded { .. } => "guarded",
            Element::Untracked { .. } => "untracked",
            Element::Isolated { .. } => "isolated",
            Element::Cascade { .. } => "cascades",
            Element::Boundary(boundary) => boundary.set(),
        }
    }

    /// The element that a dump of `set` shows as these bytes; `None`: not an element of ours.
    pub(super) fn read(table: &Table, set: &str, key: &[u8], rest: Rest<'_>) -> Option<Self> {
        if *table == Table::Boundary {
            return Boundary::read(set, key, rest.data).map(Element::Boundary);
        }
        let mut fields = Fields(key);
        let v6 = set.contains('6');
        Some(
            match set.trim_end_matches("_any").trim_end_matches(['4', '6']) {
                "links" => Element::Link {
                    ifname: fields.name()?,
                },
                "masquerade" => Element::Masquerade {
                    ifname: fields.name()?,
                    subnet: subnet(fields.address(v6)?, {
                        let mut end = Fields(rest.key_end?);
                        end.name()?;
                        end.address(v6)?
                    })?,
                },
                "masquerade_host" => Element::MasqueradeHost {
                    ifname: fields.name()?,
                    address: fields.address(v6)?,
                },
                "within" => Element::Within {
                    subnet: subnet(fields.address(v6)?, Fields(rest.key_end?).address(v6)?)?,
                },
                "published" => Element::Published {
                    protocol: fields.protocol()?,
                    host: if set.ends_with("_any") {
                        None
                    } else {
                        Some(fields.address(v6)?)
                    },
                    port: fields.port()?,
                    to: Fields(rest.data?).socket(v6)?,
                    conditions: match table {
                        Table::Conditional(conditions) => Some(conditions.clone()),
                        Table::Main | Table::Bridge | Table::Boundary => None,
                    },
                },
                "loopback_source" => Element::LoopbackSource {
                    protocol: fields.protocol()?,
                    port: fields.port()?,
                    source: match Fields(rest.data?).address(true)? {
                        IpAddr::V6(source) => source,
                        IpAddr::V4(_) => return None,
                    },
                },
                name @ ("masquerade_all" | "keep_source") => {
                    let address = fields.address(v6)?;
                    let protocol = fields.protocol()?;
                    let to = SocketAddr::new(address, fields.port()?);
                    if name == "keep_source" {
                        Element::KeepSource { protocol, to }
                    } else {
                        Element::MasqueradeAll { protocol, to }
                    }
                }
                "bound_macs" => Element::BoundMac {
                    ifname: fields.name()?,
                    mac: fields.take(6)?.try_into().ok()?,
                },
                "guarded" => Element::Guarded {
                    ifname: fields.name()?,
                },
                "untracked" => Element::Untracked {
                    ifname: fields.name()?,
                },
                "isolated" => Element::Isolated {
                    ifname: fields.name()?,
                },
                "cascades" => Element::Cascade {
                    ifname: fields.name()?,
                },
                _ => return None,
            },
        )
    }
}

/// What a dump shows of an element besides its key.
#[derive(Clone, Copy, Default)]
pub(super) struct Rest<'a> {
    pub(super) key_end: Option<&'a [u8]>,
    pub(super) data: Option<&'a [u8]>,
}

/// The prefix that spans first to last address.
fn subnet(first: IpAddr, last: IpAddr) -> Option<IpNetwork> {
    let length = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return None,
    };
    IpNetwork::new(first, length as u8).ok()
}

impl fmt::Display for Element {
    /// The set and the element as `nft list` shows them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {{ ", self.table(), self.set())?;
        match self {
            Element::Link { ifname } => write!(f, "{ifname} . {ifname}")?,
            Element::Masquerade { ifname, subnet } => {
                write!(f, "{ifname} . {}/{}", subnet.network(), subnet.prefix())?
            }
            Element::MasqueradeHost { ifname, address } => write!(f, "{ifname} . {address}")?,
            Element::Within { subnet } => {
                let (network, prefix) = (subnet.network(), subnet.prefix());
                write!(f, "{network}/{prefix} . {network}/{prefix}")?;
            }
            Element::Published {
                protocol,
                host,
                port,
                to,
                ..
            } => {
                write!(f, "{protocol} . ")?;
                if let Some(host) = host {
                    write!(f, "{host} . ")?;
                }
                write!(f, "{port} : {} . {}", to.ip(), to.port())?;
            }
            Element::LoopbackSource {
                protocol,
                port,
                source,
            } => write!(f, "{protocol} . {port} : {source}")?,
            Element::MasqueradeAll { protocol, to } | Element::KeepSource { protocol, to } => {
                write!(f, "{} . {protocol} . {}", to.ip(), to.port())?;
            }
            Element::BoundMac { ifname, mac } => {
                let [a, b, c, d, e, g] = mac;
                write!(
                    f,
                    "{ifname} . {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"
                )?;
            }
            Element::Guarded { ifname }
            | Element::Untracked { ifname }
            | Element::Isolated { ifname }
            | Element::Cascade { ifname } => write!(f, "{ifname}")?,
            Element::Boundary(boundary) => write!(f, "{boundary}")?,
        }
        write!(f, " }}")
    }
}
