//! A segment that the host has one foot on: a switch with a router, and room for other hosts.
//!
//! Called by tests of sub-interfaces. The switch is a bridge of its own namespace, so that nothing of it is the host's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

use serde_json::{Value, json};
use wharfline_testkit::{Lab, Namespace};

/// The switch's namespace, which is also the segment's router.
pub struct Segment {
    switch: Namespace,
}

impl Segment {
    /// The host's link on the segment; its default route goes over it.
    pub const LINK: &str = "eth0";
    /// The router.
    pub const ROUTER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    /// See [`Segment::ROUTER_V4`].
    pub const ROUTER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
    /// The host.
    pub const HOST_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
    /// See [`Segment::HOST_V4`].
    pub const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10));

    /// Builds it around the lab's host.
    pub fn around(lab: &Lab) -> Segment {
        let switch = lab.namespace("segment");
        switch.ip("link set lo up
             link add br0 address 02:00:00:00:01:01 type bridge mcast_snooping 0
             addr add 192.0.2.1/24 dev br0
             addr add 2001:db8:2::1/64 dev br0 nodad
             link set br0 up");
        let segment = Segment { switch };
        segment.plug(lab.host(), Self::LINK, "02:00:00:00:00:10");
        lab.host().ip("addr add 192.0.2.10/24 dev eth0
             addr add 2001:db8:2::10/64 dev eth0 nodad
             route add default via 192.0.2.1");
        segment
    }

    /// Another host on the segment, with these addresses.
    pub fn host(&self, lab: &Lab, name: &str, mac: &str, addresses: &[&str]) -> Namespace {
        let host = lab.namespace(name);
        host.ip("link set lo up");
        self.plug(&host, Self::LINK, mac);
        for address in addresses {
            let flags = if address.contains(':') { "nodad" } else { "" };
            host.ip(&format!("addr add {address} dev eth0 {flags}"));
        }
        host
    }

    fn plug(&self, host: &Namespace, link: &str, mac: &str) {
        let port = format!("p{}", mac.replace(':', ""));
        let switch = self.switch.path();
        host.ip(&format!(
            "link add {link} address {mac} type veth peer name {port} netns {switch}\nlink set {link} up"
        ));
        self.switch
            .ip(&format!("link set {port} master br0\nlink set {port} up"));
    }

    /// Addresses of both families for containers on the segment.
    pub fn ipam() -> Value {
        json!({"type": "host-local",
            "ranges": [[{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100", "gateway": "192.0.2.1"}],
                       [{"subnet": "2001:db8:2::/64", "rangeStart": "2001:db8:2::100", "gateway": "2001:db8:2::1"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]})
    }

    /// A plugin of this type on the host's link.
    pub fn plugin(kind: &str) -> Value {
        json!({"type": kind, "master": Self::LINK, "ipam": Self::ipam()})
    }
}

impl Deref for Segment {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.switch
    }
}
