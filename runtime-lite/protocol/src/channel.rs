//! A socket that carries one JSON document, and descriptors if need be, per packet.
//! `wharf` keeps one end; the other is the shim's stdin. SOCK_SEQPACKET keeps the packets apart (unix(7)).
//! It never interprets what it carries.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::file;

/// The largest packet that is sent or read: the environment of a further process is the largest thing in one.
const PACKET_BYTES: usize = 160 * 1024;
/// The most descriptors that travel with one message: stdin, stdout, stderr.
const MAX_DESCRIPTORS: usize = 3;
/// So many callers may wait for a shim that is busy making a container.
const BACKLOG: i32 = 128;

/// Why a message could not be sent or understood.
#[derive(Debug)]
pub enum ChannelError {
    /// Nobody is at the other end any more: there was one, and it has ended or closed it.
    Gone,
    /// The socket failed.
    Socket(io::Error),
    /// The packet is not a message that this version knows.
    Unknown(serde_json::Error),
}

impl std::fmt::Display for ChannelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ChannelError::Gone => write!(f, "nobody is at its other end any more"),
            ChannelError::Socket(cause) => write!(f, "the socket to the shim: {cause}"),
            ChannelError::Unknown(cause) => write!(f, "a message of an unknown form: {cause}"),
        }
    }
}

impl std::error::Error for ChannelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ChannelError::Gone => None,
            ChannelError::Socket(cause) => Some(cause),
            ChannelError::Unknown(cause) => Some(cause),
        }
    }
}

impl From<rustix::io::Errno> for ChannelError {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            // What was sent before is lost with a peer that dies with unread packets (unix(7)).
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => ChannelError::Gone,
            errno => ChannelError::Socket(errno.into()),
        }
    }
}

/// One end of the conversation between `wharf` and a shim.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Two connected ends: one to keep, one to hand to the shim as its stdin.
    pub fn pair() -> Result<(Channel, OwnedFd), ChannelError> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Channel { socket: ours }, theirs))
    }

    /// The shim's end, which it was started with as stdin. The copy is closed on exec.
    pub fn from_stdin() -> Result<Channel, ChannelError> {
        let socket = rustix::stdio::stdin()
            .try_clone_to_owned()
            .map_err(ChannelError::Socket)?;
        Ok(Channel { socket })
    }

    /// A socket that shims listen on, in the folder `dir`. It does not block.
    pub fn listen(dir: &Path) -> Result<OwnedFd, ChannelError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::SEQPACKET;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        match std::fs::remove_file(dir.join(file::CONTROL)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(ChannelError::Socket(cause));
            }
            _ => {}
        }
        with_address(dir, |address| rustix::net::bind(&socket, address))?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// The next caller of a listening socket; `None` if there is none.
    pub fn accept(listener: &OwnedFd) -> Result<Option<Channel>, ChannelError> {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => Ok(Some(Channel { socket })),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Calls the shim that serves the folder `dir`; `None` if none does.
    pub fn call(dir: &Path) -> Result<Option<Channel>, ChannelError> {
        let kind = SocketType::SEQPACKET;
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        match with_address(dir, |address| rustix::net::connect(&socket, address)) {
            Ok(()) => Ok(Some(Channel { socket })),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Another end that was received or inherited.
    pub fn from_socket(socket: OwnedFd) -> Channel {
        Channel { socket }
    }

    /// Sends `message`, and copies of `descriptors` (at most three) with it; [`ChannelError::Gone`] if nobody can read it.
    pub fn send<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let packet = serde_json::to_vec(message).map_err(ChannelError::Unknown)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        // NOSIGNAL: a peer that is gone is an error to report, not a SIGPIPE to die of.
        rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(&packet)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// The next message and the descriptors that came with it; `None` when the other side is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>, ChannelError> {
        let mut packet = vec![0; PACKET_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut packet)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let descriptors = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let message =
            serde_json::from_slice(&packet[..received.bytes]).map_err(ChannelError::Unknown)?;
        Ok(Some((message, descriptors)))
    }
}

/// The address of a folder's control socket. A path in an address has 108 bytes at most (unix(7)), so the folder is named
/// by a descriptor.
fn with_address<T>(
    dir: &Path,
    work: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), file::CONTROL);
    work(&SocketAddrUnix::new(path)?)
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, Report, Request, Stage};
    use std::io::{Read, Write};

    fn ends() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().expect("a socket pair");
        (ours, Channel { socket: theirs })
    }

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let (wharf, shim) = ends();
        let sent = Report::Failed(Failure {
            stage: Stage::CommandNotFound,
            reason: "no".into(),
        });
        shim.send(&sent, &[]).expect("sent");
        let (got, descriptors) = wharf.receive::<Report>().expect("read").expect("open");
        assert_eq!(got, sent);
        assert!(descriptors.is_empty());
    }

    #[test]
    fn descriptors_travel_with_a_request() {
        let (wharf, shim) = ends();
        let (mut reader, writer) = io::pipe().expect("a pipe");
        wharf
            .send(&Request::Attach, &[writer.as_fd()])
            .expect("sent");
        drop(writer);
        let (_, descriptors) = shim.receive::<Request>().expect("read").expect("open");
        let copy = descriptors.into_iter().next().expect("one descriptor");
        std::fs::File::from(copy)
            .write_all(b"hello")
            .expect("written");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_closed_peer_reads_as_none_and_hears_nothing() {
        let (wharf, shim) = ends();
        drop(wharf);
        assert!(shim.receive::<Request>().expect("read").is_none());
        let sent = shim.send(&Report::Done, &[]);
        assert!(matches!(sent, Err(ChannelError::Gone)), "{sent:?}");
    }

    #[test]
    fn a_foreign_packet_is_an_error_not_a_panic() {
        let (wharf, shim) = ends();
        wharf.send(&"hello", &[]).expect("sent");
        assert!(matches!(
            shim.receive::<Request>(),
            Err(ChannelError::Unknown(_))
        ));
    }
}
