//! One rtnetlink socket, bound to the namespace it was opened in: a request out, its answer in, in the caller's thread.
//! `link`, `address`, `route` and `neighbour` put their messages through it.
//! It must never return a dump that the kernel marked as interrupted.
//!
//! Messages are made by netlink-packet-route. The event loop of the crate rtnetlink is not used here, and answers are
//! decoded no further than asked for: together they cost a third of a whole ADD (docs/dependencies.md).

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkMessage,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::error::{KernelError, Result};

/// How long an interrupted dump is asked again before the verb says "try again later": as long as for a lock. Where
/// hundreds of containers end at once, the list of links changes all the time for some seconds.
const DUMP_PATIENCE: Duration = Duration::from_secs(30);

/// The kernel fills at most 32 KiB of one receive (af_netlink.c, netlink_recvmsg).
const RECEIVE_BYTES: usize = 32 * 1024;

/// Length of a netlink header, and of the error number after it (linux/netlink.h).
const HEADER: usize = 16;
const ERROR_NUMBER: usize = 4;

/// A NETLINK_ROUTE socket. It stays in the namespace in which it was opened, wherever it is used from.
pub struct RouteSocket {
    wire: RefCell<Wire>,
}

struct Wire {
    socket: Socket,
    sequence: u32,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

/// The body of an answer, after its netlink header.
pub(crate) type Body = Vec<u8>;

impl RouteSocket {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let refused = |e: io::Error| KernelError::from_io("open an rtnetlink socket", &e);
        let socket = Socket::new(NETLINK_ROUTE).map_err(refused)?;
        // Connected to the kernel, so that no other process can answer.
        socket.connect(&SocketAddr::new(0, 0)).map_err(refused)?;
        socket.set_ext_ack(true).map_err(refused)?;
        socket.set_cap_ack(true).map_err(refused)?;
        // Strict checking makes the kernel honour a dump's filters (addresses by link, ...).
        socket.set_netlink_get_strict_chk(true).map_err(refused)?;
        Ok(Self {
            wire: RefCell::new(Wire {
                socket,
                sequence: 0,
                outgoing: Vec::new(),
                incoming: Vec::with_capacity(RECEIVE_BYTES),
            }),
        })
    }

    /// Sends a change and waits for its acknowledgement. `flags` are NLM_F_CREATE, EXCL, REPLACE ...
    pub(crate) fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        tried: impl FnOnce() -> String,
    ) -> Result<()> {
        self.wire
            .borrow_mut()
            .exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags)
            .map(drop)
            .map_err(|refusal| refusal.into_error(tried()))
    }

    /// Asks for one object. The kernel's "no such" is an error here; see [`KernelError::is_absent`].
    pub(crate) fn get(
        &self,
        message: RouteNetlinkMessage,
        tried: impl Fn() -> String,
    ) -> Result<Body> {
        let answer = self.wire.borrow_mut().exchange(message, NLM_F_REQUEST);
        match answer {
            Ok(mut bodies) if !bodies.is_empty() => Ok(bodies.swap_remove(0)),
            Ok(_) => Err(KernelError::new(tried(), Errno::ENODATA)),
            Err(refusal) => Err(refusal.into_error(tried())),
        }
    }

    /// Lists objects; an interrupted listing is asked again, EBUSY when that never ends.
    pub(crate) fn dump(
        &self,
        message: &RouteNetlinkMessage,
        tried: impl Fn() -> String,
    ) -> Result<Vec<Body>> {
        let end = Instant::now() + DUMP_PATIENCE;
        loop {
            let answers = self
                .wire
                .borrow_mut()
                .exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP);
            match answers {
                Err(Refusal::Interrupted) if Instant::now() < end => {}
                Ok(bodies) => return Ok(bodies),
                Err(refusal) => return Err(refusal.into_error(tried())),
            }
        }
    }
}

impl Wire {
    /// One request and all of its answer.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> std::result::Result<Vec<Body>, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        self.outgoing.clear();
        self.outgoing.resize(request.buffer_len(), 0);
        request.serialize(&mut self.outgoing);
        self.socket
            .send(&self.outgoing, 0)
            .map_err(Refusal::Socket)?;

