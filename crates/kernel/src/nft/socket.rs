//! One nfnetlink socket: transactions, questions and dumps, each finished before the call returns.
//! `Nft` and the modules beside it are the only callers.
//! It must never retry a change that may have been made: what is sent again is a dump that another transaction
//! disturbed, and a transaction that the kernel turned away at its guard.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::parting::leave_to_kernel;
use super::wire::{Content, Datagram, Refusal, Request, answers};
use crate::error::{KernelError, Result};

const NLM_F_DUMP_INTR: u16 = 0x10;
const MSG_DONTWAIT: i32 = 0x40;
/// A dump is delivered in parts of at most 32 KiB (netlink_dump() in net/netlink/af_netlink.c).
const PART: usize = 64 * 1024;
/// Room for the answers of [`QUESTIONS`] questions: each takes a page or two of the kernel's account.
const RECEIVE_ROOM: usize = 1024 * 1024;
/// How many questions go out at once.
const QUESTIONS: usize = 64;
/// A dump in which others change the ruleset all the time is given up after so many attempts.
const DUMP_ATTEMPTS: usize = 64;

/// A socket bound to the network namespace of the thread that opened it.
pub(super) struct NetfilterSocket {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    send_room: usize,
    /// Whether a transaction deleted something.
    deleted: bool,
    namespace: Option<u64>,
}

impl Drop for NetfilterSocket {
    fn drop(&mut self) {
        // Where it fails, the close that follows waits: nothing is lost but time.
        if self.deleted {
            let _ = leave_to_kernel(self.socket.as_raw_fd());
        }
    }
}

/// An answer kept beyond its datagram; an acknowledgement is an empty one.
#[derive(Default)]
pub(super) struct Object {
    pub(super) family: u8,
    pub(super) attributes: Vec<u8>,
}

/// The refusals of a transaction, by the position of the message refused; empty: it was committed.
pub(super) type Refusals = Vec<(usize, Refusal)>;

/// How a transaction went.
pub(super) struct Outcome {
    pub(super) refusals: Refusals,
    /// Whether it was sent without a guard, from the beginning or because somebody else had been first.
    pub(super) unguarded: bool,
}

impl NetfilterSocket {
    pub(super) fn open() -> Result<Self> {
        let failed = |error: io::Error| KernelError::from_io("open a netfilter socket", &error);
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        // Best effort: without these the refusal has no words, or echoes our message.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_ROOM);
        let namespace = cookie(socket.as_raw_fd());
        Ok(Self {
            socket,
            sequence: 1,
            buffer: Vec::with_capacity(PART),
            send_room: 0,
            deleted: false,
            namespace,
        })
    }

    /// The cookie of the namespace that the socket is bound to; `None` where the kernel has none (before 5.14).
    pub(super) fn namespace(&self) -> Option<u64> {
        self.namespace
    }

    /// Sends `changes` as one transaction: all are made or none.
    ///
    /// With a guard it is tried first on condition that the ruleset's generation is that one; where it no longer is
    /// (ERESTART), the same is sent without.
    pub(super) fn transact(
        &mut self,
        changes: Vec<Request>,
        guard: Option<u32>,
    ) -> Result<Outcome> {
        let Some(last) = changes.len().checked_sub(1) else {
            return Ok(Outcome {
                refusals: Vec::new(),
                unguarded: true,
            });
        };
        self.deleted |= changes.iter().any(Request::deletes);
        let mut datagram = Datagram::new(self.sequence);
        datagram.begin_batch(guard);
        for (position, mut change) in changes.into_iter().enumerate() {
            // One acknowledgement, of the last change, says that all were committed: kernels
            // before 6.10 do not acknowledge the end of a batch.
            if position == last {
                change.flags |= NLM_F_ACK;
            }
            datagram.push(change);
        }
        datagram.end_batch();
        self.send(&datagram)?;
        let refusals = self.verdict(&datagram)?;
        let outrun = |(_, refusal): &(usize, Refusal)| refusal.errno == Errno::ERESTART;
        if guard.is_none() || !refusals.iter().any(outrun) {
            return Ok(Outcome {
                refusals,
                unguarded: guard.is_none(),
            });
        }
        datagram.waive_guard();
        self.send(&datagram)?;
        Ok(Outcome {
            refusals: self.verdict(&datagram)?,
            unguarded: true,
        })
    }

    /// nfnetlink works within sendmsg(2), so every answer is there when it returns.
    fn verdict(&mut self, datagram: &Datagram) -> Result<Refusals> {
        let mut refusals = Vec::new();
        let mut committed = false;
        while self.receive_ready()? {
            for answer in answers(&self.buffer) {
                let Some(position) = datagram.position(answer.sequence) else {
                    continue;
                };
                match answer.content {
                    // The begin message is refused when the commit itself fails; count it to the first change.
                    Content::Refused(refusal) => {
                        refusals.push((position.saturating_sub(1), refusal));
                    }
                    Content::Done => committed = true,
                    Content::End(_) | Content::Object { .. } => {}
                }
            }
        }
        if refusals.is_empty() && !committed {
            return Err(KernelError::new(
                "read the kernel's answer to an nftables transaction",
                Errno::ENOBUFS,
            ));
        }
        Ok(refusals)
    }

