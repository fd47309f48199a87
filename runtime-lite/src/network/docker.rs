//! Docker's networks of our driver, shown like CNI's: from the files that the driver keeps, with dockerd's names for them.
//! `network ls` and `network inspect` call it.
//! It must never need dockerd or the driver to run: without them identifiers stand for names.

mod daemon;

pub(crate) use daemon::{Subnet, subnets_of};

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wharfline_spec::cni::PortMapping;
use wharfline_spec::docker::PortBinding;
use wharfline_spec::docker::kept::{EndpointLabels, KeptNetwork, NETWORKS, SUB_INTERFACES};
use wharfline_spec::{ContainerId, IfName};

use super::inspect::{Connection, table};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output::{self, Colour, coloured};
use crate::ports;

/// How much of an identifier people look at, as `docker ps` shows.
const SHORT: usize = 12;

/// A network that dockerd made with our driver.
#[derive(Debug)]
pub(crate) struct DockerNetwork {
    /// dockerd's name for it; its short identifier where dockerd does not answer.
    pub(crate) name: String,
    /// Which of our drivers has it.
    driver: &'static Driver,
    pub(crate) kept: KeptNetwork,
    pub(crate) path: PathBuf,
}

/// All of them, by name.
pub(crate) fn all(home: &Home) -> Vec<DockerNetwork> {
    let files = DRIVERS.iter().flat_map(|driver| {
        let entries = fs::read_dir(home.lib().join(driver.folder));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(move |entry| (driver, entry.path()))
    });
    let mut networks: Vec<DockerNetwork> = files
        .filter(|(_, path)| path.extension().is_some_and(|end| end == "json"))
        .filter_map(|(driver, path)| match read(&path) {
            Ok(kept) => Some(DockerNetwork {
                driver,
                name: kept.request.network.as_str().chars().take(SHORT).collect(),
                kept,
                path,
            }),
            Err(error) => {
                output::warn(&error.chain());
                None
            }
        })
        .collect();
    if !networks.is_empty() {
        let names = daemon::network_names();
        for network in &mut networks {
            let told = names.get(network.kept.request.network.as_str());
            network.name = told.unwrap_or(&network.name).clone();
        }
    }
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    networks
}

/// The network of this name, or whose identifier begins like this and like no other's.
pub(crate) fn find(home: &Home, wanted: &str) -> Option<DockerNetwork> {
    let mut all = all(home);
    let id = |network: &DockerNetwork| network.kept.request.network.to_string();
    let by_name = |network: &DockerNetwork| network.name == wanted || id(network) == wanted;
    let at = all.iter().position(by_name).or_else(|| {
        let mut begins = all
            .iter()
            .enumerate()
            .filter(|(_, network)| !wanted.is_empty() && id(network).starts_with(wanted));
        let (at, _) = begins.next()?;
        begins.next().is_none().then_some(at)
    })?;
    Some(all.swap_remove(at))
}

/// Prints the network and its connections.
pub(crate) fn show(home: &Home, network: &DockerNetwork, as_json: bool) -> Result<()> {
    let connections = network.connections(home)?;
    if as_json {
        output::print_json(&network.document(&connections));
    } else {
        output::print(&(network.heading() + &table(&connections)));
    }
    Ok(())
}

impl DockerNetwork {
    /// Its subnets of both families.
    pub(crate) fn subnets(&self) -> Vec<String> {
        let request = &self.kept.request;
        let subnets = request.ipv4.iter().chain(&request.ipv6);
        subnets
            // The null driver's 0.0.0.0/0 stands for no addresses at all.
            .filter(|subnet| subnet.pool.prefix() > 0)
            .map(|subnet| subnet.pool.to_string())
            .collect()
    }

    /// As `network ls --json` has it.
    pub(crate) fn describe(&self) -> Value {
        json!({
            "name": self.name,
            "id": self.kept.request.network.as_str(),
            "plugins": [self.driver.name],
            "subnets": self.subnets(),
            "file": self.path,
            "own": false,
        })
    }

    /// Its endpoints, from the driver's records of links and ports.
    fn connections(&self, home: &Home) -> Result<Vec<Connection>> {
        let id = self.kept.request.network.as_str();
        let own = Path::new("/proc/self/ns/net");
        let host = own.metadata().map_err(Error::file("look at", own))?.ino();
        let records = home.run().join(format!("host-{host}"));
        let names = daemon::container_names(id);
        let mut connections = Vec::new();
        let of = |plugin: &str| records_in(&records.join(plugin).join(id));
        for record in self.driver.plugins.iter().flat_map(|plugin| of(plugin)) {
            let ports = of("bridge-ports");
            let ports = ports
                .into_iter()
                .find(|of| of.container == record.container);
            let mut connection = record.connection(self.link(), ports);
            if let Some((container, name)) = names.get(record.container.as_str()) {
                connection.container.clone_from(container);
                connection.name.clone_from(name);
            }
            connections.push(connection);
        }
        connections.sort_by(|a, b| (&a.name, &a.container).cmp(&(&b.name, &b.container)));
        Ok(connections)
    }

