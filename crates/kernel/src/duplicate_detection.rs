//! Waiting until IPv6 duplicate address detection has settled, on the kernel's own notices.
//! `core` runs it inside the container's namespace when a network asks for detection (`enabledad`).
//! It must never poll on a timer.

use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{KernelError, Result};
use crate::route_socket::{RouteSocket, runtime};

/// RTNLGRP_IPV6_IFADDR (linux/rtnetlink.h) as a group mask.
const IPV6_ADDRESS_NOTICES: u32 = 1 << 8;

/// Waits until no address of link `index` is tentative, in the calling thread's namespace.
///
/// Errors: EADDRINUSE where another owner was found, ETIMEDOUT past `deadline`.
pub fn settle(index: u32, deadline: Duration) -> Result<()> {
    let give_up = Instant::now() + deadline;
    // Subscribed before the first look, so that no notice falls between.
    let notices = subscribe()?;
    let socket = RouteSocket::open(&runtime()?)?;
    loop {
        let addresses = socket.addresses(index)?;
        if let Some(taken) = addresses.iter().find(|address| address.duplicate) {
            return Err(KernelError::new(
                format!("use address {} on link {index}", taken.network),
                Errno::EADDRINUSE,
            )
            .with_extack(Some(
                "duplicate address detection found another owner".into(),
            )));
        }
        if !addresses.iter().any(|address| address.tentative) {
            return Ok(());
        }
        wait(
            &notices,
            give_up.saturating_duration_since(Instant::now()),
            index,
        )?;
    }
}

fn subscribe() -> Result<Socket> {
    let refused = |e: std::io::Error| KernelError::from_io("listen for address notices", &e);
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(refused)?;
    socket
        .bind(&SocketAddr::new(0, IPV6_ADDRESS_NOTICES))
        .map_err(refused)?;
    Ok(socket)
}

fn wait(notices: &Socket, left: Duration, index: u32) -> Result<()> {
    let tried = || format!("wait for duplicate address detection on link {index}");
    let milliseconds = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
    if milliseconds == 0 {
        return Err(KernelError::new(tried(), Errno::ETIMEDOUT));
    }
    setsockopt(
        notices,
        sockopt::ReceiveTimeout,
        &TimeVal::milliseconds(milliseconds),
    )
    .map_err(|errno| KernelError::new(tried(), errno))?;
    let mut notice = Vec::with_capacity(4096);
    match notices.recv(&mut notice, 0) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            Err(KernelError::new(tried(), Errno::ETIMEDOUT))
        }
        // Notices were lost: the next look at the addresses makes up for it.
        Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => Ok(()),
        Err(e) => Err(KernelError::from_io(tried(), &e)),
    }
}
