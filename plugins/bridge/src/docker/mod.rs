//! The Docker face of bridge: calls of the protocol become calls of the engine, with the driver that CNI uses.
//! `main` runs it after the word `serve`.
//! It must never reach the kernel's links and tables past the engine, nor be reached on the way of a CNI container.
//!
//! ```text
//! options, network   a network as dockerd asked for it, and the driver's configuration made from it
//! store              networks on the disk
//! networks           CreateNetwork, DeleteNetwork, and all that a restart finds
//! endpoint           an endpoint, between its calls and after a restart
//! calls              the calls about endpoints
//! measured           what there is of them, for Prometheus
//! ports, published   what an endpoint publishes, and which ports of the host it gets
//! ```

mod calls;
mod endpoint;
mod measured;
mod network;
mod networks;
mod options;
mod ports;
mod published;
mod store;

use std::process::ExitCode;
use std::sync::Arc;

use wharfline_core::error::Error;
use wharfline_docker::{Arguments, NetworkProtocol, Program, Protocol, Refusal};

use wharfline_kernel::sysctl;

use networks::DockerBridge;

/// Where kernel parameters are: a managed plugin has the host's /proc/sys at another path, writable.
const SYSCTLS: &str = "--sysctls";

/// Serves until SIGTERM.
pub(crate) fn main() -> ExitCode {
    let program = Program {
        name: "bridge",
        plugin: "wharf-bridge",
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
    let bridge = DockerBridge::restore(&store::NetworkStore::usual()).map_err(|e| e.to_string())?;
    Ok(Arc::new(NetworkProtocol(bridge)))
}

fn refusal(error: Error) -> Refusal {
    Refusal::new(error.to_string())
}
