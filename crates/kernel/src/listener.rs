//! Whether a process of the host has a port that is about to be published; and keeping one from all others.
//! Portmap asks before it publishes, to warn; Docker's face refuses then, and keeps the ports that it chose itself.
//! It must never accept a connection: it binds, which the kernel refuses where somebody listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use crate::nft::Protocol;

/// Whether somebody has the port, on `host` or, without one, on any address of either family. What cannot be told
/// (SCTP, no permission, an address that is not the host's) counts as free.
pub fn is_taken(protocol: Protocol, host: Option<IpAddr>, port: u16) -> bool {
    let taken = on(protocol, host, port, Reuse::TimeWait);
    matches!(taken, Err(Errno::EADDRINUSE))
}

/// Keeps a port, on `host` or on all addresses of either family, for as long as the descriptor is open.
///
/// `None`: somebody has it. A family or protocol that the kernel lacks needs no keeping.
pub fn keep(protocol: Protocol, host: Option<IpAddr>, port: u16) -> Option<Vec<OwnedFd>> {
    match on(protocol, host, port, Reuse::No) {
        Ok(socket) => Some(socket.into_iter().collect()),
        Err(Errno::EADDRINUSE | Errno::EACCES) => None,
        Err(_) => Some(Vec::new()),
    }
}

/// Whether a connection in TIME_WAIT counts as somebody who has the port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    TimeWait,
    No,
}

fn on(
    protocol: Protocol,
    host: Option<IpAddr>,
    port: u16,
    reuse: Reuse,
) -> nix::Result<Option<OwnedFd>> {
    let at = |host, one_family| bound(protocol, SocketAddr::new(host, port), (reuse, one_family));
    match host {
        Some(host) => at(host, true),
        // One socket of both families. A host without IPv6 has none.
        None => match at(Ipv6Addr::UNSPECIFIED.into(), false) {
            Err(errno) if errno != Errno::EADDRINUSE => at(Ipv4Addr::UNSPECIFIED.into(), true),
            told => told,
        },
    }
}

/// A socket that has the address; none where ports of the protocol cannot be bound by us. With `one_family` an IPv6 one
/// leaves IPv4's alone.
fn bound(
    protocol: Protocol,
    address: SocketAddr,
    (reuse, one_family): (Reuse, bool),
) -> nix::Result<Option<OwnedFd>> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
        Protocol::Sctp => return Ok(None),
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if protocol == Protocol::Tcp && reuse == Reuse::TimeWait {
        // Connections in TIME_WAIT are no listener.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &one_family)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(Some(socket))
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
        assert!(keep(Protocol::Tcp, None, port).is_none());
        drop((tcp, udp));
        assert!(!is_taken(Protocol::Tcp, None, port));
        let tcp6 = TcpListener::bind("[::1]:0").expect("a listener");
        let port6 = tcp6.local_addr().expect("its address").port();
        assert!(is_taken(Protocol::Tcp, None, port6));
        assert!(!is_taken(Protocol::Tcp, loopback, port6));
        assert!(!is_taken(Protocol::Tcp, loopback, port));
        assert!(!is_taken(Protocol::Udp, loopback, udp_port));
    }

    #[test]
    fn a_port_that_is_kept_is_nobody_elses() {
        let free = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let kept = keep(Protocol::Tcp, None, port).expect("free");
        assert!(TcpListener::bind(("127.0.0.1", port)).is_err());
        assert!(keep(Protocol::Tcp, None, port).is_none());
        drop(kept);
        assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    }
}
