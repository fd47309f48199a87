//! One rtnetlink socket, bound to the namespace it was opened in, with a synchronous face.
//! `link`, `address`, `route` and `neighbour` put their messages through it.
//! It must never return a dump that the kernel marked as interrupted.

use std::sync::Arc;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::AsyncSocket;
use nix::errno::Errno;
use tokio::runtime::Runtime;

use crate::error::{KernelError, Result};

/// How often an interrupted dump is asked again before the verb says "try again later".
const DUMP_ATTEMPTS: usize = 16;

/// The runtime that polls every socket of one verb: one thread, no timers' wheel of its own.
pub fn runtime() -> Result<Arc<Runtime>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map(Arc::new)
        .map_err(|e| KernelError::from_io("start the netlink event loop", &e))
}

/// A NETLINK_ROUTE socket. It stays in the namespace in which it was opened, wherever it is used from.
#[derive(Clone)]
pub struct RouteSocket {
    runtime: Arc<Runtime>,
    handle: rtnetlink::Handle,
}

impl RouteSocket {
    /// Opens a socket in the calling thread's namespace, polled by `runtime`.
    pub fn open(runtime: &Arc<Runtime>) -> Result<Self> {
        let _inside = runtime.enter();
        let (mut connection, handle, _notices) = rtnetlink::new_connection()
            .map_err(|e| KernelError::from_io("open an rtnetlink socket", &e))?;
        let socket = connection.socket_mut().socket_mut();
        socket
            .set_ext_ack(true)
            .and_then(|()| socket.set_cap_ack(true))
            .map_err(|e| KernelError::from_io("ask netlink for extended errors", &e))?;
        // Strict checking makes the kernel honour a dump's filters (address by interface, ...).
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(|e| KernelError::from_io("ask netlink for strict checks", &e))?;
        runtime.spawn(connection);
        Ok(Self {
            runtime: Arc::clone(runtime),
            handle,
        })
    }

    /// Sends a change and waits for its acknowledgement. `flags` are NLM_F_CREATE, EXCL, REPLACE ...
    pub(crate) fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        tried: impl FnOnce() -> String,
    ) -> Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        match self.exchange(request) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.into_error(tried())),
        }
    }

    /// Asks for one object. The kernel's "no such" is an error here; see [`KernelError::is_absent`].
    pub(crate) fn get(
        &self,
        message: RouteNetlinkMessage,
        tried: impl Fn() -> String,
    ) -> Result<RouteNetlinkMessage> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST;
        match self.exchange(request) {
            Ok(mut answers) if !answers.is_empty() => Ok(answers.swap_remove(0)),
            Ok(_) => Err(KernelError::new(tried(), Errno::ENODATA)),
            Err(refusal) => Err(refusal.into_error(tried())),
        }
    }

    /// Lists objects; an interrupted listing is asked again, EBUSY when that never ends.
    pub(crate) fn dump(
        &self,
        message: RouteNetlinkMessage,
        tried: impl Fn() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut request = NetlinkMessage::from(message.clone());
            request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            match self.exchange(request) {
                Err(Refusal::Interrupted) => continue,
                Ok(answers) => return Ok(answers),
                Err(refusal) => return Err(refusal.into_error(tried())),
            }
        }
        Err(Refusal::Interrupted.into_error(tried()))
    }

    fn exchange(
        &self,
        request: NetlinkMessage<RouteNetlinkMessage>,
    ) -> std::result::Result<Vec<RouteNetlinkMessage>, Refusal> {
        use futures_util::StreamExt;
        let mut handle = self.handle.clone();
        self.runtime.block_on(async move {
            let mut stream = handle.request(request).map_err(|_| Refusal::SocketGone)?;
            let mut answers = Vec::new();
            let mut interrupted = false;
            while let Some(message) = stream.next().await {
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::Error(answer) if answer.code.is_some() => {
                        return Err(Refusal::Kernel(answer));
                    }
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    _ => {}
                }
            }
            if interrupted {
                Err(Refusal::Interrupted)
            } else {
                Ok(answers)
            }
        })
    }
}

enum Refusal {
    Kernel(ErrorMessage),
    Interrupted,
    SocketGone,
}

impl Refusal {
    fn into_error(self, tried: String) -> KernelError {
        match self {
            Self::Kernel(answer) => {
                let errno = Errno::from_raw(answer.raw_code().abs());
                KernelError::new(tried, errno).with_extack(extack_text(&answer.header))
            }
            Self::Interrupted => KernelError::new(tried, Errno::EBUSY).with_extack(Some(
                "the list changed at each of several attempts to read it".into(),
            )),
            Self::SocketGone => KernelError::new(tried, Errno::ENOTCONN),
        }
    }
}

/// The text attribute of an extended acknowledgement. With NETLINK_CAP_ACK the kernel echoes only the
/// 16-byte header of the request, and the attributes follow (linux/netlink.h, `enum nlmsgerr_attrs`).
fn extack_text(after_code: &[u8]) -> Option<String> {
    const REQUEST_HEADER: usize = 16;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let mut rest = after_code.get(REQUEST_HEADER..)?;
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
}
