//! Stale UDP flows of published ports: conntrack would go on sending them where they went before (features.md P8).
//! Portmap calls it after the mapping is in place on ADD, and after it is gone on DEL.
//! It must never flush a flow of another port, nor a routed flow that was given another source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, Nla};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ProtoTuple, Protocol as TupleProtocol, Tuple,
};
use netlink_packet_netfilter::{NetfilterMessageInner, NetfilterProtoFamily, NetfilterSubsystem};
use nix::errno::Errno;

use super::Nft;
use super::element::{Element, Protocol};
use super::wire::{Request, attribute, number};
use crate::error::{KernelError, Result};

const IPCTNL_MSG_CT_GET: u8 = 1;
const IPCTNL_MSG_CT_DELETE: u8 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_ZONE: u16 = 18;
/// `CTA_FILTER_F_CTA_PROTO_NUM` and `.._PROTO_DST_PORT` (net/netfilter/nf_internals.h), Linux 5.8.
const BY_PROTOCOL: u32 = 1 << 3;
const BY_PORT: u32 = 1 << 5;

/// So many flows are copied in less time than one more walk takes.
const FEW: usize = 2000;

/// A UDP port published on a host address, or on all.
struct Opening {
    host: Option<IpAddr>,
    port: u16,
    v6: bool,
}

impl Opening {
    fn of(element: &Element) -> Option<Self> {
        match element {
            Element::Published {
                protocol: Protocol::Udp,
                host,
                port,
                to,
                ..
            } => Some(Self {
                host: *host,
                port: *port,
                v6: to.is_ipv6(),
            }),
            _ => None,
        }
    }

    /// Whether the flow went to this port of this host. One that left with another source was only routed here; one
    /// whose answer comes from another address was translated, which only a port published before does.
    fn took(&self, flow: &Flow) -> bool {
        let local = flow.answered_by != flow.destination || flow.answered_to == flow.source;
        flow.port == self.port && local && self.host.is_none_or(|host| host == flow.destination)
    }
}

/// One flow of conntrack's.
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    answered_by: IpAddr,
    answered_to: IpAddr,
}

impl Nft {
    /// Deletes the UDP flows that go to the ports published by `elements`; whatever else is among them is ignored.
    ///
    /// Each dump costs 6 to 8 ms however few flows there are: the kernel goes through every bucket of a table that all
    /// namespaces share (ctnetlink_dump_table() in nf_conntrack_netlink.c). So there is none where this namespace has
    /// no flow, and one for both families where it has few; with many, one for each, of which the kernel returns the
    /// flows of the port only.
    pub fn forget_flows(&mut self, elements: &[Element]) -> Result<()> {
        let openings: Vec<_> = elements.iter().filter_map(Opening::of).collect();
        if openings.is_empty() {
            return Ok(());
        }
        for walk in walks(&openings, count()) {
            self.forget_found(walk, &openings)?;
        }
        Ok(())
    }

