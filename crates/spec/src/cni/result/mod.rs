//! The result of an ADD in its canonical, newest form, whatever version it was read from.
//! Made by plugins, carried as prevResult, kept by runtimes.
//! Must never hold what only an old version could express: `decode.rs` and `encode.rs` translate.

mod decode;
mod encode;

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;

pub use decode::address;
pub use encode::mac_text;

/// What an ADD made (CNI SPEC 1.1.0, "Success").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniResult {
    /// Interfaces, on the host and in the container, in the order of their making.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<IpConfig>,
    /// Routes in the container.
    pub routes: Vec<Route>,
    /// Resolver settings.
    pub dns: Dns,
}

/// One interface of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name where it is: on the host, or in the sandbox.
    pub name: String,
    /// Its Ethernet address.
    pub mac: Option<MacAddr6>,
    /// A hardware address that is not six bytes long (InfiniBand has 20), as text, passed through.
    pub long_mac: Option<String>,
    /// MTU in bytes (1.1.0 only).
    pub mtu: Option<u32>,
    /// Path of the network namespace; absent on the host.
    pub sandbox: Option<String>,
    /// Path of a socket that stands for the interface, as with vhost-user (1.1.0 only).
    pub socket_path: Option<String>,
    /// PCI address of the device (1.1.0 only).
    pub pci_id: Option<String>,
}

/// One address of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpConfig {
    /// Index into [`CniResult::interfaces`].
    pub interface: Option<usize>,
    /// Address and prefix length; the host bits are the address.
    pub address: IpNetwork,
    /// Default gateway of the subnet, if one exists.
    pub gateway: Option<IpAddr>,
}

/// One route of a result, or of an IPAM configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub dst: IpNetwork,
    /// Next hop; absent means the gateway of the address of the same family.
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes (1.1.0 only).
    pub mtu: Option<u32>,
    /// Advertised maximum segment size in bytes (1.1.0 only).
    pub advmss: Option<u32>,
    /// Metric: lower wins (1.1.0 only).
    pub priority: Option<u32>,
    /// Routing table; absent means main, 254 (1.1.0 only).
    pub table: Option<u32>,
    /// Scope as of rtnetlink(7): 0 global, 253 link, 254 host (1.1.0 only).
    pub scope: Option<u8>,
}

impl Route {
    /// A route to `dst` by `gw` and nothing else said.
    #[must_use]
    pub fn new(dst: IpNetwork, gw: Option<IpAddr>) -> Route {
        Route {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }
}

/// Resolver settings, as in resolv.conf(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers, by priority.
    pub nameservers: Vec<String>,
    /// Local domain for short names.
    pub domain: Option<String>,
    /// Search domains, by priority.
    pub search: Vec<String>,
    /// Options for the resolver.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

#[cfg(test)]
mod tests;
