//! The beginning and the end of a program of ours: the C runtime's `main`, without the standard library's own start.
//! Each plugin's `main.rs` is made one by [`program!`](crate::program).
//! Must never leave undone what that start does for the sake of safety.
//!
//! The standard library begins by reading /proc/self/maps, to find the main thread's stack and print a word when it
//! overflows: 0.08 ms, of the 1.2 that portmap takes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

/// Makes a function `fn() -> ExitCode` the program.
#[macro_export]
macro_rules! program {
    ($run:expr) => {
        const PROGRAM: fn() -> ::std::process::ExitCode = $run;

        // The test harness brings a main of its own.
        #[cfg(test)]
        const _: fn() -> ::std::process::ExitCode = PROGRAM;
        #[cfg(not(test))]
        #[expect(
            unsafe_code,
            reason = "the C runtime calls the program by this name; JUSTIFICATION: wharfline_cni::start says what it saves"
        )]
        // SAFETY: the signature is the one that the C runtime calls, and nothing else of the program has the name.
        #[unsafe(no_mangle)]
        extern "C" fn main() -> ::core::ffi::c_int {
            $crate::start::run(PROGRAM)
        }
    };
}

/// Runs the program and ends the process.
pub fn run(program: impl FnOnce() -> ExitCode) -> ! {
    let ready = open_standard_streams();
    // A reader who has gone is an error to be reported (EPIPE), not the end of half an ADD. Children begin without it
    // (std::process).
    let mut pipe = SigSet::empty();
    pipe.add(Signal::SIGPIPE);
    let ready = ready.and_then(|()| pipe.thread_block());
    let code = match ready {
        Ok(()) => program(),
        Err(errno) => {
            // To whom it cannot be told, it cannot be told.
            let _ = writeln!(io::stderr(), "prepare the standard streams: {errno}");
            ExitCode::FAILURE
        }
    };
    // A code does not tell its number.
    let status = (0..=u8::MAX).find(|status| ExitCode::from(*status) == code);
    std::process::exit(status.unwrap_or(1).into())
}

/// A standard stream that the caller closed leads nowhere. Else the next file that is opened would get its number, and
/// an answer or a log line would be written into it.
fn open_standard_streams() -> nix::Result<()> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    while any_is_closed(&streams)? {
        let nowhere = File::options().read(true).write(true).open("/dev/null");
        let nowhere = nowhere.map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or_default()))?;
        // The lowest free number is the closed stream's, and stays open as long as we live.
        let _ = nowhere.into_raw_fd();
    }
    Ok(())
}

fn any_is_closed(streams: &[BorrowedFd<'_>; 3]) -> nix::Result<bool> {
    let mut asked = streams.map(|stream| PollFd::new(stream, PollFlags::empty()));
    poll(&mut asked, PollTimeout::ZERO)?;
    let closed = |polled: &PollFd<'_>| {
        polled
            .revents()
            .is_some_and(|found| found.contains(PollFlags::POLLNVAL))
    };
    Ok(asked.iter().any(closed))
}
