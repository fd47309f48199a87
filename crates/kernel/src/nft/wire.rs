//! Bytes of nfnetlink: requests laid out one after another in a datagram, and the answers read back.
//! The socket and the modules beside it build and read all their messages here.
//! It must never send, and never decide what a refusal means.

use netlink_packet_core::{
    DefaultNla, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use nix::errno::Errno;

/// `NFNL_SUBSYS_NFTABLES` (linux/netfilter/nfnetlink.h): which subsystem a batch is for.
const SUBSYSTEM_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u8 = 16;
const NFNL_BATCH_GENID: u16 = 1;
/// Where a guard's generation lies in a datagram: behind the headers of netlink, nfnetlink and the attribute.
const GUARD_AT: usize = 16 + 4 + 4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The type bits of an attribute, without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// One request: what to ask, of which family, with which `NLM_F_*` flags.
pub(super) struct Request {
    pub(super) family: NetfilterProtoFamily,
    pub(super) flags: u16,
    pub(super) body: NetfilterMessageInner,
}

impl Request {
    /// Whether the kernel will have something to free after it.
    pub(super) fn deletes(&self) -> bool {
        use netlink_packet_netfilter::nftables::NfTablesMessage as Message;
        matches!(
            self.body,
            NetfilterMessageInner::NfTables(
                Message::DeleteTable(_)
                    | Message::DeleteChain(_)
                    | Message::DeleteRule(_)
                    | Message::DeleteSet(_)
                    | Message::DeleteSetElement(_)
            )
        )
    }

    pub(super) fn new(
        family: NetfilterProtoFamily,
        flags: u16,
        body: impl Into<NetfilterMessageInner>,
    ) -> Self {
        Self {
            family,
            flags,
            body: body.into(),
        }
    }
}

/// A datagram under construction; its messages bear consecutive sequence numbers.
pub(super) struct Datagram {
    bytes: Vec<u8>,
    first: u32,
    next: u32,
}

impl Datagram {
    /// Starts an empty datagram whose first message gets the sequence number `first`.
    pub(super) fn new(first: u32) -> Self {
        Self {
            bytes: Vec::with_capacity(4096),
            first,
            next: first,
        }
    }

    pub(super) fn push(&mut self, request: Request) {
        let message =
            NetfilterMessage::new(NetfilterHeader::new(request.family, 0, 0), request.body);
        self.append(message, request.flags);
    }

    /// nfnetlink(7): everything between begin and end is one transaction of the named subsystem.
    /// With a guard the kernel takes it only at that generation of the ruleset (`NFNL_BATCH_GENID`).
    pub(super) fn begin_batch(&mut self, guard: Option<u32>) {
        self.control(match guard {
            None => ControlMessage::BatchBegin,
            Some(generation) => ControlMessage::Other {
                message_type: NFNL_MSG_BATCH_BEGIN,
                attributes: vec![DefaultNla::new(
                    NFNL_BATCH_GENID,
                    generation.to_be_bytes().to_vec(),
                )],
            },
        });
    }

    /// Takes the guard off a datagram that began with a guarded batch: generation 0 is any.
    pub(super) fn waive_guard(&mut self) {
        if let Some(generation) = self.bytes.get_mut(GUARD_AT..GUARD_AT + 4) {
            generation.fill(0);
        }
    }

    pub(super) fn end_batch(&mut self) {
        self.control(ControlMessage::BatchEnd);
    }

    fn control(&mut self, body: ControlMessage) {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM_NFTABLES);
        self.append(NetfilterMessage::new(header, body), 0);
    }

    fn append(&mut self, message: NetfilterMessage, flags: u16) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.next;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let start = self.bytes.len();
        self.bytes.resize(start + packet.buffer_len(), 0);
        packet.serialize(&mut self.bytes[start..]);
        self.next = self.next.wrapping_add(1);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sequence number that the next message would get.
    pub(super) fn next_sequence(&self) -> u32 {
        self.next
    }

    /// Which of the datagram's messages, counted from 0, an answer belongs to.
    pub(super) fn position(&self, sequence: u32) -> Option<usize> {
        let offset = sequence.wrapping_sub(self.first);
        (offset < self.next.wrapping_sub(self.first)).then_some(offset as usize)
    }
}

/// The kernel's refusal of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    pub(super) extack: Option<String>,
}

/// One message that the kernel sent.
pub(super) struct Answer<'a> {
    pub(super) sequence: u32,
    pub(super) flags: u16,
    pub(super) content: Content<'a>,
}

