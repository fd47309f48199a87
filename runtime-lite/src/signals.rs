//! The signals that a user sends to `wharf` and means for a container.
//! `run`, `session` and `logs` read them.
//! It must never lose one that was sent while a container was being made.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use wharf_protocol::FORWARDED;

use crate::error::{Error, Result};

/// From now on these signals are read, and do not end this process.
pub(crate) fn catch() -> Result<SignalFd> {
    let caught = SigSet::from_iter(FORWARDED);
    let failed = |errno| Error::kernel("catch signals of", "/proc/self")(errno);
    caught.thread_block().map_err(failed)?;
    SignalFd::with_flags(&caught, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(failed)
}

/// The next that was sent.
pub(crate) fn next(signals: &SignalFd) -> Option<Signal> {
    let info = signals.read_signal().ok().flatten()?;
    Signal::try_from(info.ssi_signo as i32).ok()
}

/// A command that has no handler for it is deaf to SIGTERM, being the first of its pid namespace (pid_namespaces(7)):
/// whoever asks three times means it, as with Docker.
#[derive(Debug, Default)]
pub(crate) struct Pleas(u32);

impl Pleas {
    pub(crate) fn is_last(&mut self, signal: Signal) -> bool {
        if matches!(signal, Signal::SIGINT | Signal::SIGTERM) {
            self.0 += 1;
            return self.0 == 3;
        }
        false
    }
}
