//! Docker's plugins: whether dockerd would find them, and whether they answer.
//! `doctor` shows it on hosts that use them, or have networks of theirs.
//! It must never activate a plugin: that is dockerd's, and evicts endpoints.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Finding;
use crate::home::Home;
use crate::network::docker::{self, DockerNetwork};
use crate::plugin::address::{SOCKETS, SPECS};
use crate::plugin::{Address, exchange, own_socket};

/// Ours, with a call that changes nothing.
const PLUGINS: [(&str, &str); 4] = [
    ("wharf-bridge", "NetworkDriver.GetCapabilities"),
    ("wharf-macvlan", "NetworkDriver.GetCapabilities"),
    ("wharf-ipam", "IpamDriver.GetCapabilities"),
    ("wharf-volume", "VolumeDriver.Capabilities"),
];
/// How long a plugin may take to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// The findings.
pub(super) fn all(home: &Home) -> Vec<Finding> {
    let mut findings: Vec<Finding> = specs();
    let networks = docker::all(home);
    for (name, call) in PLUGINS {
        let object = format!("Docker plugin {name}");
        if let Some(path) = own_socket(name) {
            findings.push(socket(object, &path, call));
            continue;
        }
        let of_it = networks
            .iter()
            .filter(|network| uses(network, name))
            .count();
        if of_it > 0 && !has_spec(name) {
            let told = format!(
                "there is no {SOCKETS}/{name}.sock, and Docker has {of_it} networks of it: dockerd waits 15 s in each call"
            );
            findings.push(Finding::problem(
                object,
                told,
                &format!("systemctl enable --now {name}.socket (docs/docker.md)"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine("Docker", "our plugins do not serve it"));
    }
    findings
}

/// Whether the plugin has a part in a network of our network driver; whose addresses it has, their space says.
fn uses(network: &DockerNetwork, plugin: &str) -> bool {
    let request = &network.kept.request;
    let mut subnets = request.ipv4.iter().chain(&request.ipv6);
    match plugin {
        "wharf-ipam" => subnets.any(|subnet| subnet.address_space.starts_with("wharf-")),
        driver => network.driver() == driver,
    }
}

fn socket(object: String, path: &Path, call: &str) -> Finding {
    let address = Address::Unix(path.to_owned());
    match exchange::post(&address, call, "", Instant::now() + WITHIN) {
        Ok(_) => Finding::fine(object, format!("{} answers", path.display())),
        Err(refusal) => Finding::problem(
            object,
            format!(
                "{}; dockerd waits 15 s in each call",
                refusal.told_of(&address)
            ),
            "start the plugin again, or remove the socket",
        ),
    }
}

/// Files that send dockerd to a unix socket which is not there. Other transports are not ours.
fn specs() -> Vec<Finding> {
    let files = SPECS
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let files = files.map(|entry| entry.path());
    let specs = files.filter(|path| path.extension().is_some_and(|end| end == "spec"));
    specs.filter_map(|path| stray(&path)).collect()
}

fn stray(spec: &Path) -> Option<Finding> {
    let text = fs::read_to_string(spec).ok()?;
    let socket = PathBuf::from(text.trim().strip_prefix("unix://")?);
    let gone = UnixStream::connect(&socket).err()?;
    Some(Finding::problem(
        format!("Docker plugin specification {}", spec.display()),
        format!("names {}: {gone}", socket.display()),
        "start that plugin, or remove the file: dockerd waits 15 s for it",
    ))
}

fn has_spec(name: &str) -> bool {
    SPECS.iter().any(|folder| {
        let file = |end: &str| Path::new(folder).join(format!("{name}.{end}")).exists();
        file("spec") || file("json")
    })
}
