//! dockerd's names for networks and containers, which it tells no driver, asked over its socket.
//! The parent module puts them in the place of identifiers.
//! It must never be waited for: a dockerd that does not answer at once has no names.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::plugin::{Address, exchange};

/// Where dockerd listens (docs.docker.com, "dockerd", option -H).
const SOCKET: &str = "/run/docker.sock";
/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(2);

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

fn ask(path: &str) -> Option<Value> {
    let dockerd = Address::Unix(SOCKET.into());
    exchange::get(&dockerd, path, Instant::now() + WITHIN).ok()
}
