//! An endpoint as the server remembers it, and as its record under /run tells of it after a restart.
//! A network keeps one for each of its endpoints.
//! It must never be trusted over the kernel: it says what dockerd asked for.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde_json::{Map, Value};
use wharfline_core::record::Record;
use wharfline_spec::cni::mac_text;
use wharfline_spec::docker::kept::EndpointLabels;

/// What is known of an endpoint.
#[derive(Debug)]
pub struct Endpoint<E> {
    /// Its addresses, of either family.
    pub addresses: Vec<IpNetwork>,
    /// Its MAC; `None` where it has its parent's.
    pub mac: Option<MacAddr6>,
    /// The container's namespace, between Join and Leave.
    pub sandbox: Option<PathBuf>,
    /// What it has beside its link.
    pub extra: E,
}

impl<E> Endpoint<E> {
    /// The endpoint that its record tells of.
    pub(crate) fn of_record(link: &Record, extra: E) -> Self {
        let labels: EndpointLabels =
            serde_json::from_value(Value::Object(link.labels.clone())).unwrap_or_default();
        Self {
            addresses: link.addresses.clone(),
            mac: labels.mac.parse().ok(),
            sandbox: Some(link.netns.clone()).filter(|path| !path.as_os_str().is_empty()),
            extra,
        }
    }

    /// Whether its container is there. One that has not joined yet, or has left, has none.
    pub fn lives(&self) -> bool {
        let sandbox = self.sandbox.as_deref();
        sandbox.is_some_and(|path| wharfline_kernel::netns::identity(path).is_some())
    }

    /// Whether it has the address.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.ip() == address)
    }
}

/// The labels of the record of an endpoint's link.
pub(crate) fn link_labels(mac: Option<MacAddr6>) -> Map<String, Value> {
    let labels = EndpointLabels {
        mac: mac.map(mac_text).unwrap_or_default(),
        ..EndpointLabels::default()
    };
    match serde_json::to_value(labels) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