    fn forget_found(&mut self, walk: Walk, openings: &[Opening]) -> Result<()> {
        let flows = self.socket.dump("dump the UDP flows", || {
            let message = message(IPCTNL_MSG_CT_GET, filter(walk.returned));
            Request::new(walk.family, 0, message)
        })?;
        let mut doomed = Vec::new();
        for flow in &flows {
            let v6 = flow.family == u8::from(NetfilterProtoFamily::IPv6);
            let stale = read(&flow.attributes, v6).is_some_and(|read| {
                openings
                    .iter()
                    .any(|opening| opening.v6 == v6 && opening.took(&read))
            });
            if stale {
                let family = NetfilterProtoFamily::from(flow.family);
                let message = message(IPCTNL_MSG_CT_DELETE, exactly(&flow.attributes));
                doomed.push(Request::new(family, NLM_F_ACK, message));
            }
        }
        for answer in self.socket.ask(doomed)? {
            match answer {
                Err(refusal) if refusal.errno != Errno::ENOENT => {
                    return Err(KernelError::new("delete a stale UDP flow", refusal.errno)
                        .with_extack(refusal.extack));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// One walk of the kernel's through its table of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Walk {
    family: NetfilterProtoFamily,
    returned: Returned,
}

/// Which flows the kernel returns of those it comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Returned {
    /// All of them.
    All,
    /// Those of UDP.
    Udp,
    /// Those of UDP that went to this port.
    UdpPort(u16),
}

/// The walks that find the flows of `openings` among `count` flows.
fn walks(openings: &[Opening], count: usize) -> Vec<Walk> {
    let families = [
        (false, NetfilterProtoFamily::IPv4),
        (true, NetfilterProtoFamily::IPv6),
    ];
    let filtered: Vec<_> = families
        .into_iter()
        .filter_map(|(v6, family)| {
            let mut ports = openings.iter().filter(|opening| opening.v6 == v6);
            let first = ports.next()?.port;
            // The kernel's filter knows one port; with several it is asked for UDP.
            let returned = match ports.all(|opening| opening.port == first) {
                true => Returned::UdpPort(first),
                false => Returned::Udp,
            };
            Some(Walk { family, returned })
        })
        .collect();
    match (count, filtered.len()) {
        (0, _) => Vec::new(),
        // The filter works for one family only (ctnetlink_parse_tuple_filter() in nf_conntrack_netlink.c).
        (1..=FEW, 2) => vec![Walk {
            family: NetfilterProtoFamily::Unspec,
            returned: Returned::All,
        }],
        _ => filtered,
    }
}

/// How many flows conntrack has in this thread's namespace; an unreadable count says many.
fn count() -> usize {
    std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")
        .ok()
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(usize::MAX)
}

fn filter(returned: Returned) -> Vec<DefaultNla> {
    let port = match returned {
        Returned::All => return Vec::new(),
        Returned::Udp => None,
        Returned::UdpPort(port) => Some(port),
    };
    let mut proto = vec![ProtoTuple::Protocol(TupleProtocol::Udp)];
    proto.extend(port.map(ProtoTuple::DestinationPort));
    let tuple = ConntrackAttribute::CtaTupleOrig(vec![Tuple::Proto(proto)]);
    let mut value = vec![0; tuple.value_len()];
    tuple.emit_value(&mut value);
    let flags = BY_PROTOCOL | port.map_or(0, |_| BY_PORT);
    let flags = DefaultNla::new(CTA_FILTER_ORIG_FLAGS, flags.to_ne_bytes().to_vec());
    let mut nested = vec![0; flags.buffer_len()];
    flags.emit(&mut nested);
    vec![
        DefaultNla::new(CTA_TUPLE_ORIG | NLA_F_NESTED, value),
        DefaultNla::new(CTA_FILTER | NLA_F_NESTED, nested),
    ]
}

/// The attributes that name this flow and no other.
fn exactly(flow: &[u8]) -> Vec<DefaultNla> {
    [CTA_TUPLE_ORIG | NLA_F_NESTED, CTA_ZONE]
        .into_iter()
        .filter_map(|kind| {
            let value = attribute(flow, kind & !NLA_F_NESTED)?;
            Some(DefaultNla::new(kind, value.to_vec()))
        })
        .collect()
}

/// The crate's own conntrack message loses the nested flag, which the kernel insists on for the filter.
fn message(message_type: u8, attributes: Vec<DefaultNla>) -> NetfilterMessageInner {
    NetfilterMessageInner::Other {
        subsys: NetfilterSubsystem::Conntrack,
        message_type,
        attributes,
    }
}

/// `None`: not a flow of UDP.
fn read(flow: &[u8], v6: bool) -> Option<Flow> {
    let origin = attribute(flow, CTA_TUPLE_ORIG)?;
    let protocol = number(attribute(attribute(origin, 2)?, 1)?);
    if protocol != u64::from(Protocol::Udp.number()) {
        return None;
    }
    let (source, destination, port) = tuple(origin, v6)?;
    let (answered_by, answered_to, _) = tuple(attribute(flow, CTA_TUPLE_REPLY)?, v6)?;
    Some(Flow {
        source,
        destination,
        port,
        answered_by,
        answered_to,
    })
}

/// Source, destination and destination port of a tuple (`CTA_TUPLE_IP` 1, `CTA_TUPLE_PROTO` 2, and in the latter the
/// protocol 1, the destination port 3).
fn tuple(tuple: &[u8], v6: bool) -> Option<(IpAddr, IpAddr, u16)> {
    let addresses = attribute(tuple, 1)?;
    let kinds = if v6 { [3, 4] } else { [1, 2] };
    let address = |kind| -> Option<IpAddr> {
        let bytes = attribute(addresses, kind)?;
        Some(if v6 {
            Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()
        } else {
            Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()
        })
    };
    let port = number(attribute(attribute(tuple, 2)?, 3)?);
    Some((address(kinds[0])?, address(kinds[1])?, port as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_walked_no_oftener_than_needed() {
        let opening = |port, v6| Opening {
            host: None,
            port,
            v6,
        };
        let walk = |family, returned| Walk { family, returned };
        let (v4, v6) = (NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6);
        let both = [opening(53, false), opening(53, true)];
        let filtered = [v4, v6].map(|family| walk(family, Returned::UdpPort(53)));
        assert_eq!(walks(&both, 0), []);
        let everything = walk(NetfilterProtoFamily::Unspec, Returned::All);
        assert_eq!(walks(&both, 1), [everything]);
        assert_eq!(walks(&both, FEW + 1), filtered);
        assert_eq!(walks(&both[1..], 1), filtered[1..]);
        let several = [opening(53, false), opening(54, false)];
        assert_eq!(walks(&several, 1), [walk(v4, Returned::Udp)]);
    }
}
