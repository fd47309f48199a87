//! Writes a result in the form of the version that the configuration asked for.
//! Called by the process boundary for the answer and by the runtime side for prevResult.
//! Must never put a field into a document whose version does not have it.

use macaddr::MacAddr6;
use serde_json::{Map, Value, json};

use super::{CniResult, Dns, Interface, IpConfig, Route};
use crate::cni::Version;

/// A MAC address as the reference prints it: lower case, with colons.
#[must_use]
pub fn mac_text(mac: MacAddr6) -> String {
    let [a, b, c, d, e, f] = mac.into_array();
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

impl CniResult {
    /// The document in the form of `version`.
    ///
    /// Older versions hold less: 0.1.0 and 0.2.0 take the first address of each family and the routes
    /// of families that have one, and no interfaces (as the reference converts).
    #[must_use]
    pub fn to_json(&self, version: Version) -> Value {
        let mut doc = Map::new();
        doc.insert("cniVersion".into(), version.as_str().into());
        if version <= Version::V0_2_0 {
            self.add_families(&mut doc);
        } else {
            put_list(&mut doc, "interfaces", &self.interfaces, |i| {
                interface(i, version)
            });
            put_list(&mut doc, "ips", &self.ips, |ip| ip_config(ip, version));
            put_list(&mut doc, "routes", &self.routes, |r| route(r, version));
        }
        if !self.dns.is_empty() {
            doc.insert("dns".into(), self.dns.to_json());
        }
        Value::Object(doc)
    }

    fn add_families(&self, doc: &mut Map<String, Value>) {
        for (key, is_v4) in [("ip4", true), ("ip6", false)] {
            let Some(ip) = self.ips.iter().find(|ip| ip.address.is_ipv4() == is_v4) else {
                continue;
            };
            let mut family = Map::new();
            family.insert("ip".into(), ip.address.to_string().into());
            put_text(&mut family, "gateway", ip.gateway.as_ref());
            let routes: Vec<&Route> = self
                .routes
                .iter()
                .filter(|r| r.dst.is_ipv4() == is_v4)
                .collect();
            put_list(&mut family, "routes", &routes, |r| {
                route(r, Version::V0_2_0)
            });
            doc.insert(key.into(), Value::Object(family));
        }
    }
}

impl Dns {
    /// The settings that are set; the same in every version.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut doc = Map::new();
        put_list(&mut doc, "nameservers", &self.nameservers, |s| json!(s));
        put_text(&mut doc, "domain", self.domain.as_ref());
        put_list(&mut doc, "search", &self.search, |s| json!(s));
        put_list(&mut doc, "options", &self.options, |s| json!(s));
        Value::Object(doc)
    }
}

fn interface(interface: &Interface, version: Version) -> Value {
    let mut doc = Map::new();
    doc.insert("name".into(), interface.name.clone().into());
    let mac = interface.mac.map(mac_text);
    put_text(
        &mut doc,
        "mac",
        mac.as_ref().or(interface.long_mac.as_ref()),
    );
    if version >= Version::V1_1_0 {
        put_number(&mut doc, "mtu", interface.mtu);
    }
    put_text(&mut doc, "sandbox", interface.sandbox.as_ref());
    if version >= Version::V1_1_0 {
        put_text(&mut doc, "socketPath", interface.socket_path.as_ref());
        put_text(&mut doc, "pciID", interface.pci_id.as_ref());
    }
    Value::Object(doc)
}

fn ip_config(ip: &IpConfig, version: Version) -> Value {
    let mut doc = Map::new();
    if version < Version::V1_0_0 {
        let family = if ip.address.is_ipv4() { "4" } else { "6" };
        doc.insert("version".into(), family.into());
    }
    if let Some(index) = ip.interface {
        doc.insert("interface".into(), index.into());
    }
    doc.insert("address".into(), ip.address.to_string().into());
    put_text(&mut doc, "gateway", ip.gateway.as_ref());
    Value::Object(doc)
}

fn route(route: &Route, version: Version) -> Value {
    let mut doc = Map::new();
    doc.insert("dst".into(), route.dst.to_string().into());
    put_text(&mut doc, "gw", route.gw.as_ref());
    if version >= Version::V1_1_0 {
        put_number(&mut doc, "mtu", route.mtu);
        put_number(&mut doc, "advmss", route.advmss);
        put_number(&mut doc, "priority", route.priority);
        put_number(&mut doc, "table", route.table);
        put_number(&mut doc, "scope", route.scope);
    }
    Value::Object(doc)
}

fn put_list<T>(doc: &mut Map<String, Value>, key: &str, list: &[T], write: impl Fn(&T) -> Value) {
    if !list.is_empty() {
        doc.insert(key.into(), list.iter().map(write).collect());
    }
}

fn put_text<T: ToString>(doc: &mut Map<String, Value>, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        doc.insert(key.into(), value.to_string().into());
    }
}

fn put_number<T: Into<Value>>(doc: &mut Map<String, Value>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        doc.insert(key.into(), value.into());
    }
}
