//! The plugins: where they are, which versions they speak, and what their STATUS says; and the networks that name them.
//! `doctor` shows them.
//! It must never call a plugin with a verb that changes something: VERSION and STATUS alone.

use serde_json::{Value, json};
use wharfline_spec::cni::{ConfList, Version};

use super::Finding;
use crate::home::Home;
use crate::network::{self, Known};

/// Ours, with what their STATUS is asked about; `None` where it depends on what a network says.
fn ours() -> [(&'static str, Option<Value>); 4] {
    // A bridge of this name is nobody's: it is not the link that is in question.
    let bridge =
        json!({"type": "bridge", "bridge": "wharf-doctor", "isGateway": true, "ipMasq": true});
    [
        ("bridge", Some(bridge)),
        (
            "portmap",
            Some(json!({"type": "portmap", "capabilities": {"portMappings": true}})),
        ),
        ("loopback", Some(json!({"type": "loopback"}))),
        ("host-local", None),
    ]
}

/// Ours that a host may do without. Their STATUS is about a parent, which only a network names.
const FURTHER: [&str; 4] = ["ptp", "macvlan", "ipvlan", "vlan"];

/// The findings.
pub(super) fn all(home: &Home) -> Vec<Finding> {
    let plugins = ours()
        .into_iter()
        .map(|(name, conf)| plugin(home, name, conf));
    let installed = |name: &str| home.plugins().iter().any(|dir| dir.join(name).is_file());
    let further = FURTHER.into_iter().filter(|name| installed(name));
    plugins
        .chain(further.map(|name| plugin(home, name, None)))
        .chain(networks(home))
        .collect()
}

fn plugin(home: &Home, name: &str, conf: Option<Value>) -> Finding {
    let object = format!("plugin {name}");
    let places = home.plugins().iter().map(|folder| folder.join(name));
    let found: Vec<String> = places
        .filter(|path| path.is_file())
        .map(|path| path.display().to_string())
        .collect();
    let Some(path) = found.first() else {
        let folders = home
            .plugins()
            .iter()
            .map(|folder| folder.display().to_string());
        let folders = folders.collect::<Vec<_>>().join(", ");
        return Finding::problem(
            object,
            format!("is in none of {folders}"),
            "install it there, or name its folder with --plugin-dir or CNI_PATH",
        );
    };
    let shadowed = found[1..]
        .iter()
        .map(|path| format!("; another one in {path} is not used"));
    let shadowed: String = shadowed.collect();
    match asked(home, name, conf) {
        Ok(versions) => Finding::fine(object, format!("{path}, CNI {versions}{shadowed}")),
        Err(refusal) => Finding::problem(
            object,
            format!("{path}: {refusal}"),
            "the plugin's own words say what it lacks",
        ),
    }
}

/// The range of versions that the plugin speaks, if its STATUS has no complaint.
fn asked(home: &Home, name: &str, conf: Option<Value>) -> Result<String, String> {
    let client = home.client();
    let list = |plugin: Value| {
        let document = json!({"cniVersion": Version::V1_1_0.as_str(), "name": "wharf-doctor", "plugins": [plugin]});
        ConfList::parse(document.to_string().as_bytes()).map_err(|e| e.msg)
    };
    let versions = client
        .versions(&list(json!({"type": name}))?)
        .map_err(|e| e.to_string())?;
    if let Some(conf) = conf.filter(|_| versions.last() == Some(&Version::V1_1_0)) {
        client.status(&list(conf)?).map_err(|e| e.to_string())?;
    }
    match (versions.first(), versions.last()) {
        (Some(first), Some(last)) => Ok(format!("{} to {}", first.as_str(), last.as_str())),
        _ => Err("it speaks no version of CNI that we know".to_owned()),
    }
}

/// Configurations that cannot be read, whose plugins are not there, or whose STATUS complains.
fn networks(home: &Home) -> Vec<Finding> {
    let folder = home.conf().display().to_string();
    let (known, broken) = match network::all(home) {
        Ok(all) => all,
        Err(error) => {
            let object = format!("networks in {folder}");
            return vec![Finding::problem(
                object,
                error.chain(),
                "let root read the folder",
            )];
        }
    };
    let unreadable = broken.iter().map(|error| {
        let remedy = "mend the file, or take it away";
        Finding::problem("network", error.to_string(), remedy)
    });
    let mut findings: Vec<Finding> = unreadable.collect();
    findings.extend((0..known.len()).map(|at| network(home, &known[..at], &known[at])));
    if findings.is_empty() {
        findings.push(Finding::note(
            "networks",
            format!("none of wharf's, and none in {folder}"),
            "wharf network create NAME makes one; so does the first wharf run",
        ));
    }
    findings
}

/// One configuration that can be read, after those that are looked up before it.
fn network(home: &Home, before: &[Known], network: &Known) -> Finding {
    let name = &network.list.name;
    let object = format!("network {name}");
    let path = network.path.display();
    if let Some(first) = before.iter().find(|other| other.list.name == *name) {
        let first = first.path.display();
        let told = format!("{path} has the name of {first}, which is used");
        return Finding::problem(object, told, "give each network a name of its own");
    }
    match home.client().status(&network.list) {
        Ok(()) => Finding::fine(object, format!("{path}: its plugins are ready")),
        Err(error) => Finding::problem(
            object,
            error.to_string(),
            "wharf network status says the same of this network alone",
        ),
    }
}
