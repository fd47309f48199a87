//! Routes: adding, deleting, listing, and asking which link leads to an address.
//! `core`'s operations and the plugins' observations call it.
//! It must never change a route that another program made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use serde::{Deserialize, Serialize};

use crate::address::family;
use crate::error::Result;
use crate::route_socket::RouteSocket;

/// A route as the plan wants it or as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpRoute {
    /// Destination; 0.0.0.0/0 or ::/0 for the default.
    pub to: IpNetwork,
    /// Next hop; `None` for a destination on the link itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// The address of ours that packets come from; `None` lets the kernel choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Lower wins; `None` is the kernel's default (0 for IPv4, 1024 for IPv6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Table; `None` is main (254).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Scope as in /etc/iproute2/rt_scopes; `None` is what the destination implies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
    /// Path MTU, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Advertised maximum segment size, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// `local` instead of `unicast`: the destination is an address of this host (rtnetlink(7), RTN_LOCAL).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
}

impl IpRoute {
    /// A plain unicast route in the main table.
    pub fn unicast(to: IpNetwork, via: Option<IpAddr>) -> Self {
        Self {
            to,
            via,
            source: None,
            priority: None,
            table: None,
            scope: None,
            mtu: None,
            advmss: None,
            local: false,
        }
    }

    fn message(&self, link: u32) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.to.ip());
        message.header.destination_prefix_length = self.to.prefix();
        message.header.protocol = RouteProtocol::Static;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = if self.local {
            RouteType::Local
        } else {
            RouteType::Unicast
        };
        message.header.scope = match (self.scope, self.via) {
            (Some(scope), _) => RouteScope::from(scope),
            // IPv4 wants link scope where there is no gateway; IPv6 ignores the field.
            (None, None) if self.to.is_ipv4() => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let attributes = &mut message.attributes;
        if self.to.prefix() > 0 {
            attributes.push(RouteAttribute::Destination(RouteAddress::from(
                self.to.network(),
            )));
        }
        attributes.push(RouteAttribute::Oif(link));
        attributes.extend(
            self.via
                .map(|ip| RouteAttribute::Gateway(RouteAddress::from(ip))),
        );
        attributes.extend(
            self.source
                .map(|ip| RouteAttribute::PrefSource(RouteAddress::from(ip))),
        );
        attributes.extend(self.priority.map(RouteAttribute::Priority));
        if let Some(table) = self.table {
            message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
            attributes.push(RouteAttribute::Table(table));
        }
        let metrics: Vec<RouteMetric> = self
            .mtu
            .map(RouteMetric::Mtu)
            .into_iter()
            .chain(self.advmss.map(RouteMetric::Advmss))
            .collect();
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        message
    }
}

/// Where the kernel would send a packet, by its rules and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Egress {
    /// The link it would leave by.
    pub link: u32,
    /// The route's own MTU, where it has one.
    pub mtu: Option<u32>,
    /// Whether the address is one of this host's own.
    pub local: bool,
    /// The host's address that the packet would come from.
    pub source: Option<IpAddr>,
}

impl RouteSocket {
    /// Adds `route` over link `link`. EEXIST where there is one to the same destination with the same priority.
    pub fn add_route(&self, link: u32, route: &IpRoute) -> Result<()> {
        self.change(
            Message::NewRoute(route.message(link)),
            NLM_F_CREATE | NLM_F_EXCL,
            || {
                format!(
                    "add route to {}{} on link {link}",
                    route.to,
                    via_text(route)
                )
            },
        )
    }

    /// Deletes `route` over link `link`.
    pub fn delete_route(&self, link: u32, route: &IpRoute) -> Result<()> {
        self.change(Message::DelRoute(route.message(link)), 0, || {
            format!(
                "delete route to {}{} on link {link}",
                route.to,
                via_text(route)
            )
        })
    }

