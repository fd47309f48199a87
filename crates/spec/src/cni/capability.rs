//! Capability arguments: what a runtime gives a plugin per attachment under `runtimeConfig`.
//! Read by the plugins that declare the capability; `wharf` makes the port mappings here.
//! Must never depend on the case of a key: containerd sends Go's field names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};

use super::{Dns, address};
use crate::fields::{BadField, Fields, elements};

/// The object `runtimeConfig` (CNI CONVENTIONS.md, "Dynamic Plugin specific fields").
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuntimeConfig {
    map: Map<String, Value>,
}

impl RuntimeConfig {
    /// Takes over the object as the runtime sent it.
    #[must_use]
    pub fn new(map: Map<String, Value>) -> RuntimeConfig {
        RuntimeConfig { map }
    }

    /// The object with its path, for capabilities that only one plugin knows.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields::below(&self.map, "runtimeConfig")
    }

    /// Ports to publish (`portMappings`).
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn port_mappings(&self) -> Result<Vec<PortMapping>, BadField> {
        let items = self.fields().list("portMappings")?;
        items
            .into_iter()
            .map(|(at, item)| PortMapping::read(&Fields::of(item, at)?))
            .collect()
    }

    /// Sets of address ranges that replace those of the configuration (`ipRanges`).
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn ip_ranges(&self) -> Result<Vec<Vec<IpRange>>, BadField> {
        match self.fields().get("ipRanges") {
            None => Ok(Vec::new()),
            Some(value) => ip_range_sets(value, "runtimeConfig.ipRanges"),
        }
    }

    /// Addresses that the container is to have (`ips`): an address, or address/prefix, each as text.
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn ips(&self) -> Result<Vec<String>, BadField> {
        self.fields().strings("ips")
    }

    /// The hardware address that the container's interface is to have (`mac`), as text.
    ///
    /// # Errors
    /// [`BadField`] when it is not a string.
    pub fn mac(&self) -> Result<Option<String>, BadField> {
        self.fields().text("mac")
    }

    /// Limits in bits and bits per second (`bandwidth`).
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn bandwidth(&self) -> Result<Option<Bandwidth>, BadField> {
        self.fields()
            .object("bandwidth")?
            .map(|f| Bandwidth::read(&f))
            .transpose()
    }

    /// Resolver settings of the runtime (`dns`: `servers`, `searches`, `options`).
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn dns(&self) -> Result<Option<Dns>, BadField> {
        let Some(fields) = self.fields().object("dns")? else {
            return Ok(None);
        };
        Ok(Some(Dns {
            nameservers: fields.strings("servers")?,
            domain: None,
            search: fields.strings("searches")?,
            options: fields.strings("options")?,
        }))
    }

    /// Further names of the container on the network called `network` (`aliases`).
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn aliases(&self, network: &str) -> Result<Vec<String>, BadField> {
        let Some(value) = self.fields().get("aliases") else {
            return Ok(Vec::new());
        };
        match value {
            // podman sends {network: [names]}; the convention is a plain list.
            Value::Object(_) => Fields::of(value, "runtimeConfig.aliases")?.strings(network),
            _ => self.fields().strings("aliases"),
        }
    }
}

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, protocol number 6.
    Tcp,
    /// UDP, protocol number 17.
    Udp,
    /// SCTP, protocol number 132.
    Sctp,
}

impl Protocol {
    /// The name in lower case, as the convention writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The number in the IP header (IANA protocol numbers).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = &'static str;

    /// Reads a protocol without regard to case, as the reference does.
    fn from_str(text: &str) -> Result<Protocol, &'static str> {
        let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let found = all
            .into_iter()
            .find(|p| p.as_str().eq_ignore_ascii_case(text));
        found.ok_or("is none of tcp, udp and sctp")
    }
}

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortMapping {
    /// Port on the host, 1 to 65535.
    pub host_port: u16,
    /// Port in the container, 1 to 65535.
    pub container_port: u16,
    /// Protocol; tcp when unsaid.
    pub protocol: Protocol,
    /// Address of the host to publish on; `None` is all, and so is the unspecified address of a
    /// family for that family.
    pub host_ip: Option<IpAddr>,
}

impl PortMapping {
    /// Reads one element of `portMappings`.
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<PortMapping, BadField> {
        let port = |key| match fields.number(key)? {
            None | Some(0) => Err(fields.bad(key, "must be between 1 and 65535")),
            Some(port) => Ok(port),
        };
        Ok(PortMapping {
            host_port: port("hostPort")?,
            container_port: port("containerPort")?,
            protocol: fields.parsed("protocol")?.unwrap_or(Protocol::Tcp),
            host_ip: fields
                .parsed::<IpAddr>("hostIP")?
                .map(|ip| ip.to_canonical()),
        })
    }

    /// The element of `portMappings`, with the keys of the convention.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut doc = json!({
            "hostPort": self.host_port,
            "containerPort": self.container_port,
            "protocol": self.protocol.as_str(),
        });
        if let Some(ip) = self.host_ip {
            doc["hostIP"] = ip.to_string().into();
        }
        doc
    }
}

/// One range of addresses, as host-local's `ranges` and the capability `ipRanges` write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpRange {
    /// The subnet, as written (host bits kept).
    pub subnet: IpNetwork,
    /// First address to give.
    pub range_start: Option<IpAddr>,
    /// Last address to give.
    pub range_end: Option<IpAddr>,
    /// Gateway.
    pub gateway: Option<IpAddr>,
}

impl IpRange {
    /// Reads one range.
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<IpRange, BadField> {
        let subnet = fields
            .text("subnet")?
            .ok_or_else(|| fields.bad("subnet", "is missing"))?;
        let subnet = address(&subnet)
            .ok_or_else(|| fields.bad("subnet", format!("{subnet:?} is not address/prefix")))?;
        Ok(IpRange {
            subnet,
            range_start: fields.parsed("rangeStart")?,
            range_end: fields.parsed("rangeEnd")?,
            gateway: fields.parsed("gateway")?,
        })
    }
}

/// Reads a list of sets of ranges which stands at the path `at`.
///
/// # Errors
/// [`BadField`] with the path of the key that cannot be used.
pub fn ip_range_sets(value: &Value, at: &str) -> Result<Vec<Vec<IpRange>>, BadField> {
    let mut sets = Vec::new();
    for (at, set) in elements(value, at)? {
        let ranges = elements(set, &at)?;
        let read = ranges
            .into_iter()
            .map(|(at, range)| IpRange::read(&Fields::of(range, at)?));
        sets.push(read.collect::<Result<_, _>>()?);
    }
    Ok(sets)
}

/// Limits of the capability `bandwidth`; a rate and its burst come together or not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Rate towards the container, bits per second.
    pub ingress_rate: Option<u64>,
    /// Burst towards the container, bits.
    pub ingress_burst: Option<u64>,
    /// Rate from the container, bits per second.
    pub egress_rate: Option<u64>,
    /// Burst from the container, bits.
    pub egress_burst: Option<u64>,
}

impl Bandwidth {
    fn read(fields: &Fields<'_>) -> Result<Bandwidth, BadField> {
        // Zero is the reference's "no limit".
        let limit = |key| fields.number(key).map(|n| n.filter(|n: &u64| *n != 0));
        Ok(Bandwidth {
            ingress_rate: limit("ingressRate")?,
            ingress_burst: limit("ingressBurst")?,
            egress_rate: limit("egressRate")?,
            egress_burst: limit("egressBurst")?,
        })
    }
}
