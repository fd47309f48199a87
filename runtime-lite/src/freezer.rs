//! Holding a container still: its control group's freezer (cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, cgroup.freeze).
//! `commit` freezes while it reads what the container wrote.
//! It must never leave a container frozen behind a `wharf` that lives; after one that was killed, whoever comes next thaws.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wharf_protocol::{Claim, Holder};

use crate::bundle::unified;
use crate::container::Folder;
use crate::error::{Error, Result};
use crate::usage;

/// How long a container may take to stand still: a process in the middle of a system call is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks, in milliseconds: the freezer of version 1 tells nobody that it is done.
const LOOK: u8 = 2;

/// A frozen container; it thaws when this is dropped.
#[derive(Debug)]
pub(crate) struct Frozen {
    group: PathBuf,
}

impl Frozen {
    /// Freezes the running container whose first process is `pid`. The caller holds its claim.
    pub(crate) fn freeze(folder: &Folder, pid: i32) -> Result<Frozen> {
        let group = group(folder);
        let failed = |cause: io::Error| Error::file("pause", &group)(cause);
        order(&group, true).map_err(failed)?;
        let frozen = Frozen {
            group: group.clone(),
        };
        let process = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let process = process.transpose().ok().flatten();
        let deadline = Instant::now() + PATIENCE;
        while !is_frozen(&group).map_err(failed)? {
            if Instant::now() > deadline {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            let ended = process.as_ref().is_none_or(|process| {
                let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
                !matches!(poll(&mut watched, PollTimeout::from(LOOK)), Ok(0))
            });
            if ended {
                break;
            }
        }
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A group that is gone has nothing left in it that could be frozen.
        let _ = order(&self.group, false);
    }
}

/// Whether a container is frozen though no `wharf` works on it: its commit was killed.
pub(crate) fn is_abandoned(folder: &Folder) -> bool {
    let frozen = is_ordered(&group(folder));
    frozen && matches!(Claim::held_by(folder.path(), Holder::Wharf), Ok(None))
}

/// Thaws a container that a killed commit left frozen.
pub(crate) fn thaw_abandoned(folder: &Folder) -> Result<()> {
    match is_abandoned(folder) {
        true => thaw(folder),
        false => Ok(()),
    }
}

/// Thaws a container, whoever froze it: it is to be killed.
pub(crate) fn thaw(folder: &Folder) -> Result<()> {
    let group = group(folder);
    match is_ordered(&group) {
        true => order(&group, false).map_err(Error::file("thaw", &group)),
        false => Ok(()),
    }
}

fn group(folder: &Folder) -> PathBuf {
    let id = folder.path().file_name().unwrap_or_default();
    usage::group(&id.to_string_lossy(), "freezer")
}

/// The file that takes the order, and the words for both ways.
fn control(group: &Path) -> (PathBuf, [&'static str; 2]) {
    match unified() {
        true => (group.join("cgroup.freeze"), ["0", "1"]),
        false => (group.join("freezer.state"), ["THAWED", "FROZEN"]),
    }
}

/// The file is never made: without it there is no freezer.
fn order(group: &Path, still: bool) -> io::Result<()> {
    let (path, [go, stop]) = control(group);
    let word = if still { stop } else { go };
    let mut file = fs::File::options().write(true).open(path)?;
    file.write_all(word.as_bytes())
}

/// Whether it was told to be frozen, done or not.
fn is_ordered(group: &Path) -> bool {
    let (path, [go, _]) = control(group);
    fs::read_to_string(path).is_ok_and(|state| state.trim() != go)
}

fn is_frozen(group: &Path) -> io::Result<bool> {
    match unified() {
        true => {
            let events = fs::read_to_string(group.join("cgroup.events"))?;
            Ok(events.lines().any(|line| line == "frozen 1"))
        }
        false => {
            let state = fs::read_to_string(group.join("freezer.state"))?;
            Ok(state.trim() == "FROZEN")
        }
    }
}
