//! Reads a result of any version into the canonical form.
//! Called for prevResult, for the answers of foreign plugins and for runtimes' caches.
//! Must never take an address without its prefix length, or a document of an unknown version.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde_json::Value;

use super::{CniResult, Dns, Interface, IpConfig, Route};
use crate::cni::Version;
use crate::fields::{BadField, Fields};

impl CniResult {
    /// Reads a result; its `cniVersion` says in which form it is, and absence means 0.1.0.
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn from_json(doc: &Value) -> Result<CniResult, BadField> {
        CniResult::from_json_at(doc, "", Version::UNSTATED)
    }

    /// Reads the result that stands at the path `at` of a larger document; one that names no version
    /// is in the form of `unstated`.
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn from_json_at(doc: &Value, at: &str, unstated: Version) -> Result<CniResult, BadField> {
        let fields = Fields::of(doc, at)?;
        let version = fields.parsed("cniVersion")?.unwrap_or(unstated);
        let mut result = CniResult::default();
        if version <= Version::V0_2_0 {
            for key in ["ip4", "ip6"] {
                if let Some(family) = fields.object(key)? {
                    add_family(&mut result, &family)?;
                }
            }
        } else {
            result.interfaces = each(&fields, "interfaces", Interface::read)?;
            result.ips = each(&fields, "ips", IpConfig::read)?;
            result.routes = each(&fields, "routes", Route::read)?;
        }
        if let Some(dns) = fields.object("dns")? {
            result.dns = Dns::read(&dns)?;
        }
        Ok(result)
    }
}

fn each<T>(
    fields: &Fields<'_>,
    key: &str,
    read: impl Fn(&Fields<'_>) -> Result<T, BadField>,
) -> Result<Vec<T>, BadField> {
    let items = fields.list(key)?;
    items
        .into_iter()
        .map(|(at, item)| read(&Fields::of(item, at)?))
        .collect()
}

/// `ip4` or `ip6` of 0.1.0 and 0.2.0: one address with its gateway and routes.
fn add_family(result: &mut CniResult, family: &Fields<'_>) -> Result<(), BadField> {
    let ip = required(family, "ip")?;
    result.ips.push(IpConfig {
        interface: None,
        address: ip,
        gateway: host(family, "gateway")?,
    });
    result.routes.extend(each(family, "routes", Route::read)?);
    Ok(())
}

impl Interface {
    fn read(fields: &Fields<'_>) -> Result<Interface, BadField> {
        let text = fields.text("mac")?;
        let mac = text.as_deref().and_then(|t| t.parse::<MacAddr6>().ok());
        let long_mac = text.filter(|_| mac.is_none());
        if let Some(other) = long_mac.as_ref().filter(|t| !is_long_mac(t)) {
            return Err(fields.bad("mac", format!("{other:?} is not a hardware address")));
        }
        Ok(Interface {
            name: fields.str("name")?.unwrap_or_default().to_owned(),
            mac,
            long_mac,
            mtu: nonzero(fields, "mtu")?,
            sandbox: fields.text("sandbox")?,
            socket_path: fields.text("socketPath")?,
            pci_id: fields.text("pciID")?,
        })
    }
}

/// Eight bytes (EUI-64) or twenty (IP over InfiniBand), as net.ParseMAC() of the reference takes.
fn is_long_mac(text: &str) -> bool {
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    matches!(text.split(':').count(), 8 | 20) && text.split(':').all(is_byte)
}

impl IpConfig {
    fn read(fields: &Fields<'_>) -> Result<IpConfig, BadField> {
        // Plugins built on libcni 0.5 write -1 for "no interface".
        let unset = fields.get("interface").and_then(Value::as_i64) == Some(-1);
        Ok(IpConfig {
            interface: if unset {
                None
            } else {
                fields.number("interface")?
            },
            address: required(fields, "address")?,
            gateway: host(fields, "gateway")?,
        })
    }
}

impl Route {
    /// Reads one route: of a result, or of an IPAM configuration's `routes`.
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Route, BadField> {
        Ok(Route {
            dst: required(fields, "dst")?,
            gw: host(fields, "gw")?,
            mtu: nonzero(fields, "mtu")?,
            advmss: nonzero(fields, "advmss")?,
            priority: nonzero(fields, "priority")?,
            table: fields.number("table")?,
            scope: fields.number("scope")?,
        })
    }
}

impl Dns {
    /// Reads resolver settings.
    ///
    /// # Errors
    /// [`BadField`] with the path of the key that cannot be used.
    pub fn read(fields: &Fields<'_>) -> Result<Dns, BadField> {
        Ok(Dns {
            nameservers: fields.strings("nameservers")?,
            domain: fields.text("domain")?,
            search: fields.strings("search")?,
            options: fields.strings("options")?,
        })
    }
}

/// Zero is "unset" in the reference's types, which leave it out.
fn nonzero(fields: &Fields<'_>, key: &str) -> Result<Option<u32>, BadField> {
    Ok(fields.number(key)?.filter(|n| *n != 0))
}

fn required(fields: &Fields<'_>, key: &str) -> Result<IpNetwork, BadField> {
    let text = fields
        .text(key)?
        .ok_or_else(|| fields.bad(key, "is missing"))?;
    address(&text).ok_or_else(|| fields.bad(key, format!("{text:?} is not address/prefix")))
}

fn host(fields: &Fields<'_>, key: &str) -> Result<Option<IpAddr>, BadField> {
    Ok(fields.parsed::<IpAddr>(key)?.map(|ip| ip.to_canonical()))
}

/// Reads `address/prefix length` with its host bits; `None` for anything else.
///
/// Stricter than `IpNetwork`'s own parser, which takes a bare address and a netmask too: the
/// reference (net.ParseCIDR) refuses both.
#[must_use]
pub fn address(text: &str) -> Option<IpNetwork> {
    let (ip, prefix) = text.split_once('/')?;
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    IpNetwork::new(ip.parse().ok()?, prefix.parse().ok()?).ok()
}
