//! What may take long or wait for ever runs in a process of its own, which can be killed: `volume-local work`.
//! Backends and operations start one with a [`Job`]; it tells its progress in lines of JSON, each an [`Event`].
//! It must never outlive whoever waits for it, but for the guard of a frozen file system, which is there for that.

mod archive;
mod child;
mod migrate;
mod repository;
mod target;
mod tree;

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wharfline_kernel::fs::mountinfo;
use wharfline_spec::docker::migration::Offer;
use wharfline_spec::docker::volume::{Event, Progress, Repository};

use crate::arrivals::Arrival;
use crate::error::{Error, Result};
use crate::options::MountOption;

pub(crate) use child::main;
pub(crate) use repository::Task;

/// How long a file server may take for a mount, for an unmount, and for anything about space.
pub(crate) const MOUNT_WITHIN: Duration = Duration::from_secs(15);
pub(crate) const UNMOUNT_WITHIN: Duration = Duration::from_secs(5);
pub(crate) const USAGE_WITHIN: Duration = Duration::from_secs(10);
/// How long writers wait for a copy at most.
pub(crate) const FROZEN_AT_MOST: Duration = Duration::from_secs(10);

/// Who hears of progress; what it returns as an error ends the work.
pub(crate) type Told<'a> = &'a mut dyn FnMut(Progress) -> Result<()>;

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    /// Copies a folder's content, and the folder's own owner, mode and times.
    CopyTree { from: PathBuf, to: PathBuf },
    /// Copies a file over an empty one.
    CopyFile { from: PathBuf, to: PathBuf },
    /// Writes a folder into a tar file.
    Export { from: PathBuf, archive: PathBuf },
    /// Fills an empty folder from a tar file.
    Import { archive: PathBuf, to: PathBuf },
    /// Counts a folder's files: [`wharfline_spec::docker::volume::Usage`].
    Measure { place: PathBuf },
    /// Asks a mounted file system for its space: the same.
    Space { place: PathBuf },
    /// Mounts a server's file system.
    Mount {
        kind: String,
        host: String,
        path: String,
        options: Vec<MountOption>,
        read_only: bool,
        place: PathBuf,
    },
    /// Unmounts it.
    Unmount { place: PathBuf, detach: bool },
    /// Does something with a backup repository.
    Repository { access: Repository, task: Task },
    /// Sends a folder to another host: [`wharfline_spec::docker::migration::Sent`].
    Send {
        from: PathBuf,
        offer: Offer,
        input: PathBuf,
        output: PathBuf,
    },
    /// Fills a folder with what another host sends; its checksum. What there is of it is noted in the file `note`.
    Receive {
        to: PathBuf,
        arrival: Box<Arrival>,
        note: PathBuf,
        input: PathBuf,
        output: PathBuf,
    },
    /// Thaws a file system when stdin ends, or after a while.
    Guard { place: PathBuf, seconds: u64 },
}

/// The result of a job that has none.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Nothing {}

/// Does a job in a process of its own; its result. It is killed when `within` is over, or when `told` fails.
///
/// # Errors
/// What it says; [`Error::Late`]; what `told` returned.
pub(crate) fn run(
    job: &Job,
    within: Option<Duration>,
    told: Told<'_>,
) -> Result<serde_json::Value> {
    let mut worker = Worker::start(job, true)?;
    let deadline = within.map(|within| Instant::now() + within);
    let result = worker.listen(deadline, within.unwrap_or_default(), told);
    if result.is_err() {
        worker.kill();
    } else {
        // It has said its last word.
        let _ = worker.child.wait();
    }
    result
}

/// The same for a job without progress and with a result.
///
/// # Errors
/// As of [`run`].
pub(crate) fn answer<T: DeserializeOwned>(job: &Job, within: Duration) -> Result<T> {
    let value = run(job, Some(within), &mut |_| Ok(()))?;
    serde_json::from_value(value).map_err(|e| Error::Work(format!("what the work answered: {e}")))
}

struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    last: Progress,
    doing: String,
}

