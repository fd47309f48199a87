//! Waiting until IPv6 duplicate address detection has settled, on the kernel's own notices.
//! `core` runs it inside the container's namespace when a network asks for detection (`enabledad`).
//! It must never poll on a timer.

use std::io;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::errno::Errno;
use rtnetlink::MulticastGroup;

use crate::error::{KernelError, Result};
use crate::route_socket::RouteSocket;

/// Waits until no address of link `index` is tentative, in the calling thread's namespace.
///
/// Errors: EADDRINUSE where another owner was found, ETIMEDOUT past `deadline`.
pub fn settle(index: u32, deadline: Duration) -> Result<()> {
    let give_up = Instant::now() + deadline;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|e| refused(&e))?;
    let _inside = runtime.enter();
    // Subscribed before the first look, so that no notice falls between.
    let (connection, _handle, mut notices) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Ipv6Ifaddr])
            .map_err(|e| refused(&e))?;
    runtime.spawn(connection);
    let socket = RouteSocket::open()?;
    while is_tentative(&socket, index)? {
        let left = give_up.saturating_duration_since(Instant::now());
        let notice = runtime.block_on(async { tokio::time::timeout(left, notices.next()).await });
        if !matches!(notice, Ok(Some(_))) {
            return Err(KernelError::new(
                format!("wait for duplicate address detection on link {index}"),
                Errno::ETIMEDOUT,
            ));
        }
    }
    Ok(())
}

fn is_tentative(socket: &RouteSocket, index: u32) -> Result<bool> {
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
    Ok(addresses.iter().any(|address| address.tentative))
}

fn refused(error: &io::Error) -> KernelError {
    KernelError::from_io("listen for address notices", error)
}
