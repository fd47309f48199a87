//! Neighbour entries told from outside: who has which address, without asking the wire.
//! `core`'s operations keep one per container address on the bridge.
//! It must never pin an entry: whoever changes a MAC later (the tuning plugin) must be found by ARP again.

use std::net::IpAddr;

use macaddr::MacAddr6;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, Parseable};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use nix::errno::Errno;

use crate::address::family;
use crate::error::Result;
use crate::route_socket::RouteSocket;

/// A neighbour entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its MAC; `None` while nobody answers for the address.
    pub mac: Option<MacAddr6>,
}

impl RouteSocket {
    /// Makes `ip` on link `link` known to be at `mac`, whatever was known before. Entries learned from outside are
    /// exempt from gc_thresh3 (net/core/neighbour.c, neigh_update_gc_list), so more than 1,024 of them stay known; a
    /// stale one is used at once, and verified by the way.
    pub fn set_neighbour(&self, link: u32, ip: IpAddr, mac: MacAddr6) -> Result<()> {
        let mut message = neighbour_message(link, ip);
        message.header.state = NeighbourState::Stale;
        message.header.flags = NeighbourFlags::ExtLearned;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(
                mac.as_bytes().to_vec(),
            ));
        self.change(
            Message::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
            || format!("set neighbour {ip} at {mac} on link {link}"),
        )
    }

    /// Forgets `ip` on link `link`.
    pub fn delete_neighbour(&self, link: u32, ip: IpAddr) -> Result<()> {
        let message = neighbour_message(link, ip);
        self.change(Message::DelNeighbour(message), 0, || {
            format!("delete neighbour {ip} from link {link}")
        })
    }

    /// What is known of `ip` on link `link`; `None` where there is no entry.
    pub fn neighbour(&self, link: u32, ip: IpAddr) -> Result<Option<Neighbour>> {
        let message = neighbour_message(link, ip);
        let answer = self.get(Message::GetNeighbour(message), || {
            format!("look up neighbour {ip} on link {link}")
        });
        match answer {
            Ok(body) => {
                let entry = NeighbourMessage::parse(body.as_slice());
                Ok(entry.ok().map(|entry| Neighbour {
                    mac: mac_of(&entry),
                }))
            }
            Err(e) if e.is_absent() || e.errno() == Errno::EINVAL => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn neighbour_message(link: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = link;
    let destination = match ip {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    message
        .attributes
        .push(NeighbourAttribute::Destination(destination));
    message
}

fn mac_of(entry: &NeighbourMessage) -> Option<MacAddr6> {
    entry
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => <[u8; 6]>::try_from(bytes.as_slice())
                .ok()
                .map(MacAddr6::from),
            _ => None,
        })
}
