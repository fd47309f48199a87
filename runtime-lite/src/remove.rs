//! Removing a container: what is in the kernel, its unnamed volumes, what it wrote over its image, its name and its folder, in this order.
//! `rm` calls it, and `settle` for a container that is not to stay.
//! It must work on a container in any state of making, and a second time; whoever calls holds a turn and the claim.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use wharf_protocol::{Request, event};

use crate::container::life::Life;
use crate::container::{self, Container, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::settle::{self, Left};
use crate::shim::Control;
use crate::{cli, freezer, names, output, root, turn, volume};

/// How long a killed container may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Removes the container, going on after errors; returns them all.
///
/// The folder stays if anything failed that a later try could still clean.
pub(crate) fn container(home: &Home, about: &Container, folder: &Folder, left: Left) -> Vec<Error> {
    let failed = settle::release(home, about, folder, left);
    rest(home, about, folder, failed)
}

/// Removes what remains when the kernel's side is gone, with these errors.
pub(crate) fn rest(
    home: &Home,
    about: &Container,
    folder: &Folder,
    mut failed: Vec<Error>,
) -> Vec<Error> {
    // What a driver could not unmount it can't remove; and what is left has to be found again.
    if about.wish.remove && failed.is_empty() {
        failed.extend(volume::remove_anonymous(home, about).err());
    }
    failed.extend(root::remove(home, about).err());
    failed.extend(names::release(home, &about.name, &about.id).err());
    if failed.is_empty() {
        failed.extend(remove_folder(folder).err());
        event::tell(home.run(), about.id.as_str(), "destroy", "");
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

/// `wharf rm`: goes on after errors.
pub(crate) fn rm(home: &Home, asked: &cli::Rm) -> Result<()> {
    let mut failed = 0;
    for name in &asked.containers {
        match one(home, name, asked) {
            Ok(()) => output::print(&format!("{name}\n")),
            Err(Error::NoSuchContainer(_)) if asked.force => {}
            Err(error) => {
                failed += 1;
                output::fail(&error.chain());
            }
        }
    }
    match failed {
        0 => Ok(()),
        count => Err(Error::Unremoved(count)),
    }
}

fn one(home: &Home, name: &str, asked: &cli::Rm) -> Result<()> {
    let (about, folder) = container::find(home, name)?;
    if asked.force {
        kill(&folder, name)?;
    } else if matches!(folder.life()?, Life::Running | Life::Restarting) {
        return Err(Error::Running(name.to_owned()));
    }
    let claimed = folder.claim_at_rest(name);
    if !folder.path().exists() {
        // One that was not to stay.
        return Ok(());
    }
    let _claim = claimed?;
    let _turn = turn::shared(home)?;
    // Whoever worked on it may have renamed it meanwhile.
    let about = folder.container().unwrap_or(about);
    let left = match settle::unsettled(&folder)? {
        true => Left::Everything,
        false => Left::Files,
    };
    let failed = settle::release(home, &about, &folder, left);
    let volumes = match asked.volumes && (failed.is_empty() || asked.force) {
        true => volume::remove_anonymous(home, &about).err(),
        false => None,
    };
    let mut failed: Vec<Error> = failed.into_iter().chain(volumes).collect();
    if asked.force {
        failed.retain(|error| !forgiven(error));
        volume::forget_mounts(&folder)?;
    }
    match rest(home, &about, &folder, failed).into_iter().next() {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// A container must be removable without the driver of its volumes: what that says is told, no more.
fn forgiven(error: &Error) -> bool {
    let of_driver = matches!(error, Error::Driver { .. } | Error::NoVolumeDriver(_));
    if of_driver {
        output::warn(&error.chain());
    }
    of_driver
}

/// Has the shim, if there is one, kill the container and put it away.
fn kill(folder: &Folder, name: &str) -> Result<()> {
    freezer::thaw(folder)?;
    if let Some(control) = Control::call(folder, name)? {
        // One that is just ending need not answer.
        let _ = control.tell(&Request::Delete, &[]);
        if !folder.await_quiet(Some(Instant::now() + PATIENCE))? {
            return Err(Error::Busy(name.to_owned()));
        }
    }
    Ok(())
}
