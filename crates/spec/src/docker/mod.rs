//! Wire types of Docker's plugin protocol: what dockerd POSTs to a plugin's socket, and what it wants back.
//! crates/docker reads and writes them; the plugins' Docker faces take them apart.
//! It must never decide what an option means: that is each plugin's configuration.

pub mod ipam;
pub mod kept;
pub mod migration;
pub mod network;
mod ports;
pub mod volume;

pub use ports::{ExposedPort, PortBinding};

use serde::{Deserialize, Deserializer, Serialize};

/// The body of every answer and the only content type of the protocol (docs.docker.com, "Docker Plugin API").
pub const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The answer to `/Plugin.Activate`.
#[derive(Debug, Clone, Serialize)]
pub struct Activation {
    /// The protocols that the plugin speaks: `NetworkDriver`, `IpamDriver`, `VolumeDriver`.
    #[serde(rename = "Implements")]
    pub implements: &'static [&'static str],
}

/// A failure. dockerd reads `Err` of network drivers, `Error` of IPAM drivers on status 200 and `Err` of both on 500.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// For network and volume drivers.
    #[serde(rename = "Err")]
    pub err: String,
    /// For IPAM drivers; the same text.
    #[serde(rename = "Error")]
    pub error: String,
}

impl Failure {
    /// The failure that `message` tells, under both keys.
    #[must_use]
    pub fn new(message: &str) -> Self {
        Self {
            err: message.to_owned(),
            error: message.to_owned(),
        }
    }
}

/// An answer that says nothing but that it is done.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Done {}

/// Go writes an empty map or slice as `null`.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
