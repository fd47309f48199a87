//! Containers' names: a symbolic link per name, so that two containers can't take one without a lock.
//! `run` takes a name, `remove` gives it back.
//! It must never make a dead container's name unusable for good.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use wharfline_spec::ContainerId;

use crate::container::Folder;
use crate::error::{Error, Result};
use crate::home::Home;

/// Takes `name` for the container `id`. A name whose container is gone is free.
///
/// The container's folder is there already: a name that points nowhere is one whose container is gone.
pub(crate) fn take(home: &Home, name: &str, folder: &Folder) -> Result<()> {
    // The rule for ids is the rule for names as well: it keeps out slashes, dots alone and spaces.
    ContainerId::new(name)?;
    let link = link(home, name);
    let dir = home.names();
    fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    let target = folder.path().to_owned();
    match symlink(&target, &link) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other.map_err(Error::file("create", &link)),
    }
    if let Some(holder) = holder(home, name)? {
        return Err(Error::NameTaken {
            name: name.to_owned(),
            id: holder,
        });
    }
    fs::remove_file(&link).map_err(Error::file("remove", &link))?;
    symlink(&target, &link).map_err(Error::file("create", &link))
}

/// Gives `name` back if it is still `id`'s.
pub(crate) fn release(home: &Home, name: &str, id: &ContainerId) -> Result<()> {
    let link = link(home, name);
    let ours = fs::read_link(&link).is_ok_and(|target| target.ends_with(id.as_str()));
    if !ours {
        return Ok(());
    }
    match fs::remove_file(&link) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", link)(cause))
        }
        _ => Ok(()),
    }
}

fn link(home: &Home, name: &str) -> PathBuf {
    home.names().join(name)
}

/// The id of the container that has `name`, if that container is still there.
fn holder(home: &Home, name: &str) -> Result<Option<String>> {
    let link = link(home, name);
    let target = match fs::read_link(&link) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::file("read", &link))?,
    };
    let id = target
        .file_name()
        .map(|id| id.to_string_lossy().into_owned());
    Ok(id.filter(|_| target.is_dir()))
}
