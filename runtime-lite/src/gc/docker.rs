//! Endpoints of Docker's networks: records of our drivers' servers, which no configuration list can detach, but they themselves.
//! `survey` asks which networks are Docker's; `gc` has the driver dissolve endpoints whose sandbox is gone.
//! It must never touch what the driver made but by the driver's own protocol (docs/docker.md).

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wharfline_spec::NetworkName;
use wharfline_spec::docker::kept::{NETWORKS, SUB_INTERFACES};

use super::evidence::Key;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::plugin::{Address, Refusal, exchange, own_socket};

/// A driver of ours.
#[derive(Debug)]
pub(super) struct Driver {
    /// What dockerd calls it.
    name: &'static str,
    /// What runs it.
    pub(super) command: &'static str,
    folder: &'static str,
}

const DRIVERS: [Driver; 2] = [
    Driver {
        name: "wharf-bridge",
        command: "bridge serve",
        folder: NETWORKS,
    },
    Driver {
        name: "wharf-macvlan",
        command: "macvlan serve",
        folder: SUB_INTERFACES,
    },
];
/// The kernel takes 20 ms for a veth pair; a driver that says nothing for so long has died.
const PATIENCE: Duration = Duration::from_secs(30);

/// The driver that dockerd made the network with, if it still keeps it.
pub(super) fn driver_of(home: &Home, network: &NetworkName) -> Option<&'static Driver> {
    let file = format!("{network}.json");
    let keeps = |driver: &&Driver| home.lib().join(driver.folder).join(&file).is_file();
    DRIVERS.iter().find(keeps)
}

impl Driver {
    /// Whether it answers calls.
    pub(super) fn is_served(&self) -> bool {
        own_socket(self.name).is_some_and(|socket| UnixStream::connect(socket).is_ok())
    }

    /// Has it revoke the endpoint's ports and delete it. Both succeed if it is gone.
    pub(super) fn dissolve(&self, key: &Key) -> Result<()> {
        let endpoint = json!({"NetworkID": key.network, "EndpointID": key.container});
        call(
            self.name,
            "NetworkDriver.RevokeExternalConnectivity",
            &endpoint,
        )?;
        call(self.name, "NetworkDriver.DeleteEndpoint", &endpoint)
    }
}

/// A call of a driver of ours, by the name that dockerd has for it.
pub(super) fn call(driver: &str, method: &'static str, body: &Value) -> Result<()> {
    let address = Address::Unix(own_socket(driver).unwrap_or_default());
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
        driver: driver.to_owned(),
        doing: method,
        answered: matches!(refusal, Refusal::Said(_)),
        said: refusal.told_of(&address),
    })
}
