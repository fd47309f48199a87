//! Docker's plugins: whether dockerd would find them, and whether they answer.
//! `doctor` shows it on hosts that use them, or have networks of theirs.
//! It must never activate a plugin: that is dockerd's, and evicts endpoints.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Finding;
use crate::home::Home;
use crate::network::docker::{self, DockerNetwork};

/// Where dockerd looks for plugins' sockets (docs.docker.com, "Docker Plugin API", "Plugin discovery").
const SOCKETS: &str = "/run/docker/plugins";
/// Where it looks for files that name a socket.
const SPECS: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];
/// Ours, with a call that changes nothing.
const PLUGINS: [(&str, &str); 2] = [
    ("wharf-bridge", "/NetworkDriver.GetCapabilities"),
    ("wharf-ipam", "/IpamDriver.GetCapabilities"),
];
/// How long a plugin may take to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// The findings.
pub(super) fn all(home: &Home) -> Vec<Finding> {
    let mut findings: Vec<Finding> = specs();
    let networks = docker::all(home);
    for (name, call) in PLUGINS {
        let object = format!("Docker plugin {name}");
        if let Some(path) = socket_of(name) {
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
                "systemctl enable --now wharf-bridge.socket wharf-ipam.socket (docs/docker.md)",
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
    plugin != "wharf-ipam" || subnets.any(|subnet| subnet.address_space.starts_with("wharf-"))
}

/// In the folder itself, or one below it: a managed plugin's has dockerd's identifier for a name.
fn socket_of(name: &str) -> Option<PathBuf> {
    let file = format!("{name}.sock");
    let below = fs::read_dir(SOCKETS).into_iter().flatten().flatten();
    let mut folders =
        std::iter::once(PathBuf::from(SOCKETS)).chain(below.map(|entry| entry.path()));
    folders.find_map(|folder| Some(folder.join(&file)).filter(|path| path.exists()))
}

fn socket(object: String, path: &Path, call: &str) -> Finding {
    match answers(path, call) {
        Ok(()) => Finding::fine(object, format!("{} answers", path.display())),
        Err(error) => Finding::problem(
            object,
            format!(
                "{}: {error}; dockerd waits 15 s in each call",
                path.display()
            ),
            "start the plugin again, or remove the socket",
        ),
    }
}

fn answers(path: &Path, call: &str) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    let head =
        format!("POST {call} HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.take(1 << 16).read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(std::io::Error::other(format!(
            "it answers {:?}",
            answer.lines().next().unwrap_or_default()
        ))),
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
