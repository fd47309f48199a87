//! The world outside the host: a router and a far machine in one namespace, linked to the host by a veth pair.
//!
//! Called by tests of egress and of published ports. It knows no container subnet, so only traffic that was masqueraded
//! comes back, unless a test adds a route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

use crate::lab::Lab;
use crate::namespace::Namespace;

/// A namespace beyond the host's uplink. Everything that a [`Namespace`] can do, it can.
pub struct Outside {
    namespace: Namespace,
}

impl Outside {
    /// The host's link to it.
    pub const UPLINK: &str = "uplink0";
    /// The host's addresses on the uplink.
    pub const HOST_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
    /// See [`Outside::HOST_V4`].
    pub const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 1));
    /// The outside's own addresses on the link; the host's default routes point there.
    pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
    /// See [`Outside::V4`].
    pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 2));
    /// An address farther away, behind the router.
    pub const FAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    /// See [`Outside::FAR_V4`].
    pub const FAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xfa5, 0, 0, 0, 0, 7));

    pub(crate) fn beyond(lab: &Lab) -> Outside {
        let namespace = lab.namespace("outside");
        // MAC addresses are given: a random one is set anew by a udev of the machine in some set-ups.
        lab.host().ip(
            "link add uplink0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns outside
             addr add 198.18.0.1/24 dev uplink0
             addr add 2001:db8:18::1/64 dev uplink0 nodad
             link set uplink0 up",
        );
        namespace.ip("link set lo up
             addr add 198.18.0.2/24 dev eth0
             addr add 2001:db8:18::2/64 dev eth0 nodad
             addr add 198.51.100.7/32 dev lo
             addr add 2001:db8:fa5::7/128 dev lo nodad
             link set eth0 up");
        lab.host().ip("route add default via 198.18.0.2
             route add default via 2001:db8:18::2");
        Outside { namespace }
    }

    /// Gives it routes to container subnets through the host, as a router or another node has them.
    pub fn learns_route_to(&self, subnet: &str) {
        let via = if subnet.contains(':') {
            Self::HOST_V6
        } else {
            Self::HOST_V4
        };
        self.namespace.ip(&format!("route add {subnet} via {via}"));
    }
}

impl Deref for Outside {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
