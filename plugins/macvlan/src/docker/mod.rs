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
use std::sync::Arc;

use wharfline_docker::host::Networks;
use wharfline_docker::{Arguments, NetworkProtocol, Program, Protocol};
use wharfline_kernel::sysctl;

use network::DockerNetwork;

/// Where kernel parameters are: a managed plugin has the host's /proc/sys at another path, writable.
const SYSCTLS: &str = "--sysctls";

/// Serves until SIGTERM.
pub(crate) fn main() -> ExitCode {
    let program = Program {
        name: "macvlan",
        plugin: "wharf-macvlan",
        options: &[(
            SYSCTLS,
            "PATH  where kernel parameters are written; /proc/sys unless said",
        )],
    };
    wharfline_docker::main(program, open)
}

fn open(arguments: &Arguments) -> Result<Arc<dyn Protocol>, String> {
    if let Some(place) = arguments.values(SYSCTLS).last() {
        sysctl::look_below(place.into());
    }
    let networks = Networks::<DockerNetwork>::restore().map_err(|e| e.to_string())?;
    Ok(Arc::new(NetworkProtocol(networks)))
}
