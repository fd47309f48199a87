//! An endpoint as the server remembers it, and as its records under /run tell of it after a restart.
//! The calls in `mod` keep one for each endpoint of a network.
//! It must never be trusted over the kernel: it says what dockerd asked for.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde_json::{Map, Value};
use wharfline_core::record::Record;
use wharfline_spec::cni::{PortMapping, mac_text};
use wharfline_spec::docker::PortBinding;
use wharfline_spec::docker::kept::EndpointLabels;

use super::published::keep_again;

/// What is known of an endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its addresses, of either family.
    pub addresses: Vec<IpNetwork>,
    /// Its MAC.
    pub mac: MacAddr6,
    /// The container's namespace, between Join and Leave.
    pub sandbox: Option<PathBuf>,
    /// What it publishes.
    pub ports: Ports,
}

/// What an endpoint publishes, as it was asked for and as it was done.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// As asked for, in order.
    pub asked: Vec<PortBinding>,
    /// As done.
    pub done: Vec<PortMapping>,
    /// Ports that we chose, with the descriptors that keep them from others.
    pub kept: Vec<(PortMapping, Vec<OwnedFd>)>,
}

/// The labels of the record of an endpoint's link.
pub(crate) fn link_labels(mac: MacAddr6) -> Map<String, Value> {
    labels(&EndpointLabels {
        mac: mac_text(mac),
        ..EndpointLabels::default()
    })
}

impl Ports {
    /// The labels of the record of an endpoint's ports.
    pub(crate) fn labels(&self) -> Map<String, Value> {
        labels(&EndpointLabels {
            asked: self.asked.clone(),
            done: self.done.iter().map(binding).collect(),
            kept: self
                .kept
                .iter()
                .map(|(mapping, _)| binding(mapping))
                .collect(),
            ..EndpointLabels::default()
        })
    }

    /// What people see of them.
    pub(crate) fn shown(&self) -> Value {
        let done: Vec<PortBinding> = self.done.iter().map(binding).collect();
        serde_json::to_value(done).unwrap_or_default()
    }
}

impl Endpoint {
    /// The endpoint that its records tell of; the ports that we chose for it are kept again.
    pub(crate) fn of_records(link: &Record, ports: Option<&Record>) -> Self {
        let sandbox = Some(link.netns.clone()).filter(|path| !path.as_os_str().is_empty());
        let first = link.addresses.first().map(IpNetwork::ip);
        Self {
            addresses: link.addresses.clone(),
            mac: mac_of(link).unwrap_or_else(|| link.key().mac(first)),
            sandbox,
            ports: ports.map(ports_of).unwrap_or_default(),
        }
    }

    /// Whether its container is there. One that has not joined yet, or has left, has none.
    pub(crate) fn lives(&self) -> bool {
        let sandbox = self.sandbox.as_deref();
        sandbox.is_some_and(|path| wharfline_kernel::netns::identity(path).is_some())
    }

    /// Whether both have the same address.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.ip() == address)
    }
}

fn labels(labels: &EndpointLabels) -> Map<String, Value> {
    match serde_json::to_value(labels) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn read(record: &Record) -> EndpointLabels {
    serde_json::from_value(Value::Object(record.labels.clone())).unwrap_or_default()
}

fn mac_of(record: &Record) -> Option<MacAddr6> {
    read(record).mac.parse().ok()
}

fn ports_of(record: &Record) -> Ports {
    let labels = read(record);
    let kept: Vec<PortMapping> = labels.kept.iter().map(mapping).collect();
    Ports {
        asked: labels.asked,
        done: labels.done.iter().map(mapping).collect(),
        kept: keep_again(&kept),
    }
}

fn binding(mapping: &PortMapping) -> PortBinding {
    PortBinding {
        protocol: mapping.protocol,
        port: mapping.container_port,
        host_ip: mapping.host_ip,
        host_port: mapping.host_port,
        host_port_end: mapping.host_port,
    }
}

fn mapping(binding: &PortBinding) -> PortMapping {
    PortMapping {
        host_port: binding.host_port,
        container_port: binding.port,
        protocol: binding.protocol,
        host_ip: binding.host_ip,
    }
}
