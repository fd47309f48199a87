//! Where a container is in its life, as its locks prove it; claiming one; waiting until nobody works on it.
//! Every command that changes a container begins here.
//! It must never believe a file that says "running" over a lock that is free.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wharf_protocol::{Claim, Holder, Phase, Status};

use super::Folder;
use crate::error::{Error, Result};

/// How long a command waits for another that works on the same container.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Defined, never started.
    Created,
    /// Being made.
    Starting,
    /// Its command runs.
    Running,
    /// Its command has ended, and will be started again.
    Restarting,
    /// Its command has ended, and it is being put away.
    Ending,
    /// Its command has ended.
    Exited,
    /// Neither its shim nor a `wharf` looks after it, and it was not put away: `wharf gc` does that.
    Dead,
}

impl Life {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Life::Created => "created",
            Life::Starting => "starting",
            Life::Running => "running",
            Life::Restarting => "restarting",
            Life::Ending => "ending",
            Life::Exited => "exited",
            Life::Dead => "dead",
        }
    }

    /// Whether its command has ended for good. While its shim hands over to who puts it away, a container looks dead for
    /// a moment.
    pub(crate) fn is_ending(self) -> bool {
        matches!(self, Life::Ending | Life::Exited | Life::Dead)
    }

    /// Whether nothing of it is in the kernel.
    pub(crate) fn at_rest(self) -> bool {
        matches!(self, Life::Created | Life::Exited)
    }
}

impl Folder {
    /// Where the container is in its life.
    pub(crate) fn life(&self) -> Result<Life> {
        let mut status = self.status()?;
        loop {
            let holders = (self.held(Holder::Shim)?, self.held(Holder::Wharf)?);
            let now = self.status()?;
            // A step that was taken between the two looks would make a living container look dead.
            if now == status {
                return Ok(self.judge(holders, now.as_ref()));
            }
            status = now;
        }
    }

    fn judge(&self, holders: (Option<i32>, Option<i32>), status: Option<&Status>) -> Life {
        let phase = status.map(|status| status.phase);
        match holders {
            (Some(_), _) => match phase {
                Some(Phase::Running) => Life::Running,
                Some(Phase::Restarting) => Life::Restarting,
                Some(Phase::Exited) => Life::Ending,
                Some(Phase::Created) | None => Life::Starting,
            },
            (None, Some(_)) => match phase {
                Some(Phase::Created) | None => Life::Starting,
                Some(_) => Life::Ending,
            },
            (None, None) => match phase {
                None if self.kept => Life::Created,
                Some(Phase::Exited) if self.kept && status.is_some_and(|now| now.settled) => {
                    Life::Exited
                }
                _ => Life::Dead,
            },
        }
    }

    fn held(&self, holder: Holder) -> Result<Option<i32>> {
        let path = self.path();
        Claim::held_by(path, holder).map_err(Error::file("ask for the lock of", path))
    }

    /// Claims the container for this process, waiting for another `wharf` that works on it.
    pub(crate) fn claim(&self, name: &str) -> Result<Claim> {
        let gone = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => Error::NoSuchContainer(name.to_owned()),
            _ => Error::file("lock", self.path())(cause),
        };
        match Claim::take(self.path(), Holder::Wharf).map_err(gone)? {
            Some(claim) => Ok(claim),
            None => Claim::wait(self.path(), Holder::Wharf, PATIENCE)
                .map_err(gone)?
                .filter(|_| self.path().exists())
                .ok_or_else(|| Error::Busy(name.to_owned())),
        }
    }

    /// Claims a container that must not run.
    pub(crate) fn claim_at_rest(&self, name: &str) -> Result<Claim> {
        if self.life()? == Life::Ending && !self.await_quiet(Some(Instant::now() + PATIENCE))? {
            return Err(Error::Busy(name.to_owned()));
        }
        let claim = self.claim(name)?;
        let shim = claim.other_held_by(Holder::Shim);
        match shim.map_err(Error::file("ask for the lock of", self.path()))? {
            None => Ok(claim),
            Some(_) => Err(Error::Running(name.to_owned())),
        }
    }

    /// Waits until neither a shim nor a `wharf` works on the container; says whether that came true in time.
    pub(crate) fn await_quiet(&self, deadline: Option<Instant>) -> Result<bool> {
        loop {
            let holder = match self.held(Holder::Shim)? {
                Some(pid) => Some((pid, Holder::Shim)),
                None => self.held(Holder::Wharf)?.map(|pid| (pid, Holder::Wharf)),
            };
            let Some((pid, holder)) = holder else {
                return Ok(true);
            };
            let still = || self.held(holder).is_ok_and(|now| now == Some(pid));
            if !await_end(pid, deadline, still) {
                return Ok(false);
            }
        }
    }
}

/// Waits for the end of process `pid`, if it is `still` the one that is meant once it can't be mistaken any more.
/// Whoever holds a container's locks while it ends is about to end as well.
fn await_end(pid: i32, deadline: Option<Instant>, still: impl Fn() -> bool) -> bool {
    let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let Some(process) = process.filter(|_| still()) else {
        return true;
    };
    let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
        let rest = deadline.saturating_duration_since(Instant::now());
        PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
    });
    let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    !matches!(poll(&mut watched, timeout), Ok(0))
}
