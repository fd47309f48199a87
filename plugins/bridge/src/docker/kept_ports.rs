//! What an endpoint publishes as the server remembers it, and as its record under /run tells of it after a restart.
//! Each endpoint of a network has one.
//! It must never be trusted over the kernel: it says what dockerd asked for.

use std::os::fd::OwnedFd;

use serde_json::{Map, Value};
use wharfline_core::record::Record;
use wharfline_spec::cni::PortMapping;
use wharfline_spec::docker::PortBinding;
use wharfline_spec::docker::kept::EndpointLabels;

use super::published::keep_again;

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

fn labels(labels: &EndpointLabels) -> Map<String, Value> {
    match serde_json::to_value(labels) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn read(record: &Record) -> EndpointLabels {
    serde_json::from_value(Value::Object(record.labels.clone())).unwrap_or_default()
}

/// The ports that an endpoint's record tells of; those that we chose for it are kept again.
pub(crate) fn ports_of(record: &Record) -> Ports {
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
