//! A shim's life: claim the container, obey `wharf`, forward signals, reap, report the end, clear away.
//! `main` calls it once, for `wharf-shim run`.
//! It must outlive `wharf`: if that is gone when the container ends, it becomes the command that removes it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use wharf_protocol::{
    Channel, Claim, Failure, Holder, Phase, Report, Request, Status, process_start,
};

use crate::Result;
use crate::error::ShimError;
use crate::runtime::{self, Created};

/// Signals that `wharf` passes on to the container through us. Whoever signals the shim means the container.
const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Serves the container in `dir` until it is gone. `remover` is the `wharf` binary to become at the end
/// if the `wharf` that started us has died meanwhile.
pub(crate) fn run(dir: &Path, remover: &Path) -> Result<()> {
    let claim = Claim::take(dir, Holder::Shim)
        .map_err(ShimError::file("lock", dir))?
        .ok_or_else(|| ShimError::Taken(dir.to_owned()))?;
    let mut shim = Shim::prepare(dir)?;
    shim.serve()?;
    let cleared = runtime::delete(dir);
    let orphaned = shim.channel.is_none();
    drop(claim);
    if orphaned {
        return Err(become_remover(dir, remover));
    }
    cleared
}

/// Where the container is, as far as this shim has brought it.
enum Life {
    Unmade,
    Waiting(Box<Created>),
    Running,
    Over,
}

struct Shim {
    dir: PathBuf,
    /// `None` once `wharf` is gone.
    channel: Option<Channel>,
    signals: SignalFd,
    life: Life,
    /// The container's first process, while it is not reaped.
    first: Option<Pid>,
}

impl Shim {
    fn prepare(dir: &Path) -> Result<Shim> {
        let channel = Channel::from_stdin()?;
        // A session of its own: the terminal's ctrl-C and hang-up belong to `wharf`, which passes them on.
        nix::unistd::setsid().map_err(ShimError::system("start a session"))?;
        // What the container leaves running comes to us and not to the host's init, and is reaped.
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(ShimError::system("become a subreaper"))?;
        Ok(Shim {
            dir: dir.to_owned(),
            channel: Some(channel),
            signals: watch_signals()?,
            life: Life::Unmade,
            first: None,
        })
    }

    fn serve(&mut self) -> Result<()> {
        while !matches!(self.life, Life::Over) {
            let (asked, signalled) = self.wait()?;
            if signalled {
                self.take_signals()?;
            }
            if asked && !matches!(self.life, Life::Over) {
                self.take_request()?;
            }
        }
        Ok(())
    }