        let mut answer = Answer::default();
        // A question for one object is answered by one message, without an acknowledgement after it.
        let single = flags & (NLM_F_ACK | NLM_F_DUMP) == 0;
        while !(answer.ended || single && !answer.bodies.is_empty()) {
            self.incoming.clear();
            match self.socket.recv(&mut self.incoming, 0) {
                Ok(_) => answer.take(&self.incoming, self.sequence)?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Refusal::Socket(e)),
            }
        }
        if answer.interrupted {
            return Err(Refusal::Interrupted);
        }
        Ok(answer.bodies)
    }
}

/// What has come of an answer.
#[derive(Default)]
struct Answer {
    bodies: Vec<Body>,
    interrupted: bool,
    ended: bool,
}

impl Answer {
    /// Takes the messages of one datagram.
    fn take(&mut self, datagram: &[u8], sequence: u32) -> std::result::Result<(), Refusal> {
        let mut rest = datagram;
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            let length = message.length() as usize;
            if message.sequence_number() == sequence {
                self.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                self.take_one(message.message_type(), &rest[HEADER..length])?;
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }

    fn take_one(&mut self, kind: u16, body: &[u8]) -> std::result::Result<(), Refusal> {
        match kind {
            NLMSG_ERROR => {
                self.ended = true;
                refusal(body).map_or(Ok(()), Err)
            }
            // The end of a dump carries its own error number (af_netlink.c, netlink_dump_done).
            NLMSG_DONE => {
                self.ended = true;
                match body.len() {
                    0 => Ok(()),
                    _ => refusal(body).map_or(Ok(()), Err),
                }
            }
            _ => {
                self.bodies.push(body.to_vec());
                Ok(())
            }
        }
    }
}

/// Why an exchange failed.
#[derive(Debug)]
enum Refusal {
    Kernel(Errno, Option<String>),
    Interrupted,
    Socket(io::Error),
}

/// An NLMSG_ERROR's number: 0 is an acknowledgement.
fn refusal(body: &[u8]) -> Option<Refusal> {
    let number = body
        .first_chunk::<ERROR_NUMBER>()
        .map_or(-(Errno::EBADMSG as i32), |bytes| i32::from_ne_bytes(*bytes));
    (number != 0).then(|| {
        let after = body.get(ERROR_NUMBER..).unwrap_or_default();
        Refusal::Kernel(Errno::from_raw(number.wrapping_neg()), extack_text(after))
    })
}

impl Refusal {
    fn into_error(self, tried: String) -> KernelError {
        match self {
            Self::Kernel(errno, text) => KernelError::new(tried, errno).with_extack(text),
            Self::Interrupted => KernelError::new(tried, Errno::EBUSY).with_extack(Some(
                "the list changed all the time while it was read".into(),
            )),
            Self::Socket(error) => KernelError::from_io(tried, &error),
        }
    }
}

/// The text attribute of an extended acknowledgement. With NETLINK_CAP_ACK the kernel echoes only the
/// header of the request, and the attributes follow (linux/netlink.h, `enum nlmsgerr_attrs`).
fn extack_text(after_number: &[u8]) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let mut rest = after_number.get(HEADER..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
        let value = rest.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            let text = value.split(|&byte| byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extack_text_is_found_after_the_echoed_header() {
        let mut bytes = vec![0; 16];
        bytes.extend([8, 0, 2, 0, 9, 9, 9, 9]); // NLMSGERR_ATTR_OFFS
        bytes.extend([9, 0, 1, 0]);
        bytes.extend(b"busy\0");
        bytes.extend([0; 3]);
        assert_eq!(extack_text(&bytes).as_deref(), Some("busy"));
    }

    #[test]
    fn broken_attributes_are_no_panic() {
        for end in 0..24 {
            let mut bytes = vec![0xff; end];
            bytes.extend([200, 0, 1, 0]);
            assert_eq!(extack_text(&bytes), None);
        }
    }

    #[test]
    fn a_dump_that_failed_is_no_short_list() {
        let mut answer = Answer::default();
        let number = -(Errno::ENODEV as i32);
        let refusal = answer.take_one(NLMSG_DONE, &number.to_ne_bytes());
        assert!(matches!(refusal, Err(Refusal::Kernel(Errno::ENODEV, _))));
        assert!(Answer::default().take_one(NLMSG_DONE, &[0; 4]).is_ok());
        assert!(Answer::default().take_one(NLMSG_DONE, &[]).is_ok());
    }

    #[test]
    fn a_broken_datagram_ends_without_a_panic() {
        for length in 0..40_usize {
            let mut answer = Answer::default();
            let mut datagram = vec![0; 40];
            datagram[0] = length as u8;
            let _ = answer.take(&datagram, 0);
        }
    }
}
