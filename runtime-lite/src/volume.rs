//! Volumes: folders that outlive their containers, by name, below /var/lib.
//! `mounts` names them, `start` makes them, `remove` takes away those without a name.
//! It must never remove one that has a name, unless it is asked to by that name.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use wharfline_spec::ContainerId;

use crate::container::{self, Container, MountKind};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output::{self, Table};

/// A volume's name, if it can be one: the rule for containers' names keeps out slashes and dots alone.
pub(crate) fn checked_name(name: &str) -> Result<String> {
    Ok(ContainerId::new(name)?.to_string())
}

/// Where a volume's files are.
pub(crate) fn path(home: &Home, name: &str) -> PathBuf {
    home.volumes().join(name).join("_data")
}

/// Makes the volumes of a container that are not there yet.
pub(crate) fn prepare(home: &Home, about: &Container) -> Result<()> {
    for mount in &about.wish.mounts {
        if let MountKind::Volume { name, .. } = &mount.kind {
            let path = path(home, name);
            fs::create_dir_all(&path).map_err(Error::file("create", path))?;
        }
    }
    Ok(())
}

/// Removes the volumes of a container that have no name.
pub(crate) fn remove_anonymous(home: &Home, about: &Container) -> Result<()> {
    for mount in &about.wish.mounts {
        if let MountKind::Volume {
            name,
            anonymous: true,
        } = &mount.kind
        {
            let path = home.volumes().join(name);
            match fs::remove_dir_all(&path) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(Error::file("remove", path))?,
            }
        }
    }
    Ok(())
}

/// The names of all volumes, in order.
pub(crate) fn all(home: &Home) -> Result<Vec<String>> {
    let dir = home.volumes();
    let entries = match fs::read_dir(&dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("list", &dir))?,
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// `wharf volume ls`: each with the containers that mount it.
pub(crate) fn ls(home: &Home, as_json: bool) -> Result<()> {
    let mut documents = Vec::new();
    let mut table = Table::new(&["VOLUME", "CONTAINERS"]);
    for name in all(home)? {
        let users = users(home, &name)?;
        documents.push(json!({"name": name, "path": path(home, &name), "containers": users}));
        table.row(vec![name, users.join(" ")]);
    }
    match as_json {
        true => output::print_json(&Value::Array(documents)),
        false => output::print(&table.render()),
    }
    Ok(())
}

/// `wharf volume rm`: refuses while a container mounts it, running or not.
pub(crate) fn rm(home: &Home, names: &[String]) -> Result<()> {
    for name in names {
        let dir = home.volumes().join(checked_name(name)?);
        if !dir.is_dir() {
            return Err(Error::NoSuchVolume(name.clone()));
        }
        let containers = users(home, name)?;
        if !containers.is_empty() {
            let name = name.clone();
            return Err(Error::VolumeInUse { name, containers });
        }
        fs::remove_dir_all(&dir).map_err(Error::file("remove", dir))?;
        output::print(&format!("{name}\n"));
    }
    Ok(())
}

fn users(home: &Home, volume: &str) -> Result<Vec<String>> {
    let mounts = |about: &Container| {
        let mut all = about.wish.mounts.iter();
        all.any(|mount| matches!(&mount.kind, MountKind::Volume { name, .. } if name == volume))
    };
    let all = container::all(home)?.into_iter().map(|(about, _)| about);
    Ok(all.filter(mounts).map(|about| about.name).collect())
}