    /// Blocks until `wharf` says something (or dies) or a signal comes; says which.
    fn wait(&self) -> Result<(bool, bool)> {
        let mut watched = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(channel) = &self.channel {
            watched.push(PollFd::new(channel.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok((false, false)),
            other => other.map_err(ShimError::system("wait for events"))?,
        };
        let ready = |at: usize| watched.get(at).and_then(PollFd::any).unwrap_or(false);
        Ok((ready(1), ready(0)))
    }

    fn take_request(&mut self) -> Result<()> {
        let Some(channel) = &self.channel else {
            return Ok(());
        };
        match channel.receive::<Request>() {
            Ok(Some((Request::Create, descriptors))) => self.create(descriptors),
            Ok(Some((Request::Start, _))) => self.start(),
            Ok(Some((Request::Delete, _))) => {
                self.kill();
                Ok(())
            }
            Ok(None) | Err(_) => {
                self.lose_wharf();
                Ok(())
            }
        }
    }

    fn create(&mut self, descriptors: Vec<OwnedFd>) -> Result<()> {
        let (Life::Unmade, Ok(stdio)) = (&self.life, descriptors.try_into()) else {
            return Err(ShimError::OutOfOrder("create"));
        };
        match runtime::create(&self.dir, stdio) {
            Ok(created) => {
                let pid = created.pid();
                self.first = Some(Pid::from_raw(pid));
                self.life = Life::Waiting(Box::new(created));
                self.record(Phase::Created, None)?;
                self.report(&Report::Created { pid });
                Ok(())
            }
            Err(failure) => {
                self.fail(failure);
                Ok(())
            }
        }
    }

    fn start(&mut self) -> Result<()> {
        let Life::Waiting(created) = std::mem::replace(&mut self.life, Life::Running) else {
            return Err(ShimError::OutOfOrder("start"));
        };
        match created.start() {
            Ok(()) => {
                self.record(Phase::Running, None)?;
                self.report(&Report::Started);
                Ok(())
            }
            Err(failure) => {
                self.fail(failure);
                Ok(())
            }
        }
    }

    /// The request failed: say so, and end. What is left is cleared away on the way out.
    fn fail(&mut self, failure: Failure) {
        self.report(&Report::Failed(failure));
        self.life = Life::Over;
    }

    /// `wharf` is gone. A running container runs on; one that was never started has nobody left to start it.
    fn lose_wharf(&mut self) {
        self.channel = None;
        match self.life {
            Life::Running => {}
            Life::Unmade | Life::Waiting(_) | Life::Over => self.life = Life::Over,
        }
    }

    fn take_signals(&mut self) -> Result<()> {
        while let Some(info) = self
            .signals
            .read_signal()
            .map_err(ShimError::system("read a signal"))?
        {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(signal) => self.forward(signal),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Ends the container: what it leaves is reaped and reported like any other end.
    fn kill(&mut self) {
        match self.first {
            Some(first) => {
                let _ = kill(first, Signal::SIGKILL);
            }
            None => self.life = Life::Over,
        }
    }

    /// The first process is our child and not reaped yet, so its pid can't mean another process.
    fn forward(&self, signal: Signal) {
        if let Some(first) = self.first {
            let _ = kill(first, signal);
        }
    }

    fn reap(&mut self) -> Result<()> {
        loop {
            let code = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => return Err(ShimError::system("reap a process")(errno)),
            };
            if Some(code.0) == self.first {
                self.over(code.1)?;
            }
        }
    }

    fn over(&mut self, code: i32) -> Result<()> {
        self.record(Phase::Exited, Some(code))?;
        self.first = None;
        self.life = Life::Over;
        self.report(&Report::Exited { code });
        Ok(())
    }

    fn record(&self, phase: Phase, exit_code: Option<i32>) -> Result<()> {
        let pid = self.first.map_or(0, Pid::as_raw);
        let status = Status {
            phase,
            pid,
            // A reaped process has none; no process has start 0, so it can't be mistaken for a later one.
            pid_start: process_start(pid).unwrap_or(0),
            exit_code,
        };
        status
            .write(&self.dir)
            .map_err(ShimError::file("write the status in", &self.dir))
    }

    /// A report that can't be delivered means that `wharf` is gone.
    fn report(&mut self, report: &Report) {
        let lost = match &self.channel {
            Some(channel) => channel.send(report, &[]).is_err(),
            None => false,
        };
        if lost {
            self.lose_wharf();
        }
    }
}

fn watch_signals() -> Result<SignalFd> {
    let mut watched = SigSet::from_iter(FORWARDED);
    watched.add(Signal::SIGCHLD);
    watched
        .thread_block()
        .map_err(ShimError::system("block signals"))?;
    let flags =
        nix::sys::signalfd::SfdFlags::SFD_NONBLOCK | nix::sys::signalfd::SfdFlags::SFD_CLOEXEC;
    SignalFd::with_flags(&watched, flags).map_err(ShimError::system("make a signalfd"))
}

/// Becomes `wharf remove-dead ID`, which detaches the networks and removes the container. Returns only on failure.
fn become_remover(dir: &Path, remover: &Path) -> ShimError {
    let id = dir.file_name().unwrap_or_default();
    if let Err(errno) = SigSet::empty().thread_set_mask() {
        return ShimError::system("unblock signals")(errno);
    }
    let cause = Command::new(remover).arg("remove-dead").arg(id).exec();
    ShimError::file("become", remover)(cause)
}
