//! A shim's life: claim the container, obey requests, forward signals, reap, restart, probe, clear away.
//! `main` calls it once, for `wharf-shim run`. What a request does is `requests`; what the container does is `course`.
//! It must outlive `wharf`: if that is gone when the container ends, it becomes the command that settles what remains.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use wharf_protocol::{Channel, Claim, FORWARDED, Holder, Report, Status, boot_id, event};

use crate::Result;
use crate::error::ShimError;
use crate::health::Check;
use crate::runtime::{self, Created};
use crate::session::{News, Owner, Session};
use crate::streams::Streams;

/// What else a shim passes on when it is sent to itself.
const ALSO_FORWARDED: [Signal; 2] = [Signal::SIGALRM, Signal::SIGCONT];

/// Serves the container in `dir` until it is gone. `settler` is the `wharf` binary to become at the end
/// if the `wharf` that started us has died, or left, meanwhile.
pub(crate) fn run(dir: &Path, settler: &Path) -> Result<()> {
    let claim = Claim::take(dir, Holder::Shim)
        .map_err(ShimError::file("lock", dir))?
        .ok_or_else(|| ShimError::Taken(dir.to_owned()))?;
    let mut shim = Shim::prepare(dir)?;
    shim.serve()?;
    let cleared = runtime::delete(dir);
    if shim.maker_finishes() {
        drop(claim);
        return cleared;
    }
    drop(shim);
    // Until it is settled nobody may think that it is.
    claim
        .survive_exec()
        .map_err(ShimError::file("keep the lock of", dir))?;
    Err(become_settler(dir, settler))
}

/// Where the container is, as far as this shim has brought it.
pub(super) enum Life {
    Unmade,
    Waiting(Box<Created>),
    Running,
    /// Its first process is gone; what it wrote is being read, until then at most.
    Ending(i32, Instant),
    /// It will be started again then.
    Resting(Instant),
    Over,
}

/// A connection.
pub(super) struct Peer {
    pub(super) id: u64,
    pub(super) channel: Channel,
    /// The `wharf` that started us.
    pub(super) maker: bool,
    /// Wants to be told of the end.
    pub(super) waits: bool,
}

pub(super) struct Shim {
    pub(super) dir: PathBuf,
    listener: OwnedFd,
    pub(super) peers: Vec<Peer>,
    peers_so_far: u64,
    signals: SignalFd,
    pub(super) life: Life,
    /// The container's first process, while it is not reaped.
    pub(super) first: Option<Pid>,
    pub(super) status: Status,
    /// Whether its command has ever run.
    pub(super) started: bool,
    /// Who holds the container's streams; asked with the making.
    pub(super) wish: Option<wharf_protocol::Streams>,
    pub(super) streams: Option<Streams>,
    pub(super) sessions: Vec<Session>,
    /// Processes that were reaped before their helper could tell of them.
    strays: Vec<(Pid, i32)>,
    pub(super) check: Option<Check>,
    /// When a container that was asked to end is killed.
    pub(super) kill_at: Option<Instant>,
    pub(super) running_since: Instant,
    pub(super) back_off: Option<Duration>,
}

/// What became ready.
enum Ready {
    Signals,
    Listener,
    Peer(u64),
    Session,
    Streams,
}

impl Shim {
    fn prepare(dir: &Path) -> Result<Shim> {
        let channel = Channel::from_stdin()?;
        // It was started by a descriptor (`sealed` in wharf), whose number would be its name.
        nix::sys::prctl::set_name(c"wharf-shim").map_err(ShimError::system("take a name"))?;
        // A session of its own: the terminal's ctrl-C and hang-up belong to `wharf`, which passes them on.
        nix::unistd::setsid().map_err(ShimError::system("start a session"))?;
        // What the container leaves running comes to us and not to the host's init, and is reaped.
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(ShimError::system("become a subreaper"))?;
        let maker = Peer {
            id: 0,
            channel,
            maker: true,
            waits: true,
        };
        Ok(Shim {
            listener: Channel::listen(dir)?,
            dir: dir.to_owned(),
            peers: vec![maker],
            peers_so_far: 0,
            signals: watch_signals()?,
            life: Life::Unmade,
            first: None,
            status: Status {
                boot_id: boot_id(),
                ..Status::default()
            },
            started: false,
            wish: None,
            streams: None,
            sessions: Vec::new(),
            strays: Vec::new(),
            check: None,
            kill_at: None,
            running_since: Instant::now(),
            back_off: None,
        })
    }

