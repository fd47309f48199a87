//! The boundary of a CNI plugin's process, and the runtime's side of the same protocol.
//! A plugin's `main.rs` calls [`main`]; `wharf` and the tests call [`client`].
//! It must never touch the kernel's network, and only `stdout.rs` may write to stdout.

#[cfg(feature = "plugin")]
pub mod attach;
mod boundary;
pub mod client;
#[cfg(feature = "plugin")]
pub mod delegate;
#[cfg(feature = "plugin")]
pub mod domain;
mod environment;
mod exec;
mod log;
mod panics;
mod plugin;
mod signals;
mod stdout;

use std::process::ExitCode;

pub use boundary::Boundary;
pub use environment::ReadVariable;
pub use plugin::{NetworkRequest, Plugin, Request, Verb};

/// The whole of a plugin's process: reads environment and stdin, calls the verb, writes the answer.
///
/// Exit status 0 on success, else 1 with one error document on stdout (CNI SPEC 1.1.0, "Errors"); a
/// panic is answered too, with code 999.
pub fn main<P: Plugin>(plugin: &P) -> ExitCode {
    panics::install();
    log::install();
    Boundary::of_process().run(plugin)
}
