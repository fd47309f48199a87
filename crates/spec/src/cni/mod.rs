//! The types of the CNI protocol, spec versions 0.1.0 to 1.1.0, in one canonical form each.
//! Plugins, the process boundary (crates/cni) and the runtime side read and write through them.
//! Must never know what a plugin does with a value.

pub mod args;
pub mod capability;
pub mod config;
pub mod conflist;
pub mod error;
mod mac;
pub mod result;
pub mod version;

pub use args::Args;
pub use capability::{Bandwidth, IpRange, PortMapping, Protocol, RuntimeConfig, ip_range_sets};
pub use config::{Attachment, NetConf};
pub use conflist::{ConfList, PluginConf};
pub use error::{CniError, code};
pub use mac::unicast_mac;
pub use result::{CniResult, Dns, Interface, IpConfig, Route, address, mac_text};
pub use version::{BadVersion, Version};
