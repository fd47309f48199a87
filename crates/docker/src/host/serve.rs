//! `<plugin> serve` of a network driver: its networks found again, and served.
//! A plugin's `docker::main` is this, with its names.

use std::process::ExitCode;
use std::sync::Arc;

use wharfline_kernel::sysctl;

use super::{NetworkKind, Networks};
use crate::{Arguments, NetworkProtocol, Program, Protocol};

/// Where kernel parameters are: a managed plugin has the host's /proc/sys at another path, writable.
const SYSCTLS: &str = "--sysctls";

/// Serves networks of kind `K` until SIGTERM. `name` is the program, `plugin` what Docker calls it.
pub fn serve<K: NetworkKind>(name: &'static str, plugin: &'static str) -> ExitCode {
    let program = Program {
        name,
        plugin,
        options: &[(
            SYSCTLS,
            "PATH  where kernel parameters are written; /proc/sys unless said",
        )],
    };
    crate::main(program, open::<K>)
}

fn open<K: NetworkKind>(arguments: &Arguments) -> Result<Arc<dyn Protocol>, String> {
    if let Some(place) = arguments.values(SYSCTLS).last() {
        sysctl::look_below(place.into());
    }
    let networks = Networks::<K>::restore().map_err(|e| e.to_string())?;
    Ok(Arc::new(NetworkProtocol(networks)))
}
