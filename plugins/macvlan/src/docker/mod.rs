//! The Docker face of macvlan: networks on a parent, of macvlan or ipvlan interfaces, by the driver that CNI uses.
//! `macvlan` runs it after the word `serve`.
//! It must never be reached on the way of a CNI container.
//!
//! ```text
//! options, network   a network as dockerd asked for it, and the driver's configuration made from it
//! kind               what such a network is to `wharfline_docker`, which serves the calls
//! ```

mod kind;
mod network;
mod options;

use std::process::ExitCode;

use wharfline_docker::host;

use network::DockerNetwork;

/// Serves until SIGTERM.
pub(crate) fn main() -> ExitCode {
    host::serve::<DockerNetwork>("macvlan", "wharf-macvlan")
}
