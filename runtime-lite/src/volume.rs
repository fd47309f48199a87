//! Volumes: folders that outlive their containers, by name, below /var/lib.
//! `mounts` names them, `start` makes them, `remove` takes away those without a name.
//! It must never remove one that has a name.

use std::fs;
use std::io;
use std::path::PathBuf;

use wharfline_spec::ContainerId;

use crate::container::{Container, MountKind};
use crate::error::{Error, Result};
use crate::home::Home;

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