    /// The link that its containers are plugged into or stand on.
    fn link(&self) -> Option<&IfName> {
        self.kept.bridge.as_ref().or(self.kept.parent.as_ref())
    }

    /// What dockerd calls its driver.
    pub(crate) fn driver(&self) -> &'static str {
        self.driver.name
    }

    fn heading(&self) -> String {
        let link = self.link().map(ToString::to_string);
        format!(
            "{} {}\n  driver   {} (Docker)\n  subnets  {}\n  {:<8} {}\n  id       {}\n  file     {}\n\n",
            coloured(Colour::Bold, "network"),
            self.name,
            self.driver.name,
            self.subnets().join(" "),
            self.driver.link,
            link.unwrap_or_default(),
            self.kept.request.network,
            self.path.display(),
        )
    }

    fn document(&self, connections: &[Connection]) -> Value {
        let mut document = self.describe();
        document["driver"] = self.driver.name.into();
        document[self.driver.link] = json!(self.link().map(IfName::as_str));
        document["config"] = json!(self.kept.request);
        let connections: Vec<Value> = connections.iter().map(Connection::document).collect();
        document["connections"] = connections.into();
        document
    }
}

/// A network driver of ours.
#[derive(Debug)]
struct Driver {
    /// What dockerd calls it.
    name: &'static str,
    /// Where its networks are kept.
    folder: &'static str,
    /// What its link is.
    link: &'static str,
    /// Whose records its endpoints are.
    plugins: &'static [&'static str],
}

const DRIVERS: [Driver; 2] = [
    Driver {
        name: "wharf-bridge",
        folder: NETWORKS,
        link: "bridge",
        plugins: &["bridge"],
    },
    Driver {
        name: "wharf-macvlan",
        folder: SUB_INTERFACES,
        link: "parent",
        plugins: &["macvlan", "ipvlan"],
    },
];

fn read(path: &Path) -> Result<KeptNetwork> {
    let text = fs::read(path).map_err(Error::file("read", path))?;
    let kept = serde_json::from_slice(&text).map_err(|e| std::io::Error::other(e.to_string()));
    kept.map_err(Error::file("read", path))
}

/// What wharf reads of the driver's record (written by crates/core).
#[derive(Debug, Deserialize)]
struct Record {
    container: ContainerId,
    netns: PathBuf,
    #[serde(default)]
    labels: Map<String, Value>,
    #[serde(default)]
    addresses: Vec<IpNetwork>,
    /// What DEL deletes; the host's end of the link is among it.
    own: Vec<Map<String, Value>>,
}

impl Record {
    fn connection(&self, bridge: Option<&IfName>, ports: Option<Record>) -> Connection {
        let labels = labels(&self.labels);
        let published = ports.map(|record| labels_done(&record.labels));
        let link = self
            .own
            .iter()
            .find(|own| own.get("target") == Some(&json!("link")));
        let link = link.and_then(|link| link.get("name")?.as_str());
        let host_side = bridge.map(ToString::to_string).into_iter();
        Connection {
            container: self.container.to_string(),
            name: String::new(),
            source: "docker".to_owned(),
            // dockerd gives the name, and tells nobody.
            ifname: String::new(),
            netns: self.netns.display().to_string(),
            host_side: host_side.chain(link.map(str::to_owned)).collect(),
            mac: labels.mac,
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            ports: published.unwrap_or_default(),
        }
    }
}

fn labels(labels: &Map<String, Value>) -> EndpointLabels {
    serde_json::from_value(Value::Object(labels.clone())).unwrap_or_default()
}

fn labels_done(of: &Map<String, Value>) -> Vec<String> {
    let mapping = |binding: &PortBinding| PortMapping {
        host_port: binding.host_port,
        container_port: binding.port,
        protocol: binding.protocol,
        host_ip: binding.host_ip,
    };
    let done = labels(of).done;
    done.iter()
        .map(|port| ports::show(&mapping(port)))
        .collect()
}

fn records_in(folder: &Path) -> Vec<Record> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // The note of what the network shares has no '@', a record in the making begins with a dot.
            name.contains('@') && !name.starts_with('.')
        })
        .filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok())
        .collect()
}
