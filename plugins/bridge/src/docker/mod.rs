//! The Docker face of bridge: calls of the protocol become calls of the engine, with the driver that CNI uses.
//! `main` runs it after the word `serve`.
//! It must never reach the kernel's links and tables past the engine, nor be reached on the way of a CNI container.
//!
//! ```text
//! options, network   a network as dockerd asked for it, and the driver's configuration made from it
//! kind               what such a network is to `wharfline_docker`, which serves the calls
//! ports, published   what an endpoint publishes, and which ports of the host it gets
//! publishing         the calls about them
//! kept_ports         what is remembered of them
//! ```

mod kept_ports;
mod kind;
mod network;
mod options;
mod ports;
mod published;
mod publishing;

use std::process::ExitCode;

use wharfline_docker::host;

use network::DockerNetwork;

/// Serves until SIGTERM.
pub(crate) fn main() -> ExitCode {
    host::serve::<DockerNetwork>("bridge", "wharf-bridge")
}
