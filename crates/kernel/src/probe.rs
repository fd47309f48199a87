//! Asking a segment whether somebody has an address already, before it is given to a container.
//! `core` probes on the container's link, in its namespace, where the driver asks for it.
//! It must never claim the address: probes bear no sender's address (RFC 5227 section 2.1.1, RFC 4862 section 5.4.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use macaddr::MacAddr6;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, recv, sendto, socket};

use crate::announce::{BROADCAST, ETH_P_ARP, ETH_P_IPV6, ethernet, icmpv6_checksum, on_link};
use crate::error::{KernelError, Result};

/// How many times each address is asked for (RFC 5227, PROBE_NUM).
const PROBES: u32 = 3;
/// How long an answer is waited for after each. RFC 5227 spaces probes by a second or two, for links on which a frame
/// takes that long; on those that containers stand on, a neighbour that is up answers within milliseconds.
const PATIENCE: Duration = Duration::from_millis(150);

const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Who has one of `ips` on the segment of `link` (an index, up, in the calling thread's namespace, with the MAC `own`);
/// `None` where nobody answered. It takes 0.45 s to hear nothing.
pub fn occupant(link: u32, own: MacAddr6, ips: &[IpAddr]) -> Result<Option<(IpAddr, MacAddr6)>> {
    let tried = |errno| KernelError::new(format!("probe for addresses on link {link}"), errno);
    let socket = listen(link).map_err(tried)?;
    for _ in 0..PROBES {
        for ip in ips {
            let frame = match ip {
                IpAddr::V4(ip) => arp_probe(*ip, own),
                IpAddr::V6(ip) => solicitation(*ip, own),
            };
            let to = on_link(link, 0).map_err(tried)?;
            sendto(socket.as_raw_fd(), &frame, &to, MsgFlags::empty()).map_err(tried)?;
        }
        if let Some(found) = await_answer(&socket, own, ips).map_err(tried)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn listen(link: u32) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // Without a protocol it hears nothing until it is bound to one: nothing of other links comes in between.
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    let everything = (nix::libc::ETH_P_ALL as u16).to_be();
    bind(socket.as_raw_fd(), &on_link(link, everything)?)?;
    Ok(socket)
}

fn await_answer(
    socket: &OwnedFd,
    own: MacAddr6,
    ips: &[IpAddr],
) -> nix::Result<Option<(IpAddr, MacAddr6)>> {
    let deadline = Instant::now() + PATIENCE;
    let mut frame = [0; 256];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_TRUNC) {
            Ok(length) => {
                let claim = claim(&frame[..length.min(frame.len())]);
                if let Some((ip, mac)) = claim.filter(|(ip, mac)| *mac != own && ips.contains(ip)) {
                    return Ok(Some((ip, mac)));
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// RFC 5227 section 1.1: an ARP request without a sender's address.
fn arp_probe(ip: Ipv4Addr, own: MacAddr6) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, own, ETH_P_ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, lengths 6 and 4, request
    frame.extend(own.as_bytes());
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

/// RFC 4862 section 5.4.2: a neighbour solicitation from the unspecified address.
fn solicitation(ip: Ipv6Addr, own: MacAddr6) -> Vec<u8> {
    let tail = &ip.octets()[13..];
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(tail[0]),
        u16::from_be_bytes([tail[1], tail[2]]),
    );
    let mut icmp = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend(ip.octets());
    let checksum = icmpv6_checksum(Ipv6Addr::UNSPECIFIED, group, &icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = ethernet(
        [0x33, 0x33, 0xff, tail[0], tail[1], tail[2]],
        own,
        ETH_P_IPV6,
    );
    frame.extend([0x60, 0, 0, 0, 0, icmp.len() as u8, 58, 255]);
    frame.extend(Ipv6Addr::UNSPECIFIED.octets());
    frame.extend(group.octets());
    frame.extend(icmp);
    frame
}

/// The address that a frame's sender has, or is about to take; and his MAC.
fn claim(frame: &[u8]) -> Option<(IpAddr, MacAddr6)> {
    let mac = MacAddr6::from(<[u8; 6]>::try_from(frame.get(6..12)?).ok()?);
    let body = frame.get(14..)?;
    match <[u8; 2]>::try_from(frame.get(12..14)?).ok()? {
        ETH_P_ARP => arp_claim(body),
        ETH_P_IPV6 => ndp_claim(body).map(|ip| (ip.into(), mac)),
        _ => None,
    }
}

fn arp_claim(arp: &[u8]) -> Option<(IpAddr, MacAddr6)> {
    let four = |at: usize| <[u8; 4]>::try_from(arp.get(at..at + 4)?).ok();
    let sender = MacAddr6::from(<[u8; 6]>::try_from(arp.get(8..14)?).ok()?);
    let (from, about) = (Ipv4Addr::from(four(14)?), Ipv4Addr::from(four(24)?));
    let claimed = if from.is_unspecified() { about } else { from };
    Some((claimed.into(), sender))
}

fn ndp_claim(packet: &[u8]) -> Option<Ipv6Addr> {
    const NEXT_HEADER: usize = 6;
    const ICMPV6: u8 = 58;
    let sixteen = |at: usize| {
        Some(Ipv6Addr::from(
            <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?,
        ))
    };
    if *packet.get(NEXT_HEADER)? != ICMPV6 {
        return None;
    }
    let (from, about) = (sixteen(8)?, sixteen(48)?);
    match *packet.get(40)? {
        NEIGHBOUR_ADVERTISEMENT => Some(about),
        // Another that detects duplicates of the same address.
        NEIGHBOUR_SOLICITATION if from.is_unspecified() => Some(about),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 7);

    #[test]
    fn a_probe_claims_what_it_asks_for() {
        let v4 = Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(claim(&arp_probe(v4, OWN)), Some((v4.into(), OWN)));
        let v6: Ipv6Addr = "fd00::a:2".parse().expect("address");
        assert_eq!(claim(&solicitation(v6, OWN)), Some((v6.into(), OWN)));
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_its_target_and_is_checksummed() {
        let frame = solicitation("fd00::12:3456".parse().expect("address"), OWN);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let group: Ipv6Addr = "ff02::1:ff12:3456".parse().expect("group");
        assert_eq!(frame[38..54], group.octets());
        assert_eq!(
            icmpv6_checksum(Ipv6Addr::UNSPECIFIED, group, &frame[54..]),
            0
        );
    }

    #[test]
    fn what_is_cut_short_claims_nothing() {
        for frame in [
            arp_probe(Ipv4Addr::new(10, 1, 2, 3), OWN),
            solicitation(Ipv6Addr::LOCALHOST, OWN),
        ] {
            for length in 0..frame.len() {
                let _ = claim(&frame[..length]);
            }
            assert_eq!(claim(&frame[..20]), None);
        }
    }
}
