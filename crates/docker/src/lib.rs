//! Docker's plugin protocol, served over a unix socket: HTTP in, calls of a driver out.
//! The plugins hand their drivers to [`serve`] after the word `serve`; dockerd is the client.
//! It must never know what a call does, nor run one on the thread that serves the sockets.
//!
//! ```text
//! arguments     the command line of `serve`
//! listener      the socket: ours or inherited, stale ones replaced
//! server        connections, each on its own task; SIGTERM and SIGINT end it gracefully
//! exchange      one request: a bounded body, the call on a thread of its own, one line of log
//! metrics       what is counted of the calls, and what a driver measures of itself, in Prometheus' text format
//! scrape        the socket that Prometheus reads them from
//! lines         an answer that comes line by line, while long work goes on
//! spare         when no descriptor is left for a client
//! host          networks of a Docker host and their endpoints, whatever they are made of
//! options       what users give for a network, read and refused by name
//! protocol      what a path means: `network`, `ipam` and `volume`, each a trait that a plugin implements
//! ```

pub mod arguments;
mod exchange;
pub mod host;
mod ipam;
mod lines;
mod listener;
mod log;
mod metrics;
mod network;
pub mod options;
mod protocol;
mod refusal;
mod scrape;
mod server;
mod spare;
mod volume;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

pub use arguments::{Arguments, Asked, Program};
pub use ipam::{IpamDriver, IpamProtocol};
pub use metrics::Gauge;
pub use network::{NetworkDriver, NetworkProtocol};
pub use protocol::{Gone, Protocol, Work};
pub use refusal::Refusal;
pub use volume::{VolumeDriver, VolumeProtocol};

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket could not be had.
    #[error("socket {path}: {problem}")]
    Socket {
        /// Its path, or what stands for it.
        path: String,
        /// What was tried, and what the kernel said.
        problem: String,
    },
    /// The metrics cannot be counted.
    #[error("metrics: {cause}")]
    Metrics {
        /// What the library said.
        cause: prometheus::Error,
    },
    /// The kernel refused something else.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
}

/// The whole of `<binary> serve`: the command line, the driver that `make` makes of it, and serving.
///
/// Exit status 0 after SIGTERM, SIGINT or `--help`, 1 with the reason on stderr where it could not start.
pub fn main(
    program: Program,
    make: impl FnOnce(&Arguments) -> Result<Arc<dyn Protocol>, String>,
) -> ExitCode {
    // The binary's own name and the word `serve` come first.
    let arguments = match Arguments::parse(program, std::env::args_os().skip(2)) {
        Ok(Asked::Serve(arguments)) => arguments,
        Ok(Asked::Help(text)) => {
            // A closed pipe is the reader's choice.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(problem) => return fail(program.name, &problem),
    };
    log::install();
    match make(&arguments) {
        Ok(protocol) => serve(&arguments, protocol),
        Err(problem) => fail(program.name, &problem),
    }
}

/// Serves `protocol` until SIGTERM or SIGINT; the exit status of the process.
pub fn serve(arguments: &Arguments, protocol: Arc<dyn Protocol>) -> ExitCode {
    match server::run(arguments, protocol) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(arguments.name(), &failure),
    }
}

fn fail(name: &str, failure: &dyn std::fmt::Display) -> ExitCode {
    // Nobody is left to tell that stderr is closed.
    let _ = writeln!(io::stderr(), "{name} serve: {failure}");
    ExitCode::FAILURE
}
