//! Closing an nfnetlink socket without waiting for what its deletions left to be freed.
//! The socket does it when it is dropped after a transaction that deleted something.
//! It must never be what makes a deletion happen: that was acknowledged long before.
//!
//! Each close waits until everything deleted so far has been freed, an RCU grace period and more: 6 to 16 ms, most of a
//! DEL (nft_rcv_nl_event() in net/netfilter/nf_tables_api.c). So the last reference is given to the kernel's collector
//! of unreachable unix sockets (net/unix/garbage.c): the descriptor goes into a message that nobody can receive, because
//! the receiving end lies in the same message. The collector closes both a moment later, on a kernel thread (since Linux
//! 6.10; before, it runs within our close, which then takes as long as ever).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

/// Leaves a reference to the open socket `fd` to the kernel. The caller still closes its own.
pub(super) fn leave_to_kernel(fd: RawFd) -> Result<(), Errno> {
    let (sender, receiver) = socketpair(
        AddressFamily::Unix,
        SockType::Datagram,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    let descriptors = [fd, receiver.as_raw_fd()];
    sendmsg::<()>(
        sender.as_raw_fd(),
        &[IoSlice::new(&[0])],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::empty(),
        None,
    )
    .map(drop)
}
