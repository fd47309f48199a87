//! A link that somebody else moves into a container, told to its segment once it is up there with its addresses.
//! Docker's face of the sub-interfaces follows one after each Join: dockerd moves the link when there is a container.
//! It must never tell of an address that the link has not got.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use macaddr::MacAddr6;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::errno::Errno;
use tokio::time::{sleep, timeout};
use wharfline_spec::names::IfName;

use crate::announce::announce;
use crate::error::{KernelError, Result};
use crate::link::LinkKey;
use crate::netns::Netns;
use crate::route_socket::RouteSocket;

/// How long a link may stay where it was made: the runtime has a root file system to prepare meanwhile.
const DEPARTURE: Duration = Duration::from_secs(120);
/// How long it may be without an address or down where it has come to. A busy host takes its time; to wait costs a socket.
const ARRIVAL: Duration = Duration::from_secs(120);

/// Groups of notices (RTMGRP_*, rtnetlink(7)).
const LINKS: u32 = 0x1;
const ADDRESSES: u32 = 0x10 | 0x100;
/// A link is gone from this namespace (rtnetlink(7)).
const RTM_DELLINK: u16 = 17;
/// Length of struct nlmsghdr, bytes: nothing else is read of a notice.
const HEADER: usize = 16;

/// A link that is about to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// Its name in the calling thread's namespace.
    pub link: IfName,
    /// Where it is moved to; that need not be there yet.
    pub netns: PathBuf,
    /// What it is to have there.
    pub addresses: Vec<IpAddr>,
    /// How often each address is told.
    pub times: u32,
    /// Time from one telling to the next.
    pub interval: Duration,
}

/// Follows a link out of the calling thread's namespace, and tells its new segment of its addresses.
///
/// The first poll must come from a thread of that namespace. Whether it has told is the answer: a link that does not move
/// in time, or does not get all its addresses, has nothing told of it.
///
/// # Errors
/// What the kernel refused; ENOENT where the container is gone already.
pub async fn announce_arrival(moving: &Moving) -> Result<bool> {
    let Ok(left) = timeout(DEPARTURE, departure(&moving.link)).await else {
        return Ok(false);
    };
    left?;
    let Ok(arrived) = timeout(ARRIVAL, arrival(moving)).await else {
        return Ok(false);
    };
    arrived?;
    for time in 0..moving.times {
        if time > 0 {
            sleep(moving.interval).await;
        }
        // Opened anew: what is held meanwhile would outlive its container, and keep its link.
        let told = Netns::open(&moving.netns)?.enter(|| tell(&moving.addresses))?;
        if !told {
            return Ok(time > 0);
        }
    }
    Ok(moving.times > 0)
}

/// Waits until the link is gone.
async fn departure(link: &IfName) -> Result<()> {
    let notices = Notices::of(LINKS)?;
    let host = RouteSocket::open()?;
    while host.link(LinkKey::Name(link))?.is_some() {
        while notices.next().await? != RTM_DELLINK {}
    }
    Ok(())
}

/// Waits until a link of the container is up with all the addresses.
async fn arrival(moving: &Moving) -> Result<()> {
    let open = || Ok((Notices::of(LINKS | ADDRESSES)?, RouteSocket::open()?));
    let (notices, inside) = Netns::open(&moving.netns)?.enter(open)?;
    while located(&inside, &moving.addresses)?.is_none() {
        notices.next().await?;
    }
    Ok(())
}

/// Tells of the addresses, in the calling thread's namespace; whether a link has them.
fn tell(addresses: &[IpAddr]) -> Result<bool> {
    let Some((index, mac)) = located(&RouteSocket::open()?, addresses)? else {
        return Ok(false);
    };
    for ip in addresses {
        announce(index, *ip, mac)?;
    }
    Ok(true)
}

/// The link that is up and has all the addresses, none of them still in doubt; and its MAC.
fn located(socket: &RouteSocket, addresses: &[IpAddr]) -> Result<Option<(u32, MacAddr6)>> {
    for link in socket.links()?.iter().filter(|link| link.up) {
        let (Some(mac), true) = (link.mac, !addresses.is_empty()) else {
            continue;
        };
        let there = socket.addresses(link.index)?;
        let settled = |ip: &IpAddr| {
            let mut all = there.iter();
            all.any(|own| own.network.ip() == *ip && !own.tentative && !own.duplicate)
        };
        if addresses.iter().all(settled) {
            return Ok(Some((link.index, mac)));
        }
    }
    Ok(None)
}

/// Notices of a namespace, each a message of its own.
struct Notices(TokioSocket);

impl Notices {
    /// Those of some groups, in the calling thread's namespace.
    fn of(groups: u32) -> Result<Self> {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
            Ok(Self(socket))
        };
        open().map_err(|e| refused(&e))
    }

    /// The kind of the next message. Of notices that were lost (ENOBUFS, netlink(7)) any may have come.
    async fn next(&self) -> Result<u16> {
        let mut message = Vec::with_capacity(HEADER);
        match self.0.recv(&mut message).await {
            Ok(()) => Ok(kind(&message)),
            Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => Ok(RTM_DELLINK),
            Err(e) => Err(refused(&e)),
        }
    }
}

/// The second member of struct nlmsghdr, after the length.
fn kind(message: &[u8]) -> u16 {
    match message {
        [_, _, _, _, low, high, ..] => u16::from_ne_bytes([*low, *high]),
        _ => 0,
    }
}

fn refused(error: &io::Error) -> KernelError {
    KernelError::from_io("listen for notices of links", error)
}
