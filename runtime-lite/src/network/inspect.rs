//! `wharf network inspect`: who is connected to what: container, interface, host side, address, ports.
//! Reads wharf's containers and the result caches of every runtime that uses libcni; Docker's networks have `docker`.
//! It must never ask a plugin or the kernel: it shows what the plugins answered at ADD.

use serde_json::{Map, Value, json};
use wharfline_spec::Fields;
use wharfline_spec::cni::{CniResult, PortMapping, mac_text};

use super::{Known, docker, find, subnet, types};
use crate::attach;
use crate::container::{self, Container};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output::{self, Colour, Table, coloured};
use crate::ports;

/// One connected container.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) container: String,
    pub(crate) name: String,
    /// wharf, docker, or the file that another runtime's libcni wrote.
    pub(crate) source: String,
    pub(crate) ifname: String,
    pub(crate) netns: String,
    /// Interfaces on the host's side: bridge and veth.
    pub(crate) host_side: Vec<String>,
    pub(crate) mac: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) ports: Vec<String>,
}

/// Prints the network and its connections.
pub(crate) fn show(home: &Home, name: &str, as_json: bool) -> Result<()> {
    let known = match find(home, name) {
        Err(error @ Error::NoSuchNetwork { .. }) => {
            let of_docker = docker::find(home, name).ok_or(error)?;
            return docker::show(home, &of_docker, as_json);
        }
        found => found?,
    };
    let connections = connections(home, name)?;
    if as_json {
        output::print_json(&document(&known, &connections));
    } else {
        output::print(&page(&known, &connections));
    }
    Ok(())
}

/// Everything that is attached to the network, as the runtimes' files have it.
pub(crate) fn connections(home: &Home, network: &str) -> Result<Vec<Connection>> {
    let client = home.client();
    let mut found = Vec::new();
    for (about, _) in container::all(home)? {
        for made in &about.wish.attachments {
            if made.network.as_str() != network {
                continue;
            }
            if let Some(result) = attach::result(&client, &about, made)? {
                found.push(Connection::of(&about, made, &result));
            }
        }
    }
    for cached in home.libcni_client().cached_all()?.into_iter().flatten() {
        if cached.network.as_str() != network {
            continue;
        }
        let ifname = cached.attach.ifname.to_string();
        let mut connection = read(cached.result.as_ref(), &ifname, &cached.attach.capabilities);
        connection.container = cached.attach.container.to_string();
        connection.source = cached.file.display().to_string();
        let netns = cached.attach.netns.unwrap_or_default();
        connection.netns = netns.display().to_string();
        found.push(connection);
    }
    Ok(found)
}

impl Connection {
    /// The connection of a container of wharf's.
    pub(crate) fn of(
        about: &Container,
        made: &container::Attachment,
        result: &CniResult,
    ) -> Connection {
        let mut connection = read(Some(result), made.ifname.as_str(), &made.capabilities);
        connection.container = about.id.to_string();
        connection.name = about.name.clone();
        connection.source = "wharf".to_owned();
        let netns = about.netns.clone().unwrap_or_default();
        connection.netns = netns.display().to_string();
        connection
    }
}

impl Connection {
    /// The connection for scripts.
    pub(super) fn document(&self) -> Value {
        json!({
            "container": self.container,
            "name": self.name,
            "source": self.source,
            "netns": self.netns,
            "interface": self.ifname,
            "hostSide": self.host_side,
            "mac": self.mac,
            "addresses": self.addresses,
            "ports": self.ports,
        })
    }
}

fn read(result: Option<&CniResult>, ifname: &str, capabilities: &Map<String, Value>) -> Connection {
    let interfaces = result.map(|result| result.interfaces.as_slice());
    let interfaces = interfaces.unwrap_or_default();
    let on_host = interfaces.iter().filter(|link| link.sandbox.is_none());
    let inside = interfaces
        .iter()
        .find(|link| link.sandbox.is_some() && link.name == ifname);
    let addresses = result.map(|result| result.ips.as_slice());
    Connection {
        container: String::new(),
        name: String::new(),
        source: String::new(),
        ifname: ifname.to_owned(),
        netns: String::new(),
        host_side: on_host.map(|link| link.name.clone()).collect(),
        mac: inside
            .and_then(|link| link.mac)
            .map(mac_text)
            .unwrap_or_default(),
        addresses: addresses
            .unwrap_or_default()
            .iter()
            .map(|ip| ip.address.to_string())
            .collect(),
        ports: published(capabilities),
    }
}

/// The published ports among an attachment's capability arguments, in the form of `-p`.
pub(crate) fn published(capabilities: &Map<String, Value>) -> Vec<String> {
    let Some(Value::Array(mappings)) = capabilities.get("portMappings") else {
        return Vec::new();
    };
    mappings
        .iter()
        .filter_map(|mapping| {
            let fields = Fields::of(mapping, "portMappings").ok()?;
            PortMapping::read(&fields).ok()
        })
        .map(|mapping| ports::show(&mapping))
        .collect()
}

fn page(known: &Known, connections: &[Connection]) -> String {
    let list = &known.list;
    let mut text = format!(
        "{} {}\n  plugins  {}\n  subnets  {}\n  version  {}\n  file     {}\n\n",
        coloured(Colour::Bold, "network"),
        list.name,
        types(list).join(" "),
        subnet::of_list(list).join(" "),
        list.cni_version,
        known.path.display(),
    );
    text.push_str(&table(connections));
    text
}

/// The connections, one a line.
pub(super) fn table(connections: &[Connection]) -> String {
    if connections.is_empty() {
        return "no container is connected\n".to_owned();
    }
    let mut table = Table::new(&[
        "CONTAINER",
        "NAME",
        "INTERFACE",
        "HOST SIDE",
        "MAC",
        "ADDRESS",
        "PORTS",
    ]);
    for connection in connections {
        table.row(vec![
            connection.container.chars().take(12).collect(),
            connection.name.clone(),
            connection.ifname.clone(),
            connection.host_side.join(" "),
            connection.mac.clone(),
            connection.addresses.join(" "),
            connection.ports.join(" "),
        ]);
    }
    table.render()
}

fn document(known: &Known, connections: &[Connection]) -> Value {
    json!({
        "name": known.list.name.as_str(),
        "file": known.path,
        "own": known.own,
        "config": known.list.raw,
        "connections": connections.iter().map(Connection::document).collect::<Vec<_>>(),
    })
}
