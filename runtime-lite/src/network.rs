//! Networks as files: wharf's own conflists, and those that other runtimes use.
//! `run` looks one up, `network ls|inspect|rm|status|check` show and test them, `gc` reads them all.
//! It must never change a configuration that wharf did not write.

pub(crate) mod compose;
pub(crate) mod connect;
pub(crate) mod docker;
pub(crate) mod inspect;
pub(crate) mod probe;
pub(crate) mod remove;
pub(crate) mod subnet;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wharf_protocol::write_atomically;
use wharfline_cni::client::{ClientError, load_all};
use wharfline_spec::NetworkName;
use wharfline_spec::cni::ConfList;

use crate::error::{Error, Result};
use crate::home::Home;
use crate::output::{self, Table};

/// The network of `wharf run` without `--network`; made when it is first needed.
pub(crate) const DEFAULT: &str = "wharf";

/// A network's configuration and where it comes from.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) list: ConfList,
    pub(crate) path: PathBuf,
    /// Made by `wharf network create`.
    pub(crate) own: bool,
}

/// Every configuration that can be read, wharf's own first; the others as complaints.
pub(crate) fn all(home: &Home) -> Result<(Vec<Known>, Vec<ClientError>)> {
    let mut known = Vec::new();
    let mut broken = Vec::new();
    for (dir, own) in [(home.networks(), true), (home.conf().to_owned(), false)] {
        for (path, loaded) in load_all(&dir)? {
            match loaded {
                Ok(list) => known.push(Known { list, path, own }),
                Err(complaint) => broken.push(complaint),
            }
        }
    }
    Ok((known, broken))
}

/// The network called `name`: wharf's own, else the first in the configuration folder.
pub(crate) fn find(home: &Home, name: &str) -> Result<Known> {
    let (known, broken) = all(home)?;
    if let Some(found) = known
        .into_iter()
        .find(|known| known.list.name.as_str() == name)
    {
        return Ok(found);
    }
    // A broken file may be the one that was meant.
    for complaint in broken {
        output::warn(&complaint.to_string());
    }
    Err(Error::NoSuchNetwork {
        name: name.to_owned(),
        own: home.networks(),
        conf: home.conf().to_owned(),
    })
}

/// The network that `wharf run` uses by itself, made if need be.
pub(crate) fn find_or_make_default(home: &Home) -> Result<Known> {
    match find(home, DEFAULT) {
        Err(Error::NoSuchNetwork { .. }) => {
            let wish = compose::Wish::named(NetworkName::new(DEFAULT)?);
            create(home, &wish)?;
            find(home, DEFAULT)
        }
        other => other,
    }
}

/// `wharf network create`: composes a conflist and writes it; the plugins make the network at its first ADD.
pub(crate) fn create(home: &Home, wish: &compose::Wish) -> Result<PathBuf> {
    if let Ok(taken) = find(home, wish.name.as_str()) {
        return Err(Error::NetworkExists {
            name: wish.name.to_string(),
            path: taken.path,
        });
    }
    let document = compose::conflist(home, wish)?;
    write(home, &wish.name, &document)
}

/// `wharf network create --from FILE`: takes over a configuration list as it is, under its own name.
pub(crate) fn create_from(home: &Home, file: &Path) -> Result<PathBuf> {
    let text = fs::read(file).map_err(Error::file("read", file))?;
    let list = ConfList::parse(&text).map_err(|source| Error::Config {
        object: file.display().to_string(),
        source,
    })?;
    if let Ok(taken) = find(home, list.name.as_str()) {
        return Err(Error::NetworkExists {
            name: list.name.to_string(),
            path: taken.path,
        });
    }
    write(home, &list.name, &Value::Object(list.raw))
}

fn write(home: &Home, name: &NetworkName, document: &Value) -> Result<PathBuf> {
    let dir = home.networks();
    fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    let path = dir.join(format!("{name}.conflist"));
    let text = format!("{document:#}\n");
    write_atomically(&path, text.as_bytes()).map_err(Error::file("write", &path))?;
    Ok(path)
}

/// `wharf network ls`.
pub(crate) fn ls(home: &Home, as_json: bool) -> Result<()> {
    let (known, broken) = all(home)?;
    for complaint in &broken {
        output::warn(&complaint.to_string());
    }
    let dockers = docker::all(home);
    if as_json {
        let of_docker = dockers.iter().map(docker::DockerNetwork::describe);
        output::print_json(&known.iter().map(describe).chain(of_docker).collect());
        return Ok(());
    }
    let mut table = Table::new(&["NETWORK", "PLUGINS", "SUBNETS", "FILE"]);
    for network in &known {
        table.row(vec![
            network.list.name.to_string(),
            types(&network.list).join(" "),
            subnet::of_list(&network.list).join(" "),
            network.path.display().to_string(),
        ]);
    }
    for network in &dockers {
        table.row(vec![
            network.name.clone(),
            format!("{} (Docker)", network.driver()),
            network.subnets().join(" "),
            network.path.display().to_string(),
        ]);
    }
    output::print(&table.render());
    Ok(())
}

fn describe(network: &Known) -> Value {
    json!({
        "name": network.list.name.as_str(),
        "cniVersion": network.list.cni_version.as_str(),
        "plugins": types(&network.list),
        "subnets": subnet::of_list(&network.list),
        "file": network.path,
        "own": network.own,
    })
}

/// The plugins' types, in the order of ADD.
pub(crate) fn types(list: &ConfList) -> Vec<&str> {
    list.plugins
        .iter()
        .map(|plugin| plugin.plugin_type.as_str())
        .collect()
}
