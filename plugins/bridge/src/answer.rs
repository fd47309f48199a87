//! What ADD answers: interfaces, addresses, routes and resolver settings (CNI SPEC 1.1.0, "Success").
//! A plan carries it; runtimes and the plugins after us read it.
//! It must never drop what a plugin before us answered.

use macaddr::MacAddr6;
use wharfline_spec::cni::{CniResult, Dns, Interface, IpConfig};
use wharfline_spec::names::IfName;

use crate::plan::Planning;

/// Where the container's end stands in a result that is ours alone.
const CONTAINER_END: usize = 2;

impl Planning<'_> {
    /// Interfaces in the reference's order: bridge, host's end, container's end, then the foot in the VLAN.
    pub(crate) fn result(&self) -> CniResult {
        if self.chained {
            return self.continued_result();
        }
        let mut interfaces = vec![interface(&self.config.bridge, self.bridge_mac)];
        interfaces.push(Interface {
            mtu: Some(self.mtu),
            ..interface(&self.host_end, self.endpoint.key.host_mac())
        });
        interfaces.push(Interface {
            mtu: Some(self.mtu),
            sandbox: self.sandbox(),
            ..interface(&self.endpoint.key.ifname, self.container_mac)
        });
        interfaces.extend(self.foot());
        CniResult {
            interfaces,
            ips: self.ips_of(Some(CONTAINER_END)),
            routes: self.routes(),
            dns: self.dns(),
        }
    }

    /// The bridge goes first here too, so what the previous result says of its interfaces moves by one.
    fn continued_result(&self) -> CniResult {
        let mut result = self.endpoint.previous.cloned().unwrap_or_default();
        result
            .interfaces
            .insert(0, interface(&self.config.bridge, self.bridge_mac));
        for ip in &mut result.ips {
            ip.interface = ip.interface.map(|index| index + 1);
        }
        let inside = |i: &Interface| {
            i.name == self.endpoint.key.ifname.as_str() && i.sandbox.as_deref() != Some("")
        };
        let in_container = result
            .interfaces
            .iter()
            .position(|i| i.sandbox.is_some() && inside(i));
        result.ips.extend(self.ips_of(in_container));
        result.routes.extend(self.routes());
        result.interfaces.extend(self.foot());
        if !self.dns().is_empty() {
            result.dns = self.dns();
        }
        result
    }

    fn ips_of(&self, interface: Option<usize>) -> Vec<IpConfig> {
        let of_interface = |ip: &IpConfig| IpConfig {
            interface,
            ..ip.clone()
        };
        self.ips.iter().map(of_interface).collect()
    }

    fn foot(&self) -> Option<Interface> {
        self.has_foot()
            .then(|| interface(&self.config.gateway_link(), self.gateway_mac))
    }

    fn sandbox(&self) -> Option<String> {
        let path = self.endpoint.netns.as_ref()?;
        Some(path.to_string_lossy().into_owned())
    }

    /// The network's own settings win over the address plugin's.
    fn dns(&self) -> Dns {
        if self.config.dns.is_empty() {
            self.endpoint.lease.dns.clone()
        } else {
            self.config.dns.clone()
        }
    }
}

pub(crate) fn interface(name: &IfName, mac: MacAddr6) -> Interface {
    Interface {
        name: name.to_string(),
        mac: Some(mac),
        ..Interface::default()
    }
}
