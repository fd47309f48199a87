//! Endpoints of Docker's networks: records of `bridge serve`, which no configuration list can detach, but the driver itself.
//! `survey` asks which networks are Docker's; `gc` has the driver dissolve endpoints whose sandbox is gone.
//! It must never touch what the driver made but by the driver's own protocol (docs/docker.md).

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wharfline_spec::NetworkName;

use super::evidence::Key;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::plugin::{Address, Refusal, exchange};

/// Where dockerd looks for the driver, and so do we.
const SOCKET: &str = "/run/docker/plugins/wharf-bridge.sock";
/// The kernel takes 20 ms for a veth pair; a driver that says nothing for so long has died.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether dockerd made the network, and the driver still keeps it.
pub(super) fn has(home: &Home, network: &NetworkName) -> bool {
    let file = format!("{network}.json");
    home.lib().join("docker/networks").join(file).is_file()
}

/// Whether the driver answers calls.
pub(super) fn is_served() -> bool {
    UnixStream::connect(SOCKET).is_ok()
}

/// Has the driver revoke the endpoint's ports and delete it. Both succeed if it is gone.
pub(super) fn dissolve(key: &Key) -> Result<()> {
    let endpoint = json!({"NetworkID": key.network, "EndpointID": key.container});
    call("NetworkDriver.RevokeExternalConnectivity", &endpoint)?;
    call("NetworkDriver.DeleteEndpoint", &endpoint)
}

fn call(method: &'static str, body: &Value) -> Result<()> {
    let address = Address::Unix(SOCKET.into());
    let deadline = Instant::now() + PATIENCE;
    let refusal = match exchange::post(&address, method, &body.to_string(), deadline) {
        Ok(answer) => match answer["Err"].as_str() {
            None | Some("") => return Ok(()),
            Some(said) => Refusal::Said(said.to_owned()),
        },
        Err(refusal) => refusal,
    };
    Err(Error::Driver {
        object: String::new(),
        driver: "wharf-bridge".to_owned(),
        doing: method,
        answered: matches!(refusal, Refusal::Said(_)),
        said: refusal.told_of(&address),
    })
}
