//! dockerd's names for networks and containers, which it tells no driver, asked over its socket.
//! The parent module puts them in the place of identifiers.
//! It must never be waited for: a dockerd that does not answer at once has no names.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

/// Where dockerd listens (docs.docker.com, "dockerd", option -H).
const SOCKET: &str = "/run/docker.sock";
/// How long each read or write may take.
const WITHIN: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// Names of networks by their identifiers.
pub(super) fn network_names() -> HashMap<String, String> {
    let Some(Value::Array(networks)) = ask("/networks") else {
        return HashMap::new();
    };
    let text = |network: &Value, key: &str| network[key].as_str().map(str::to_owned);
    networks
        .iter()
        .filter_map(|network| Some((text(network, "Id")?, text(network, "Name")?)))
        .collect()
}

/// Containers of a network by their endpoints: identifier and name.
pub(super) fn container_names(network: &str) -> HashMap<String, (String, String)> {
    let Some(about) = ask(&format!("/networks/{network}")) else {
        return HashMap::new();
    };
    let containers = about["Containers"].as_object().into_iter().flatten();
    containers
        .filter_map(|(id, container)| {
            let endpoint = container["EndpointID"].as_str()?.to_owned();
            let name = container["Name"].as_str()?.to_owned();
            Some((endpoint, (id.clone(), name)))
        })
        .collect()
}

/// HTTP/1.0, so that the answer ends with the connection and is in one piece.
fn ask(path: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(SOCKET).ok()?;
    stream.set_read_timeout(Some(WITHIN)).ok()?;
    stream.set_write_timeout(Some(WITHIN)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    serde_json::from_str(body).ok().filter(|_| status == "200")
}