    /// Where a packet to `to` would leave; `None` where nothing leads there.
    pub fn egress(&self, to: IpAddr) -> Result<Option<Egress>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(to);
        message.header.destination_prefix_length = match to {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::from(to)));
        let answer = self.get(Message::GetRoute(message), || {
            format!("find the route to {to}")
        });
        match answer {
            Ok(body) => Ok(parse(&body).as_ref().and_then(egress_of)),
            Err(e) if is_unreachable(e.errno()) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The unicast and local routes of one family, of all tables, each with the link that it leads over.
    pub fn routes(&self, ipv6: bool) -> Result<Vec<(u32, IpRoute)>> {
        let any = unspecified(ipv6);
        let routes = self.dump_routes(any)?;
        Ok(routes
            .iter()
            .filter_map(|route| Some((oif(route)?, route_of(route, any)?)))
            .collect())
    }

    /// Where the routes of one family lead, of all tables and all types: those over several links and those that
    /// refuse, too. Each prefix as often as there are routes to it.
    pub fn destinations(&self, ipv6: bool) -> Result<Vec<IpNetwork>> {
        let any = unspecified(ipv6);
        let routes = self.dump_routes(any)?;
        Ok(routes
            .iter()
            .filter_map(|route| destination_of(route, any))
            .collect())
    }

    fn dump_routes(&self, any: IpAddr) -> Result<Vec<RouteMessage>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(any);
        let answers = self.dump(&Message::GetRoute(message), || "list routes".into())?;
        Ok(answers.iter().filter_map(|body| parse(body)).collect())
    }
}

fn unspecified(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

fn destination_of(route: &RouteMessage, any: IpAddr) -> Option<IpNetwork> {
    let named = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => Some(address),
            _ => None,
        });
    let destination = match named {
        Some(address) => ip_of(address)?,
        None => any,
    };
    IpNetwork::new(destination, route.header.destination_prefix_length).ok()
}

fn parse(body: &[u8]) -> Option<RouteMessage> {
    RouteMessage::parse(body).ok()
}

fn is_unreachable(errno: nix::errno::Errno) -> bool {
    use nix::errno::Errno;
    matches!(
        errno,
        Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EACCES
            | Errno::EINVAL
            | Errno::ESRCH
            | Errno::EAFNOSUPPORT
            | Errno::EOPNOTSUPP
    )
}

fn via_text(route: &IpRoute) -> String {
    route.via.map(|ip| format!(" via {ip}")).unwrap_or_default()
}

fn oif(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
}

fn metrics(route: &RouteMessage) -> impl Iterator<Item = &RouteMetric> {
    route
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            RouteAttribute::Metrics(metrics) => Some(metrics),
            _ => None,
        })
        .flatten()
}

fn mtu_of(route: &RouteMessage) -> Option<u32> {
    metrics(route).find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

fn egress_of(route: &RouteMessage) -> Option<Egress> {
    Some(Egress {
        link: oif(route)?,
        mtu: mtu_of(route),
        local: route.header.kind == RouteType::Local,
        source: route
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::PrefSource(address) => ip_of(address),
                _ => None,
            }),
    })
}

fn route_of(message: &RouteMessage, any: IpAddr) -> Option<IpRoute> {
    let local = match message.header.kind {
        RouteType::Local => true,
        RouteType::Unicast => false,
        _ => return None,
    };
    let mut destination = any;
    let mut route = IpRoute::unicast(IpNetwork::new(any, 0).ok()?, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_of(address)?,
            RouteAttribute::Gateway(address) => route.via = ip_of(address),
            RouteAttribute::Priority(priority) => route.priority = Some(*priority),
            RouteAttribute::Table(table) => route.table = Some(*table),
            _ => {}
        }
    }
    route.to = IpNetwork::new(destination, message.header.destination_prefix_length).ok()?;
    route.scope = Some(u8::from(message.header.scope));
    route.mtu = mtu_of(message);
    route.advmss = metrics(message).find_map(|metric| match metric {
        RouteMetric::Advmss(size) => Some(*size),
        _ => None,
    });
    route.local = local;
    Some(route)
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
