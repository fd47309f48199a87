//! ioctl(2) with one argument by reference, typed by its request.
//! The modules beside it are its only callers.
//! It must never be given a type whose layout is not the kernel's: that is what an implementation of [`Argument`] vouches for.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

/// What a request reads or writes: `repr(C)`, of the size that the kernel's header gives it, valid for every bit pattern.
pub(super) trait Argument {
    /// The request's number, as the kernel's header makes it.
    const REQUEST: u64;
}

/// `_IOC` of include/uapi/asm-generic/ioctl.h: direction (1 to the kernel, 2 from it), type, number, size.
pub(super) const fn number(direction: u64, kind: u8, nr: u8, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | (kind as u64) << 8 | nr as u64
}

/// Direction: the kernel reads the argument.
pub(super) const WRITE: u64 = 1;
/// Direction: the kernel writes it.
pub(super) const READ: u64 = 2;

/// Makes the request; what the kernel answered beside the argument.
pub(super) fn call<T: Argument>(fd: impl AsFd, argument: &mut T) -> Result<i32, Errno> {
    let fd = fd.as_fd().as_raw_fd();
    #[expect(
        unsafe_code,
        reason = "JUSTIFICATION: no safe library has these requests"
    )]
    // SAFETY: the argument lives for the call, and its type has the layout of the request's (`Argument`).
    let answered =
        unsafe { libc::ioctl(fd, T::REQUEST as libc::Ioctl, std::ptr::from_mut(argument)) };
    Errno::result(answered)
}

/// Makes a request whose argument is a plain number.
pub(super) fn call_with_number(
    fd: impl AsFd,
    request: u64,
    argument: libc::c_ulong,
) -> Result<i32, Errno> {
    let fd = fd.as_fd().as_raw_fd();
    #[expect(
        unsafe_code,
        reason = "JUSTIFICATION: no safe library has these requests"
    )]
    // SAFETY: the kernel takes the argument for a number and touches no memory of ours.
    let answered = unsafe { libc::ioctl(fd, request as libc::Ioctl, argument) };
    Errno::result(answered)
}
