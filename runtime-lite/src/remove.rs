//! Removing a container: its processes, networks, namespace, name and folder, in this order.
//! `run` calls it when the container has ended, the shim (as `wharf remove-dead`) when `run` is gone, `gc` for the rest.
//! It must work on a container in any state of making, and a second time; whoever calls holds a turn.

use std::fs;
use std::io;

use wharf_protocol::{Claim, Holder, file};

use crate::container::{Container, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{attach, names, netns, shim, turn};

/// How much of the container its shim has already cleared away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing but networks and files.
    Files,
    /// Possibly processes and control groups as well.
    Everything,
}

/// Removes the container, going on after errors; returns them all. The caller holds its claim.
///
/// The folder stays if anything failed that a later try could still clean.
pub(crate) fn container(
    home: &Home,
    container: &Container,
    folder: &Folder,
    left: Left,
) -> Vec<Error> {
    let mut failed = Vec::new();
    if left == Left::Everything && folder.path().join(file::BUNDLE).exists() {
        failed.extend(shim::delete(folder).err());
    }
    failed.extend(attach::detach(home, container, folder));
    rest(home, container, folder, failed)
}

/// Removes what remains when the shim has ended and the networks have been detached with these errors.
pub(crate) fn rest(
    home: &Home,
    container: &Container,
    folder: &Folder,
    mut failed: Vec<Error>,
) -> Vec<Error> {
    if let Some(path) = &container.netns {
        failed.extend(netns::remove(path).err());
    }
    failed.extend(names::release(home, &container.name, &container.id).err());
    if failed.is_empty() {
        failed.extend(remove_folder(folder).err());
    }
    failed
}

/// Removes a folder and all that is in it; an absent one is success.
pub(crate) fn remove_folder(folder: &Folder) -> Result<()> {
    // Half removed it would be a container that nobody can read: under its first name it is a draft, which `gc` removes.
    let draft = folder.draft();
    let removed = match fs::rename(folder.path(), &draft) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.and_then(|()| fs::remove_dir_all(&draft)),
    };
    match removed {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::file("remove", draft)),
    }
}

/// `wharf remove-dead ID`: what a shim becomes when its container has ended and nobody else is there to remove it.
pub(crate) fn dead(home: &Home, id: &str) -> Result<()> {
    let _turn = turn::shared(home)?;
    let (about, folder) = crate::container::find(home, id)?;
    let Some(_claim) = claim_dead(&folder)? else {
        return Ok(());
    };
    let failed = container(home, &about, &folder, Left::Everything);
    match failed.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// Claims a container that nobody looks after; `None` if somebody does.
pub(crate) fn claim_dead(folder: &Folder) -> Result<Option<Claim>> {
    let locked = || Error::file("lock", folder.path());
    let Some(claim) = Claim::take(folder.path(), Holder::Wharf).map_err(locked())? else {
        return Ok(None);
    };
    let shim = claim.other_held_by(Holder::Shim).map_err(locked())?;
    Ok(shim.is_none().then_some(claim))
}
