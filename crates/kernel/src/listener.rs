//! Whether a process of the host has a port that is about to be published.
//! Portmap asks before it publishes, to warn.
//! It must never accept a connection: it binds, which the kernel refuses where somebody listens, and lets go at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use crate::nft::Protocol;

/// Whether somebody has the port, on `host` or, without one, on any address of either family. What cannot be told
/// (SCTP, no permission, an address that is not the host's) counts as free.
pub fn is_taken(protocol: Protocol, host: Option<IpAddr>, port: u16) -> bool {
    let at = |host| SocketAddr::new(host, port);
    let refusal = match host {
        Some(host) => probe(protocol, at(host), true),
        // One socket of both families. A host without IPv6 has none.
        None => match probe(protocol, at(Ipv6Addr::UNSPECIFIED.into()), false) {
            Err(errno) if errno != Errno::EADDRINUSE => {
                probe(protocol, at(Ipv4Addr::UNSPECIFIED.into()), true)
            }
            told => told,
        },
    };
    refusal == Err(Errno::EADDRINUSE)
}

/// Takes the address for a moment; with `one_family` an IPv6 one leaves IPv4's alone.
fn probe(protocol: Protocol, address: SocketAddr, one_family: bool) -> nix::Result<()> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
        Protocol::Sctp => return Ok(()),
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let probe = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if protocol == Protocol::Tcp {
        // Connections in TIME_WAIT are no listener.
        setsockopt(&probe, sockopt::ReuseAddr, &true)?;
    }
    if address.is_ipv6() {
        setsockopt(&probe, sockopt::Ipv6V6Only, &one_family)?;
    }
    bind(probe.as_raw_fd(), &SockaddrStorage::from(address))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_listener_is_seen_and_a_free_port_is_free() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = tcp.local_addr().expect("its address").port();
        let udp_port = udp.local_addr().expect("its address").port();
        let loopback = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(is_taken(Protocol::Tcp, loopback, port));
        assert!(
            is_taken(Protocol::Tcp, None, port),
            "any address includes it"
        );
        assert!(is_taken(Protocol::Udp, None, udp_port));
        assert!(is_taken(Protocol::Udp, loopback, udp_port));
        assert!(!is_taken(Protocol::Sctp, loopback, port));
        drop((tcp, udp));
        assert!(!is_taken(Protocol::Tcp, None, port));
        let tcp6 = TcpListener::bind("[::1]:0").expect("a listener");
        let port6 = tcp6.local_addr().expect("its address").port();
        assert!(is_taken(Protocol::Tcp, None, port6));
        assert!(!is_taken(Protocol::Tcp, loopback, port6));
        assert!(!is_taken(Protocol::Tcp, loopback, port));
        assert!(!is_taken(Protocol::Udp, loopback, udp_port));
    }
}