    /// Whoever started us puts the container away if its start failed, or if the container's streams are its own.
    fn maker_finishes(&self) -> bool {
        let own = matches!(self.wish, Some(wharf_protocol::Streams::Passed));
        (own || !self.started) && self.peers.iter().any(|peer| peer.maker)
    }

    fn serve(&mut self) -> Result<()> {
        while !matches!(self.life, Life::Over) {
            for ready in self.wait()? {
                match ready {
                    Ready::Signals => self.take_signals()?,
                    Ready::Listener => self.take_calls()?,
                    Ready::Peer(id) => self.take_request(id)?,
                    Ready::Session => self.hear_helpers()?,
                    // They get their turn below in any case.
                    Ready::Streams => {}
                }
            }
            self.keep_time()?;
        }
        Ok(())
    }

    /// Blocks until something is ready or due; says what is ready.
    fn wait(&self) -> Result<Vec<Ready>> {
        let mut watched = vec![
            (self.signals.as_fd(), PollFlags::POLLIN, Ready::Signals),
            (self.listener.as_fd(), PollFlags::POLLIN, Ready::Listener),
        ];
        for peer in &self.peers {
            watched.push((
                peer.channel.as_fd(),
                PollFlags::POLLIN,
                Ready::Peer(peer.id),
            ));
        }
        for helper in self.sessions.iter().filter_map(Session::watched) {
            watched.push((helper, PollFlags::POLLIN, Ready::Session));
        }
        let streams = self.streams.iter().flat_map(Streams::interests);
        watched.extend(streams.map(|(end, flags)| (end, flags, Ready::Streams)));
        let mut polled: Vec<PollFd<'_>> = watched
            .iter()
            .map(|(end, flags, _)| PollFd::new(*end, *flags))
            .collect();
        match poll(&mut polled, self.timeout()) {
            Err(Errno::EINTR) => return Ok(Vec::new()),
            other => other.map_err(ShimError::system("wait for events"))?,
        };
        let ready: Vec<bool> = polled
            .iter()
            .map(|end| end.any().unwrap_or(false))
            .collect();
        let ready = watched.into_iter().zip(ready).filter(|(_, ready)| *ready);
        Ok(ready.map(|((_, _, what), _)| what).collect())
    }

    fn timeout(&self) -> PollTimeout {
        let of_life = match self.life {
            Life::Ending(_, until) | Life::Resting(until) => Some(until),
            _ => None,
        };
        let of_check = self.check.as_ref().map(Check::deadline);
        let due = [of_life, of_check, self.kill_at]
            .into_iter()
            .flatten()
            .min();
        let Some(due) = due else {
            return PollTimeout::NONE;
        };
        // Rounded up: a moment too early would be a turn for nothing.
        let rest = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
    }

    fn take_calls(&mut self) -> Result<()> {
        while let Some(channel) = Channel::accept(&self.listener)? {
            self.peers_so_far += 1;
            self.peers.push(Peer {
                id: self.peers_so_far,
                channel,
                maker: false,
                waits: false,
            });
        }
        Ok(())
    }

