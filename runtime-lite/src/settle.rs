//! Putting a container away that has ended: its processes, networks, namespace; and removing it if it is not to stay.
//! The shim becomes `wharf settle` at its end; `start`, `gc` and `rm` do the same for what a crash left.
//! It must work on a container in any state of making, and a second time; whoever calls holds a turn and the claim.

use wharf_protocol::{Claim, Holder, Phase, Status, clock, file};
use wharfline_spec::ContainerId;

use crate::container::{self, Container, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{attach, netns, remove, root, shim, turn, volume};

/// How much of the container its shim has already cleared away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing but networks and files.
    Files,
    /// Possibly processes and control groups as well.
    Everything,
}

/// The exit status of a container of which nobody saw the end, as with Docker.
const UNSEEN: i32 = 255;

/// Puts the container away, going on after errors; returns them all.
pub(crate) fn put_away(home: &Home, about: &Container, folder: &Folder, left: Left) -> Vec<Error> {
    if !folder.kept() {
        return remove::container(home, about, folder, left);
    }
    let mut failed = release(home, about, folder, left);
    if failed.is_empty() {
        failed.extend(record_end(folder).err());
    }
    failed
}

/// Takes away all of the container that is in the kernel. The folder stays.
pub(crate) fn release(home: &Home, about: &Container, folder: &Folder, left: Left) -> Vec<Error> {
    let mut failed = Vec::new();
    if left == Left::Everything && folder.path().join(file::BUNDLE).exists() {
        failed.extend(shim::delete(folder).err());
    }
    failed.extend(release_networks(home, about, folder));
    failed.extend(release_files(home, about, folder));
    failed
}

/// What is mounted on the host for the container. Its processes are gone.
pub(crate) fn release_files(home: &Home, about: &Container, folder: &Folder) -> Vec<Error> {
    let mut failed = volume::release(home, about, folder);
    failed.extend(root::unmount(home, about).err());
    failed
}

/// The networks of a namespace go with the last container that shares it.
pub(crate) fn release_networks(home: &Home, about: &Container, folder: &Folder) -> Vec<Error> {
    let others = match &about.wish.joined {
        Some(owner) => return owner_if_last(home, about, owner),
        None => shared_by(home, &about.id),
    };
    match others {
        Err(error) => vec![error],
        Ok(others) if !others.is_empty() => Vec::new(),
        Ok(_) => detach(home, about, folder),
    }
}

fn detach(home: &Home, about: &Container, folder: &Folder) -> Vec<Error> {
    let mut failed = attach::detach(home, about, folder);
    if let Some(path) = about.netns.as_ref().filter(|_| about.owns_netns()) {
        failed.extend(netns::remove(path).err());
    }
    failed
}

/// The last that shared the namespace of a container that has ended puts that away.
fn owner_if_last(home: &Home, leaving: &Container, owner: &ContainerId) -> Vec<Error> {
    let Ok((about, folder)) = container::find(home, owner.as_str()) else {
        return leaving
            .netns
            .as_ref()
            .map(|path| netns::remove(path).err())
            .into_iter()
            .flatten()
            .collect();
    };
    let rests = folder.life().is_ok_and(|life| life.at_rest());
    let others = shared_by(home, owner).unwrap_or_default();
    match rests && others.iter().all(|other| *other == leaving.name) {
        true => detach(home, &about, &folder),
        false => Vec::new(),
    }
}

/// The names of the containers that live in the namespace of the container `id`.
pub(crate) fn shared_by(home: &Home, id: &ContainerId) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (about, folder) in container::all(home)? {
        if about.wish.joined.as_ref() == Some(id) && !folder.life()?.at_rest() {
            names.push(about.name);
        }
    }
    Ok(names)
}

/// Whether a shim that is gone has left the container in the middle of its life.
pub(crate) fn unsettled(folder: &Folder) -> Result<bool> {
    Ok(folder.status()?.is_some_and(|status| !status.settled))
}

/// Notes that nothing of the container is left in the kernel, and the end of a run that nobody saw.
pub(crate) fn record_end(folder: &Folder) -> Result<()> {
    let Some(status) = folder.status()? else {
        return Ok(());
    };
    let seen = status.phase == Phase::Exited;
    let ended = Status {
        phase: Phase::Exited,
        settled: true,
        pid: 0,
        pid_start: 0,
        exit_code: status.exit_code.filter(|_| seen).or(Some(UNSEEN)),
        finished: status
            .finished
            .filter(|_| seen)
            .or_else(|| Some(clock::stamp())),
        health: None,
        ..status
    };
    let path = folder.path();
    ended
        .write(path)
        .map_err(Error::file("write the status in", path))
}

/// `wharf settle ID`: what a shim becomes when its container has ended and nobody else is there to put it away.
pub(crate) fn settle(home: &Home, id: &str) -> Result<()> {
    let (about, folder) = container::find(home, id)?;
    // Two that share a namespace and end together would each wait for the other to be the last.
    let shares = about.wish.joined.is_some() || !shared_by(home, &about.id)?.is_empty();
    let _turn = match shares {
        true => turn::exclusive(home)?,
        false => turn::shared(home)?,
    };
    let Some(_claim) = claim_ended(&folder, id)? else {
        return Ok(());
    };
    match put_away(home, &about, &folder, Left::Everything)
        .into_iter()
        .next()
    {
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

/// The same, waiting for another `wharf` that works on the container; `None` also if it is gone by then.
pub(crate) fn claim_ended(folder: &Folder, name: &str) -> Result<Option<Claim>> {
    let claim = match folder.claim(name) {
        Err(Error::NoSuchContainer(_)) => return Ok(None),
        _ if !folder.path().exists() => return Ok(None),
        other => other?,
    };
    let shim = claim.other_held_by(Holder::Shim);
    let shim = shim.map_err(Error::file("ask for the lock of", folder.path()))?;
    Ok(shim.is_none().then_some(claim))
}
