//! What the network driver keeps of Docker's networks and endpoints in files, as `wharf` and a later release read it.
//! crates/docker writes it; networks outlive a boot, endpoints are labels of the records under /run.
//! It must never lose a field that an earlier release wrote: what is new is optional.

use serde::{Deserialize, Serialize};

use super::PortBinding;
use super::network::CreateNetwork;
use crate::names::IfName;

/// Folder of the networks on bridges below the lasting state's (`/var/lib/wharfline`), a file `<NetworkID>.json` each.
pub const NETWORKS: &str = "docker/networks";
/// The same of networks on sub-interfaces of a parent.
pub const SUB_INTERFACES: &str = "docker/sub-interfaces";
/// Folder of the leases of Docker's pools below the lasting state's: a folder for each subnet, a file for each address.
pub const LEASES: &str = "ipam/leases";
/// The address space of networks of one host.
pub const LOCAL_SPACE: &str = "wharf-local";

/// A network as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNetwork {
    /// What dockerd asked for.
    pub request: CreateNetwork,
    /// Whether its bridge was there before: then it stays when the network goes.
    pub adopted: bool,
    /// The bridge, for people; the driver derives it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<IfName>,
    /// The parent, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<IfName>,
}

/// What a record of an endpoint has beside what every record has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointLabels {
    /// MAC of the container's end, in the record of the link.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Ports as they were asked for, in the record of the ports; so are the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<PortBinding>,
    /// Ports as they are published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<PortBinding>,
    /// Those that the driver chose, and keeps from others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<PortBinding>,
}
