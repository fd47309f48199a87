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
#[cfg(feature = "plugin")]
pub mod mac;
#[cfg(feature = "plugin")]
mod operator;
mod panics;
mod plugin;
#[cfg(feature = "plugin")]
pub mod served;
mod signals;
pub mod start;
mod stdout;

use std::process::ExitCode;

pub use boundary::Boundary;
pub use environment::ReadVariable;
pub use plugin::{NetworkRequest, Plugin, Request, Verb};

/// The whole of a plugin's process: reads environment and stdin, calls the verb, writes the answer.
/// With arguments it is the operator's tool instead (`--help` says what for); runtimes pass none.
///
/// Exit status 0 on success, else 1 with one error document on stdout (CNI SPEC 1.1.0, "Errors"); a
/// panic is answered too, with code 999.
pub fn main<P: Plugin>(plugin: &P) -> ExitCode {
    #[cfg(feature = "plugin")]
    if std::env::args_os().len() > 1 {
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        return operator::run(plugin.name(), &arguments);
    }
    panics::install();
    log::install();
    Boundary::of_process().run(plugin)
}
