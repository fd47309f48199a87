//! Netlink messages in the memory of a tracee that is about to send them.
//!
//! Called by the fault injection, to count the messages that change something and to make the kernel refuse one. It must
//! leave requests that only read alone: what fails is the change, not our look at the world.

use std::fmt;

use nix::libc;

use super::syscall::Syscall;
use super::tracer::Memory;

/// struct nlmsghdr: length u32, type u16, flags u16, sequence u32, port u32 (netlink(7)).
const HEADER: usize = 16;
const TYPE_OFFSET: u64 = 4;
/// Above RTM_MAX and of no nfnetlink subsystem: rtnetlink_rcv_msg() and nfnetlink_rcv_batch() refuse it.
const UNKNOWN_TYPE: u16 = 0x3fff;

/// A message that would change something, where it lies in the tracee.
pub(super) struct Message {
    address: u64,
    kind: u16,
    protocol: i32,
}

impl Message {
    /// Replaces its type, so that the kernel answers with an error of its own.
    pub(super) fn spoil(&self, memory: &Memory) {
        memory.write(self.address + TYPE_OFFSET, &UNKNOWN_TYPE.to_ne_bytes());
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "netlink protocol {}, message type {:#x}",
            self.protocol, self.kind
        )
    }
}

/// The messages of one sendto(2) or sendmsg(2) on a netlink socket that change links, addresses, routes or rulesets.
pub(super) fn changes_in(syscall: &Syscall, memory: &Memory) -> impl Iterator<Item = Message> {
    let protocol = match syscall.number {
        libc::SYS_sendto | libc::SYS_sendmsg => memory.netlink_protocol(syscall.arguments[0]),
        _ => None,
    };
    let buffers = match protocol {
        None => Vec::new(),
        Some(_) if syscall.number == libc::SYS_sendto => {
            vec![(syscall.arguments[1], syscall.arguments[2])]
        }
        Some(_) => memory.buffers_of_msghdr(syscall.arguments[1]),
    };
    let protocol = protocol.unwrap_or_default();
    let messages = buffers.into_iter().flat_map(move |(address, length)| {
        let bytes = memory.read(address, usize::try_from(length).unwrap_or_default());
        messages_of(&bytes)
            .map(|(offset, kind)| (address + offset, kind))
            .collect::<Vec<_>>()
    });
    messages
        .filter(move |(_, kind)| is_change(protocol, *kind))
        .map(move |(address, kind)| Message {
            address,
            kind,
            protocol,
        })
}

/// Offset and type of each message in a datagram, as NLMSG_NEXT() walks it.
fn messages_of(bytes: &[u8]) -> impl Iterator<Item = (u64, u16)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let header = bytes.get(offset..offset + HEADER)?;
        let length = u32::from_ne_bytes(header[0..4].try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
        let at = offset;
        offset += length.max(HEADER).next_multiple_of(4);
        Some((at as u64, kind))
    })
}

/// rtnetlink types come in fours, NEW DEL GET SET; of nf_tables messages the odd ones in NEW, GET, DEL triples ask.
fn is_change(protocol: i32, kind: u16) -> bool {
    const SUBSYSTEM_NFTABLES: u16 = 10;
    const SUBSYSTEM_CTNETLINK: u16 = 1;
    match protocol {
        libc::NETLINK_ROUTE => kind >= libc::RTM_NEWLINK && kind % 4 != 2,
        libc::NETLINK_NETFILTER => match (kind >> 8, kind & 0xff) {
            // enum nf_tables_msg_types: NEWTABLE 0, GETTABLE 1, DELTABLE 2, NEWCHAIN 3, ...; the GETs are these.
            (SUBSYSTEM_NFTABLES, message) => {
                ![1, 4, 7, 10, 13, 16, 19, 21, 23, 31].contains(&message)
            }
            // IPCTNL_MSG_CT_NEW 0, GET 1, DELETE 2.
            (SUBSYSTEM_CTNETLINK, message) => message == 0 || message == 2,
            _ => false,
        },
        _ => false,
    }
}
