//! Endpoints of Docker's networks: records of `bridge serve`, which no configuration list can detach, but the driver itself.
//! `survey` asks which networks are Docker's; `gc` has the driver dissolve endpoints whose sandbox is gone.
//! It must never touch what the driver made but by the driver's own protocol (docs/docker.md).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_spec::NetworkName;

use super::evidence::Key;
use crate::error::{Error, Result};
use crate::home::Home;

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
    let answer = exchange(method, &body.to_string()).map_err(Error::file(method, SOCKET))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let said: Value = serde_json::from_str(body).unwrap_or_default();
    let complaint = said["Err"].as_str().unwrap_or_default();
    let fine = head.split(' ').nth(1) == Some("200");
    match fine && complaint.is_empty() {
        true => Ok(()),
        false => Err(Error::Driver {
            method,
            complaint: match complaint {
                "" => head.lines().next().unwrap_or_default().to_owned(),
                words => words.to_owned(),
            },
        }),
    }
}

/// One request of HTTP/1.0, whose answer ends with the connection and comes in one piece.
fn exchange(method: &str, body: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(SOCKET)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        socket,
        "POST /{method} HTTP/1.0\r\nHost: driver\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}