/// What an answer carries.
pub(super) enum Content<'a> {
    /// `NLMSG_ERROR` with error 0: the acknowledgement that was asked for.
    Done,
    /// `NLMSG_DONE`: the end of a dump, with the errno of a dump that broke off.
    End(Option<Errno>),
    Refused(Refusal),
    /// A message of a subsystem: its family and its attributes.
    Object {
        family: u8,
        attributes: &'a [u8],
    },
}

/// The messages of one received datagram. One that does not hold together ends the walk.
pub(super) fn answers(datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let length = message.length() as usize;
        let whole = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let body = whole.get(16..)?;
        Some(Answer {
            sequence: message.sequence_number(),
            flags: message.flags(),
            content: content(message.message_type(), body),
        })
    })
}

fn content(kind: u16, body: &[u8]) -> Content<'_> {
    match kind {
        NLMSG_ERROR => match errno(body) {
            None => Content::Done,
            Some(errno) => Content::Refused(Refusal {
                errno,
                // NETLINK_CAP_ACK: after the number only the header of our message comes back.
                extack: attribute(body.get(20..).unwrap_or_default(), NLMSGERR_ATTR_MSG).map(text),
            }),
        },
        NLMSG_DONE => Content::End(errno(body)),
        _ => Content::Object {
            family: body.first().copied().unwrap_or_default(),
            attributes: body.get(4..).unwrap_or_default(),
        },
    }
}

fn errno(body: &[u8]) -> Option<Errno> {
    let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    (code != 0).then(|| Errno::from_raw(-code))
}

/// The attributes of a message or of a nested attribute: type and value.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut iterator = NlasIterator::new(bytes);
    std::iter::from_fn(move || {
        let attribute = iterator.next()?.ok()?;
        let raw = attribute.into_inner();
        let length = usize::from(u16::from_ne_bytes([raw[0], raw[1]]));
        let kind = u16::from_ne_bytes([raw[2], raw[3]]) & ATTRIBUTE_TYPE;
        Some((kind, raw.get(4..length)?))
    })
}

/// The value of the first attribute of that type.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A string of the kernel: up to the terminating zero.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

/// A number as nfnetlink writes it: big-endian, of whatever width.
pub(super) fn number(value: &[u8]) -> u64 {
    value
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The comment in user data, as libnftnl writes it (libnftnl/udata.h): type 0, length, text, zero.
pub(super) fn comment_of(userdata: &[u8]) -> Option<String> {
    let mut rest = userdata;
    while let [kind, length, tail @ ..] = rest {
        let value = tail.get(..usize::from(*length))?;
        if *kind == 0 {
            return Some(text(value));
        }
        rest = &tail[value.len()..];
    }
    None
}

/// A comment as user data; nft(8) allows 128 bytes.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(127)];
    let mut userdata = vec![0, bytes.len() as u8 + 1];
    userdata.extend_from_slice(bytes);
    userdata.push(0);
    userdata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_reads_back() {
        assert_eq!(comment("abcd"), [0, 5, b'a', b'b', b'c', b'd', 0]);
        assert_eq!(comment_of(&comment("abcd")).as_deref(), Some("abcd"));
        assert_eq!(comment_of(&[7, 1, 9, 0, 2, b'x', 0]).as_deref(), Some("x"));
        assert_eq!(comment_of(&[0, 9, b'x']), None);
    }

    #[test]
    fn a_refusal_carries_the_number_and_the_kernels_words() {
        let mut message = Vec::new();
        for word in [0u32, 0x0300_0002, 7, 0, (-17i32) as u32, 16, 0, 0, 0] {
            message.extend_from_slice(&word.to_ne_bytes());
        }
        message.extend_from_slice(&[8, 0, 1, 0, b'n', b'o', 0, 0]);
        message[0] = message.len() as u8;
        let answer = answers(&message).next().expect("one answer");
        assert_eq!(answer.sequence, 7);
        let Content::Refused(refusal) = answer.content else {
            panic!("not a refusal");
        };
        assert_eq!(refusal.errno, Errno::EEXIST);
        assert_eq!(refusal.extack.as_deref(), Some("no"));
    }

    #[test]
    fn rubbish_ends_the_walk_without_a_panic() {
        assert_eq!(answers(&[1, 2, 3]).count(), 0);
        assert_eq!(answers(&[255; 40]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0, 9, 9]).count(), 0);
        assert_eq!(attributes(&[255, 0, 1, 0, 9, 9]).count(), 0);
    }
}
