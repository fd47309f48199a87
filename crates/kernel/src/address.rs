//! Addresses of links.
//! `core`'s operations put them on the container's end and on the bridge.
//! It must never leave an IPv6 address tentative unless duplicate detection was asked for.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};

use crate::error::Result;
use crate::route_socket::RouteSocket;

/// An address that a link has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkAddress {
    /// Address and prefix length, host bits kept.
    pub network: IpNetwork,
    /// Duplicate detection has not ended (IFA_F_TENTATIVE).
    pub tentative: bool,
    /// Duplicate detection found another owner (IFA_F_DADFAILED).
    pub duplicate: bool,
    /// fe80::/10, made by the kernel.
    pub link_local: bool,
}

/// How an address is put on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewAddress {
    /// Whether IPv6 looks for another owner first (RFC 4862, section 5.4).
    pub detect_duplicates: bool,
    /// Whether no route to the subnet comes with it (IFA_F_NOPREFIXROUTE).
    pub alone: bool,
}

impl RouteSocket {
    /// Puts `network` on link `index`. EEXIST where it is there.
    pub fn add_address(&self, index: u32, network: IpNetwork, how: NewAddress) -> Result<()> {
        let mut message = address_message(index, network);
        let mut flags = AddressFlags::empty();
        // IFA_F_NODAD: the lease already guarantees uniqueness, and a tentative address makes the
        // workload's first bind() fail with EADDRNOTAVAIL.
        if network.is_ipv6() && !how.detect_duplicates {
            message.header.flags = AddressHeaderFlags::Nodad;
            flags |= AddressFlags::Nodad;
        }
        if how.alone {
            flags |= AddressFlags::Noprefixroute;
        }
        if !flags.is_empty() {
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        self.change(
            Message::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("add address {network} to link {index}"),
        )
    }

    /// Takes `network` from link `index`.
    pub fn delete_address(&self, index: u32, network: IpNetwork) -> Result<()> {
        let message = address_message(index, network);
        self.change(Message::DelAddress(message), 0, || {
            format!("delete address {network} from link {index}")
        })
    }

    /// The addresses of link `index`; the kernel filters (NETLINK_GET_STRICT_CHK).
    pub fn addresses(&self, index: u32) -> Result<Vec<LinkAddress>> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        let answers = self.dump(&Message::GetAddress(message), || {
            format!("list the addresses of link {index}")
        })?;
        Ok(answers
            .iter()
            .filter_map(|body| AddressMessage::parse(body.as_slice()).ok())
            .filter(|address| address.header.index == index)
            .filter_map(|address| LinkAddress::from_message(&address))
            .collect())
    }
}

impl LinkAddress {
    fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut address = None;
        let mut local = None;
        let mut flags = AddressFlags::empty();
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        // IFA_LOCAL is the own address, IFA_ADDRESS the peer's on point-to-point links; IPv6 has only the latter.
        let own = local.or(address)?;
        Some(Self {
            network: IpNetwork::new(own, message.header.prefix_len).ok()?,
            tentative: flags.contains(AddressFlags::Tentative),
            duplicate: flags.contains(AddressFlags::Dadfailed),
            link_local: message.header.scope == AddressScope::Link,
        })
    }
}

fn address_message(index: u32, network: IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = network.prefix();
    message.header.family = family(network.ip());
    message.attributes = vec![
        AddressAttribute::Local(network.ip()),
        AddressAttribute::Address(network.ip()),
    ];
    if let IpNetwork::V4(v4) = network
        && v4.prefix() < 31
        && v4.broadcast() != Ipv4Addr::UNSPECIFIED
    {
        message
            .attributes
            .push(AddressAttribute::Broadcast(v4.broadcast()));
    }
    message
}

pub(crate) fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