impl Worker {
    fn start(job: &Job, dies_with_us: bool) -> Result<Self> {
        let doing = job.to_string();
        let failed = |cause: std::io::Error| {
            Error::Work(format!("{doing}: start a process for it: {cause}"))
        };
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("work")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if dies_with_us {
            wharfline_kernel::child::die_with_this_thread(&mut command);
        }
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(Error::Work(doing));
        };
        let mut text = serde_json::to_vec(job).unwrap_or_default();
        text.push(b'\n');
        // By stdin: a command line is everybody's to read.
        stdin.write_all(&text).map_err(failed)?;
        let lines = BufReader::new(stdout);
        Ok(Self {
            child,
            stdin: Some(stdin),
            lines,
            last: Progress::default(),
            doing,
        })
    }

    fn listen(
        &mut self,
        deadline: Option<Instant>,
        within: Duration,
        told: Told<'_>,
    ) -> Result<serde_json::Value> {
        loop {
            if self.lines.buffer().is_empty() && !self.is_readable(deadline, told)? {
                return Err(Error::Late {
                    doing: self.doing.clone(),
                    seconds: within.as_secs(),
                });
            }
            let mut line = String::new();
            let read = self.lines.read_line(&mut line);
            read.map_err(|e| Error::Work(format!("{}: {e}", self.doing)))?;
            match serde_json::from_str(&line) {
                Ok(Event::Progress(progress)) => {
                    self.last = progress;
                    told(progress)?;
                }
                Ok(Event::Done(value)) => return Ok(value),
                Ok(Event::Failed(why)) => return Err(Error::Work(why)),
                Err(_) => {
                    let status = self
                        .child
                        .wait()
                        .map(|status| status.to_string())
                        .unwrap_or_default();
                    return Err(Error::Work(format!(
                        "{}: its process ended: {status}",
                        self.doing
                    )));
                }
            }
        }
    }

    /// Waits for a line; false when the deadline came first. Where there is no deadline, whoever asked is asked every
    /// second whether he is still there.
    fn is_readable(&self, deadline: Option<Instant>, told: Told<'_>) -> Result<bool> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let wait = left.unwrap_or(Duration::from_secs(1));
            let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            let mut waited = [PollFd::new(self.lines.get_ref().as_fd(), PollFlags::POLLIN)];
            match poll(&mut waited, wait) {
                Ok(0) if deadline.is_some() => return Ok(false),
                Ok(0) => told(self.last)?,
                Ok(_) => return Ok(true),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::Work(format!("{}: wait for it: {errno}", self.doing)));
                }
            }
        }
    }

    /// Kills it. A process that waits for a server may take its time to die: nobody waits for that.
    fn kill(mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        if let Ok(None) = self.child.try_wait() {
            let reaped = std::thread::Builder::new().name("reap".to_owned());
            let _ = reaped.spawn(move || self.child.wait());
        }
    }
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CopyTree { from, .. } | Self::CopyFile { from, .. } => {
                write!(f, "copy {}", from.display())
            }
            Self::Export { from, .. } => write!(f, "export {}", from.display()),
            Self::Import { archive, .. } => write!(f, "import {}", archive.display()),
            Self::Measure { place } | Self::Space { place } => {
                write!(f, "measure {}", place.display())
            }
            Self::Mount { kind, host, .. } => write!(f, "mount {kind} of {host}"),
            Self::Unmount { place, .. } => write!(f, "unmount {}", place.display()),
            Self::Repository { access, .. } => write!(f, "backup repository {}", access.address),
            Self::Send { offer, .. } => write!(f, "send volume {}", offer.name),
            Self::Receive { to, .. } => write!(f, "receive into {}", to.display()),
            Self::Guard { place, .. } => write!(f, "guard {}", place.display()),
        }
    }
}

/// A process that thaws a file system, should we die before we do.
pub(crate) struct Guard(Worker);

impl Guard {
    /// Over the file system at `place`; it stands when this returns.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) fn over(place: &Path) -> Result<Self> {
        let job = Job::Guard {
            place: place.to_owned(),
            seconds: FROZEN_AT_MOST.as_secs() + 5,
        };
        let mut worker = Worker::start(&job, false)?;
        // Its first line says that it is there.
        let mut there = String::new();
        let read = worker.lines.read_line(&mut there);
        match read {
            Ok(length) if length > 0 => Ok(Self(worker)),
            _ => Err(Error::Work(format!("{job}: its process ended"))),
        }
    }

    /// It is thawed.
    pub(crate) fn release(mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.child.wait();
    }
}

/// Thaws what a killed server left frozen: whatever of the root is mounted and has a device of its own.
pub(crate) fn thaw_all(root: &Path) {
    let Ok(mounts) = mountinfo::ours() else {
        return;
    };
    let ours = |mounted: &&mountinfo::Mount| {
        mounted.place.starts_with(root) && mounted.source.starts_with("/dev/loop")
    };
    for mounted in mounts.iter().filter(ours) {
        let opened = wharfline_kernel::fs::beneath::folder(&mounted.place);
        if let Err(e) = opened.and_then(wharfline_kernel::fs::freeze::thaw) {
            tracing::warn!("{e}");
        }
    }
}
