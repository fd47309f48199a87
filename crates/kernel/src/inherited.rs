//! A listening socket that the service manager opened for us (sd_listen_fds(3)).
//! crates/docker asks for it before it makes one of its own.
//! It must never take a descriptor that was meant for another process.

use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};

use crate::error::{KernelError, Result};

/// Number of the first descriptor that is passed (sd_listen_fds(3), SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// The unix socket that was passed to this process; `None` where none was. To be asked once.
///
/// # Errors
/// What was passed is no listening unix socket.
pub fn listener() -> Result<Option<UnixListener>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS").unwrap_or(0) == 0 {
        return Ok(None);
    }
    let refused = |errno| KernelError::new("take the socket that LISTEN_FDS passes", errno);
    let socket = passed();
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(refused)?;
    let address: SockaddrStorage =
        getsockname(std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd())).map_err(refused)?;
    if address.family() != Some(AddressFamily::Unix) {
        return Err(refused(Errno::EAFNOSUPPORT));
    }
    Ok(Some(UnixListener::from(socket)))
}

fn passed() -> OwnedFd {
    #[expect(
        unsafe_code,
        reason = "JUSTIFICATION: a descriptor that is passed by number has no other way in"
    )]
    // SAFETY: LISTEN_PID names this process, so descriptor 3 was passed to it, and nobody else here owns it: this is
    // called once, before anything else is opened by number.
    unsafe {
        OwnedFd::from_raw_fd(FIRST)
    }
}
