//! The system's ssh, with the user's own configuration: a remote `wharf volume receive` at the other end of two pipes.
//! `migrate` starts one.
//! It must never have a shell take a name apart: the remote command is words of ours, and HOST is no option.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::archive::pipe;
use crate::error::{Error, Result};

/// What is asked of ssh unless the user's `--ssh-option` says otherwise (the first value counts, ssh_config(5)): a
/// connection that is dead is known to be so within a minute, and nothing but the pipes goes over it.
const OPTIONS: [&str; 9] = [
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "ControlMaster=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "EscapeChar=none",
];
/// How long ssh may take to end when its pipes are closed.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// How long after its end it may take until all is read that it said. A ProxyCommand that lives on holds the pipe open.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// Most of what it says that is kept.
const SAID: usize = 64 << 10;

/// Where to, and how.
pub(super) struct Destination<'a> {
    /// As ssh takes it: `HOST`, `USER@HOST`, a name of ssh_config, `ssh://USER@HOST:PORT`.
    pub(super) host: &'a str,
    /// `KEY=VALUE` of ssh_config.
    pub(super) options: &'a [String],
    /// The program there.
    pub(super) wharf: &'a str,
}

/// A running ssh.
pub(super) struct Ssh {
    child: Child,
    said: Receiver<Vec<u8>>,
    /// What it reads, and what it writes.
    pub(super) pipes: (OwnedFd, OwnedFd),
}

/// How it ended.
pub(super) struct Ended {
    pub(super) status: Option<ExitStatus>,
    /// What it and the program there wrote to standard error.
    pub(super) said: String,
}

impl Destination<'_> {
    fn check(&self) -> Result<()> {
        let plain = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && !text.chars().any(|c| c.is_control() || c.is_whitespace())
        };
        if !plain(self.host) {
            return Err(Error::BadValue {
                given: self.host.to_owned(),
                rule: "is no host as ssh takes it",
            });
        }
        // The shell there sees it.
        let is_word = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
        if !plain(self.wharf) || !self.wharf.chars().all(is_word) {
            return Err(Error::BadValue {
                given: self.wharf.to_owned(),
                rule: "is no path of letters, digits and / . _ - +",
            });
        }
        match self.options.iter().find(|option| !option.contains('=')) {
            Some(option) => Err(Error::BadValue {
                given: option.clone(),
                rule: "is not of the form KEY=VALUE",
            }),
            None => Ok(()),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// A host that is none; there is no ssh.
    pub(super) fn connect(&self) -> Result<Ssh> {
        self.check()?;
        let (theirs_in, ours_out) = pipe()?;
        let (ours_in, theirs_out) = pipe()?;
        let mut command = Command::new("ssh");
        command.args(["-T", "-a", "-x"]);
        for option in self.options.iter().map(String::as_str).chain(OPTIONS) {
            command.arg("-o").arg(option);
        }
        command.arg("--").arg(self.host);
        command.args([self.wharf, "volume", "receive"]);
        command.stdin(theirs_in).stdout(theirs_out);
        let started = command.stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(Error::file("start", Path::new("ssh")))?;
        let (tell, said) = channel();
        if let Some(mut stderr) = child.stderr.take() {
            thread::spawn(move || {
                let mut piece = [0; 4096];
                // What breaks off is told as far as it came; it is read to its end when nobody listens, too.
                while let Ok(length @ 1..) = stderr.read(&mut piece) {
                    let _ = tell.send(piece.iter().copied().take(length).collect());
                }
            });
        }
        Ok(Ssh {
            child,
            said,
            pipes: (ours_in, ours_out),
        })
    }
}

impl Ssh {
    /// Kills it: there is nothing to hear from the other side.
    pub(super) fn stop(mut self) {
        // One that has ended is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Closes its pipes and waits for its end.
    pub(super) fn end(self) -> Ended {
        drop(self.pipes);
        let mut child = self.child;
        let pid = rustix::process::Pid::from_child(&child);
        let (tell, ended) = channel();
        thread::spawn(move || tell.send(child.wait()));
        let mut status = ended.recv_timeout(ENDS_WITHIN);
        if status.is_err() {
            // Not reaped yet, so that its number is still its own.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            status = ended.recv_timeout(ENDS_WITHIN);
        }
        Ended {
            status: status.ok().and_then(std::result::Result::ok),
            said: heard(&self.said),
        }
    }
}

/// What it has said until its end.
fn heard(said: &Receiver<Vec<u8>>) -> String {
    let end = Instant::now() + HEARD_WITHIN;
    let mut text = Vec::new();
    while let Ok(piece) = said.recv_timeout(end.saturating_duration_since(Instant::now())) {
        let room = SAID.saturating_sub(text.len());
        text.extend(piece.into_iter().take(room));
    }
    String::from_utf8_lossy(&text).into_owned()
}

impl Ended {
    /// What to do about it, in words.
    pub(super) fn told(&self, host: &str) -> String {
        let lines: Vec<&str> = self.said.lines().map(str::trim).collect();
        let last = lines.len().saturating_sub(6);
        let said = lines.get(last..).unwrap_or_default().join("; ");
        let said = match said.is_empty() {
            true => "it said nothing".to_owned(),
            false => said,
        };
        match self.status.and_then(|status| status.code()) {
            Some(255) => format!("ssh: {said}"),
            Some(127) => {
                format!("{host} has no wharf there (--remote-wharf names another): {said}")
            }
            Some(2) => {
                format!("wharf at {host} does not know `volume receive`, is it older? {said}")
            }
            Some(0) => said,
            Some(code) => format!("wharf at {host} ended with status {code}: {said}"),
            None => format!("ssh was killed: {said}"),
        }
    }
}