    fn take_signals(&mut self) -> Result<()> {
        while let Some(info) = self
            .signals
            .read_signal()
            .map_err(ShimError::system("read a signal"))?
        {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(signal) => self.forward(signal as i32),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The first process is our child and not reaped yet, so its pid can't mean another process.
    pub(super) fn forward(&self, number: i32) {
        if let Some(first) = self.first
            && let Some(pid) = rustix::process::Pid::from_raw(first.as_raw())
            && let Some(signal) = rustix::process::Signal::from_named_raw(number)
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn reap(&mut self) -> Result<()> {
        loop {
            let (pid, code) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => return Err(ShimError::system("reap a process")(errno)),
            };
            if Some(pid) == self.first {
                self.first_ended(code);
            } else {
                self.other_ended(pid, code)?;
            }
        }
    }

    fn other_ended(&mut self, pid: Pid, code: i32) -> Result<()> {
        let of_session = |session: &Session| session.pid == Some(pid);
        if let Some(at) = self.sessions.iter().position(of_session) {
            let session = self.sessions.swap_remove(at);
            return self.session_ended(session.owner, Some(code));
        }
        // A helper's process may be gone before the helper is heard.
        if self.sessions.iter().any(|session| session.pid.is_none()) {
            self.strays.push((pid, code));
        }
        Ok(())
    }

    /// Takes the word of each helper that has one.
    fn hear_helpers(&mut self) -> Result<()> {
        for mut session in std::mem::take(&mut self.sessions) {
            if !session.watched().is_some_and(readable) {
                self.sessions.push(session);
                continue;
            }
            let owner = session.owner;
            match session.hear() {
                Some(News::Made(pid, terminal)) => {
                    let is_reaped = self.strays.iter().any(|(stray, _)| stray.as_raw() == pid);
                    if owner == Owner::Late && !is_reaped {
                        session.kill();
                    }
                    self.sessions.push(session);
                    let ends: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
                    self.tell_owner(owner, &Report::Created { pid }, &ends);
                    self.match_stray(Pid::from_raw(pid))?;
                }
                Some(News::Failed(report)) => {
                    self.tell_owner(owner, &report, &[]);
                    if owner == Owner::Probe {
                        self.session_ended(owner, None)?;
                    }
                }
                None => self.sessions.push(session),
            }
        }
        if self.sessions.iter().all(|session| session.pid.is_some()) {
            self.strays.clear();
        }
        Ok(())
    }

    fn match_stray(&mut self, pid: Pid) -> Result<()> {
        match self.strays.iter().position(|(stray, _)| *stray == pid) {
            Some(at) => {
                let (pid, code) = self.strays.swap_remove(at);
                self.other_ended(pid, code)
            }
            None => Ok(()),
        }
    }

    pub(super) fn tell_owner(&self, owner: Owner, report: &Report, ends: &[BorrowedFd<'_>]) {
        if let Owner::Peer(id) = owner
            && let Some(peer) = self.peers.iter().find(|peer| peer.id == id)
        {
            // Whoever is gone is noticed at its socket.
            let _ = peer.channel.send(report, ends);
        }
    }

    pub(super) fn tell_event(&self, action: &str, detail: &str) {
        if let Some(run) = std::env::var_os("WHARF_RUN_DIR") {
            let id = runtime::container_id(&self.dir);
            event::tell(Path::new(&run), &id, action, detail);
        }
    }

    pub(super) fn kill_first(&self) {
        if let Some(first) = self.first {
            let _ = kill(first, Signal::SIGKILL);
        }
    }
}

fn readable(end: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::new(end, PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

fn watch_signals() -> Result<SignalFd> {
    let mut watched = SigSet::from_iter(FORWARDED.into_iter().chain(ALSO_FORWARDED));
    watched.add(Signal::SIGCHLD);
    watched
        .thread_block()
        .map_err(ShimError::system("block signals"))?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    SignalFd::with_flags(&watched, flags).map_err(ShimError::system("make a signalfd"))
}

/// Becomes `wharf settle ID`, which detaches the networks, and removes the container if that was asked for. Returns
/// only on failure.
fn become_settler(dir: &Path, settler: &Path) -> ShimError {
    let id = dir.file_name().unwrap_or_default();
    if let Err(errno) = SigSet::empty().thread_set_mask() {
        return ShimError::system("unblock signals")(errno);
    }
    let cause = Command::new(settler).arg("settle").arg(id).exec();
    ShimError::file("become", settler)(cause)
}
