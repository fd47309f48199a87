//! A further process in the container, as the shim sees it: asked for, made by a helper, running, reaped.
//! `supervise` holds them; `health` uses one for each probe.
//! It must never outlive the container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use wharf_protocol::{Channel, Failure, Report, Request, Stage};

use crate::Result;
use crate::error::ShimError;

/// Who asked for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The connection with this number.
    Peer(u64),
    /// The health check.
    Probe,
    /// Nobody any more: a probe whose time was up before its helper had spoken. It is killed as soon as it is there.
    Late,
}

/// A process on its way, or running.
pub(crate) struct Session {
    pub(crate) owner: Owner,
    /// The helper's socket, until it has spoken.
    helper: Option<Channel>,
    /// The process, once it is made.
    pub(crate) pid: Option<Pid>,
}

/// What the helper said.
pub(crate) enum News {
    /// The process runs; its terminal.
    Made(i32, Option<OwnedFd>),
    /// It does not.
    Failed(Report),
}

impl Session {
    /// Starts the helper that makes the process, with these descriptors as its stdin, stdout and stderr, or a terminal.
    pub(crate) fn begin(
        dir: &Path,
        owner: Owner,
        process: Value,
        stdio: &[OwnedFd],
    ) -> Result<Session> {
        let (helper, theirs) = Channel::pair()?;
        // Ourselves, whatever has become of the file since we were started.
        let program = "/proc/self/exe";
        let child = Command::new(program)
            .arg("exec")
            .arg(dir)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn();
        // Like everything else, the helper is reaped by its number.
        drop(child.map_err(ShimError::file("start", program))?);
        let sent: Vec<_> = stdio.iter().map(AsFd::as_fd).collect();
        helper.send(&Request::Exec { process }, &sent)?;
        Ok(Session {
            owner,
            helper: Some(helper),
            pid: None,
        })
    }

    /// Kills the process and what it has started: it leads a session of its own. Only while it is not reaped.
    pub(crate) fn kill(&self) {
        if let Some(pid) = self.pid {
            // One that has just ended is what was wanted.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }

    /// What becomes readable when the helper has spoken.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.helper.as_ref().map(AsFd::as_fd)
    }

    /// The helper's word. Call it when it can be read.
    pub(crate) fn hear(&mut self) -> Option<News> {
        let said = self.helper.take()?.receive::<Report>();
        Some(match said {
            Ok(Some((Report::Created { pid }, descriptors))) => {
                self.pid = Some(Pid::from_raw(pid));
                News::Made(pid, descriptors.into_iter().next())
            }
            Ok(Some((report @ Report::Failed(_), _))) => News::Failed(report),
            Ok(_) => News::Failed(died("it ended without a word")),
            Err(cause) => News::Failed(died(&cause.to_string())),
        })
    }
}

/// A report that the helper could not send any more.
fn died(why: &str) -> Report {
    Report::Failed(Failure {
        stage: Stage::Exec,
        reason: format!("the process could not be made: {why}"),
    })
}
