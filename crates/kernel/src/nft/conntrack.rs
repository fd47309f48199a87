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
    /// One walk of conntrack's table in the kernel per address family, which returns the flows of the port only.
    pub fn forget_flows(&mut self, elements: &[Element]) -> Result<()> {
        let openings: Vec<_> = elements.iter().filter_map(Opening::of).collect();
        // The walk costs some 6 ms however few flows there are: it goes through every bucket.
        if openings.is_empty() || no_flows() {
            return Ok(());
        }
        for v6 in [false, true] {
            let own: Vec<_> = openings.iter().filter(|opening| opening.v6 == v6).collect();
            if !own.is_empty() {
                self.forget_family(v6, &own)?;
            }
        }
        Ok(())
    }

    fn forget_family(&mut self, v6: bool, openings: &[&Opening]) -> Result<()> {
        let family = if v6 {
            NetfilterProtoFamily::IPv6
        } else {
            NetfilterProtoFamily::IPv4
        };
        // The kernel's filter knows one port; with several it is asked for UDP.
        let port = match openings {
            [only] => Some(only.port),
            _ => None,
        };
        let flows = self.socket.dump("dump the UDP flows", || {
            Request::new(family, 0, message(IPCTNL_MSG_CT_GET, filter(port)))
        })?;
        let mut doomed = Vec::new();
        for flow in &flows {
            let stale = read(&flow.attributes, v6)
                .is_some_and(|read| openings.iter().any(|opening| opening.took(&read)));
            if stale {
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

/// Whether conntrack holds nothing at all in this thread's namespace; an unreadable count says no.
fn no_flows() -> bool {
    std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")
        .is_ok_and(|count| count.trim() == "0")
}

fn filter(port: Option<u16>) -> Vec<DefaultNla> {
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

fn read(flow: &[u8], v6: bool) -> Option<Flow> {
    let (source, destination, port) = tuple(attribute(flow, CTA_TUPLE_ORIG)?, v6)?;
    let (answered_by, answered_to, _) = tuple(attribute(flow, CTA_TUPLE_REPLY)?, v6)?;
    Some(Flow {
        source,
        destination,
        port,
        answered_by,
        answered_to,
    })
}

/// Source, destination and destination port of a tuple (`CTA_TUPLE_IP` 1, `CTA_TUPLE_PROTO` 2).
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
