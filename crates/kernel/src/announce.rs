//! Unasked-for ARP and neighbour advertisements, so that other containers drop what they remember of an address.
//! `core` sends one when a container comes with a MAC that its address does not imply.
//! It must never wait for an answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use macaddr::MacAddr6;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, sendto,
    socket,
};

use crate::error::{KernelError, Result};

pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];
/// Ethernet address of ff02::1, all nodes (RFC 2464 section 7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
pub(crate) const ETH_P_ARP: [u8; 2] = [0x08, 0x06];
pub(crate) const ETH_P_IPV6: [u8; 2] = [0x86, 0xdd];

/// Tells every port of the bridge `link` (an index) that `ip` is at `mac`.
pub fn announce(link: u32, ip: IpAddr, mac: MacAddr6) -> Result<()> {
    let frame = match ip {
        IpAddr::V4(ip) => gratuitous_arp(ip, mac),
        IpAddr::V6(ip) => unsolicited_advertisement(ip, mac),
    };
    let tried = || format!("announce {ip} at {mac} on link {link}");
    send(link, &frame).map_err(|errno| KernelError::new(tried(), errno))
}

fn send(link: u32, frame: &[u8]) -> std::result::Result<(), Errno> {
    let socket: OwnedFd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None::<SockProtocol>,
    )?;
    sendto(
        socket.as_raw_fd(),
        frame,
        &on_link(link, 0)?,
        MsgFlags::empty(),
    )
    .map(drop)
}

/// Everybody on the segment of `link`, by an Ethernet protocol in network byte order (packet(7)).
pub(crate) fn on_link(link: u32, protocol: u16) -> std::result::Result<LinkAddr, Errno> {
    let address = nix::libc::sockaddr_ll {
        sll_family: nix::libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(link).map_err(|_| Errno::ENODEV)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    };
    let length = size_of_val(&address) as u32;
    #[expect(
        unsafe_code,
        reason = "nix builds a LinkAddr from a raw sockaddr only; JUSTIFICATION: packet(7) has no other address"
    )]
    // SAFETY: the pointer is to a live, fully initialised sockaddr_ll of the length given.
    let parsed = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    parsed.ok_or(Errno::EINVAL)
}

/// ARP request for oneself (RFC 5227 section 1.1, an ARP announcement).
fn gratuitous_arp(ip: Ipv4Addr, mac: MacAddr6) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETH_P_ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, lengths 6 and 4, request
    frame.extend(mac.as_bytes());
    frame.extend(ip.octets());
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

/// Unsolicited neighbour advertisement with the override flag (RFC 4861 section 7.2.6).
fn unsolicited_advertisement(ip: Ipv6Addr, mac: MacAddr6) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut icmp = vec![136, 0, 0, 0, OVERRIDE, 0, 0, 0];
    icmp.extend(ip.octets());
    icmp.extend([2, 1]); // target link-layer address, one unit of eight bytes
    icmp.extend(mac.as_bytes());
    let checksum = icmpv6_checksum(ip, all_nodes, &icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());

    let mut frame = ethernet(ALL_NODES_MAC, mac, ETH_P_IPV6);
    frame.extend([0x60, 0, 0, 0, 0, icmp.len() as u8, 58, 255]);
    frame.extend(ip.octets());
    frame.extend(all_nodes.octets());
    frame.extend(icmp);
    frame
}

pub(crate) fn ethernet(to: [u8; 6], from: MacAddr6, kind: [u8; 2]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to);
    frame.extend(from.as_bytes());
    frame.extend(kind);
    frame
}

/// RFC 8200 section 8.1: over a pseudo-header of both addresses, the length and the next header.
pub(crate) fn icmpv6_checksum(from: Ipv6Addr, to: Ipv6Addr, icmp: &[u8]) -> u16 {
    let mut pseudo = Vec::with_capacity(40 + icmp.len());
    pseudo.extend(from.octets());
    pseudo.extend(to.octets());
    pseudo.extend((icmp.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, 58]);
    pseudo.extend(icmp);
    let mut sum: u32 = pseudo
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksummed_advertisement_sums_to_zero() {
        let ip: Ipv6Addr = "fd00::2".parse().expect("address");
        let frame = unsolicited_advertisement(ip, MacAddr6::new(2, 0, 0, 0, 0, 7));
        let all_nodes = "ff02::1".parse().expect("address");
        assert_eq!(icmpv6_checksum(ip, all_nodes, &frame[54..]), 0);
        assert_eq!(frame.len(), 14 + 40 + 32);
    }

    #[test]
    fn an_arp_announcement_asks_for_its_own_address() {
        let frame = gratuitous_arp(Ipv4Addr::new(10, 1, 2, 3), MacAddr6::new(2, 0, 0, 0, 0, 7));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[28..32], frame[38..42]);
    }
}
