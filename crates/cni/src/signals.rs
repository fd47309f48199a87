//! Signals: a DEL that has begun is finished.
//! Called by `boundary.rs` before a DEL does anything, while the process has one thread.
//! Must never hold back SIGKILL's likes (it cannot) nor signals of a crash.

use nix::sys::signal::{SigSet, Signal};

/// Holds back the signals by which people and runtimes end a process, for it and every thread it
/// will start. They stay pending, and the process ends by itself with its answer.
///
/// Half a DEL leaves rules behind that nobody comes back for (netavark#1223). Children that we exec
/// start with an empty mask (std::process), and in a process group of their own.
pub(crate) fn hold_back() {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    if let Err(errno) = signals.thread_block() {
        tracing::warn!("hold back SIGTERM during DEL: {errno}");
    }
}