    /// Asks each question, all at once; the answers come in the questions' order.
    pub(super) fn ask(
        &mut self,
        questions: Vec<Request>,
    ) -> Result<Vec<std::result::Result<Object, Refusal>>> {
        let mut all = Vec::with_capacity(questions.len());
        let mut questions = questions.into_iter();
        loop {
            let mut datagram = Datagram::new(self.sequence);
            for question in questions.by_ref().take(QUESTIONS) {
                datagram.push(question);
            }
            if datagram.bytes().is_empty() {
                return Ok(all);
            }
            self.send(&datagram)?;
            self.collect(&datagram, &mut all)?;
        }
    }

    fn collect(
        &mut self,
        datagram: &Datagram,
        all: &mut Vec<std::result::Result<Object, Refusal>>,
    ) -> Result<()> {
        let count = datagram.position(datagram.next_sequence().wrapping_sub(1));
        let mut slots: Vec<_> = (0..=count.unwrap_or(0)).map(|_| None).collect();
        while self.receive_ready()? {
            for answer in answers(&self.buffer) {
                let Some(position) = datagram.position(answer.sequence) else {
                    continue;
                };
                slots[position] = match answer.content {
                    Content::Refused(refusal) => Some(Err(refusal)),
                    Content::Object { family, attributes } => Some(Ok(Object {
                        family,
                        attributes: attributes.to_vec(),
                    })),
                    Content::Done => Some(Ok(Object::default())),
                    Content::End(_) => continue,
                };
            }
        }
        for slot in slots {
            let unanswered = Refusal {
                errno: Errno::ENOBUFS,
                extack: None,
            };
            all.push(slot.unwrap_or(Err(unanswered)));
        }
        Ok(())
    }

    /// Dumps, and asks again when the ruleset changed meanwhile (`NLM_F_DUMP_INTR`).
    /// `make` builds the question, `tried` names it.
    pub(super) fn dump(&mut self, tried: &str, make: impl Fn() -> Request) -> Result<Vec<Object>> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut request = make();
            request.flags |= NLM_F_DUMP;
            let mut datagram = Datagram::new(self.sequence);
            datagram.push(request);
            self.send(&datagram)?;
            if let Some(objects) = self.dumped(tried, &datagram)? {
                return Ok(objects);
            }
        }
        Err(KernelError::new(tried, Errno::EINTR))
    }

    /// `None`: the dump was disturbed.
    fn dumped(&mut self, tried: &str, datagram: &Datagram) -> Result<Option<Vec<Object>>> {
        let mut objects = Vec::new();
        let mut disturbed = false;
        loop {
            self.receive(0)
                .map_err(|error| KernelError::from_io(tried, &error))?;
            for answer in answers(&self.buffer) {
                if datagram.position(answer.sequence).is_none() {
                    continue;
                }
                disturbed |= answer.flags & NLM_F_DUMP_INTR != 0;
                match answer.content {
                    Content::Object { family, attributes } => objects.push(Object {
                        family,
                        attributes: attributes.to_vec(),
                    }),
                    Content::Refused(refusal) => {
                        return Err(
                            KernelError::new(tried, refusal.errno).with_extack(refusal.extack)
                        );
                    }
                    // EINTR in the last message: a set vanished or changed under the dump.
                    Content::End(Some(Errno::EINTR)) => return Ok(None),
                    Content::End(Some(errno)) => return Err(KernelError::new(tried, errno)),
                    Content::End(None) | Content::Done => {
                        return Ok((!disturbed).then_some(objects));
                    }
                }
            }
        }
    }

    fn send(&mut self, datagram: &Datagram) -> Result<()> {
        self.sequence = datagram.next_sequence();
        let length = datagram.bytes().len();
        // netlink_sendmsg() refuses what exceeds the send buffer (EMSGSIZE); the default is 208 KiB.
        if length > 128 * 1024 && length > self.send_room {
            setsockopt(&self.socket, sockopt::SndBufForce, &(length * 2))
                .map_err(|errno| KernelError::new("raise SO_SNDBUFFORCE for nftables", errno))?;
            self.send_room = length;
        }
        self.socket
            .send(datagram.bytes(), 0)
            .map(|_| ())
            .map_err(|error| KernelError::from_io("send to nfnetlink", &error))
    }

    /// Fills the buffer with the next datagram; false when none waits.
    fn receive_ready(&mut self) -> Result<bool> {
        loop {
            match self.receive(MSG_DONTWAIT) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // More refusals than the buffer holds: those that fitted are still to be read.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => continue,
                Err(error) => return Err(KernelError::from_io("read from nfnetlink", &error)),
            }
        }
    }

    fn receive(&mut self, flags: i32) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, flags) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
        }
    }
}

/// What tells the namespace that a socket is bound to from every other since the machine booted (`SO_NETNS_COOKIE`,
/// sk_getsockopt() in net/core/sock.c).
fn cookie(socket: RawFd) -> Option<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    #[expect(
        unsafe_code,
        reason = "nix has no wrapper for this option; JUSTIFICATION: an inode number is given to another namespace again"
    )]
    // SAFETY: the kernel writes at most `length` bytes, the size of the integer that the pointer leads to.
    let read = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (read == 0 && length as usize == size_of::<u64>()).then_some(cookie)
}
