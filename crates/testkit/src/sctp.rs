//! One-to-one style SCTP sockets (RFC 6458, section 4), which behave as TCP's do once they exist.
//!
//! Called by the traffic servers and clients, for want of SCTP in the standard library.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt,
    sockopt,
};
use nix::sys::time::TimeVal;

/// A listener; `accept` and the stream's reads and writes are TCP's.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address)?;
    bind(socket.as_raw_fd(), &storage(address))?;
    nix::sys::socket::listen(&socket, Backlog::new(16)?)?;
    Ok(TcpListener::from(socket))
}

/// An association with `address`, set up within the time given.
pub(crate) fn connect(address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let socket = open(address)?;
    // connect(2) honours SO_SNDTIMEO: past it, EINPROGRESS.
    let limit = TimeVal::new(
        within.as_secs().cast_signed(),
        i64::from(within.subsec_micros()),
    );
    setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &storage(address))?;
    Ok(TcpStream::from(socket))
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let protocol = SockProtocol::Sctp;
    Ok(nix::sys::socket::socket(
        family,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?)
}

fn storage(address: SocketAddr) -> SockaddrStorage {
    match address {
        SocketAddr::V4(address) => address.into(),
        SocketAddr::V6(address) => address.into(),
    }
}
