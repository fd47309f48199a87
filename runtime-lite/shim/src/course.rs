//! The course of a container's life: made, started, ended, started again, probed.
//! `supervise` and `requests` call it at what happens; each step is recorded before it is told.
//! It must never leave a step half recorded: `status.json` is what `wharf gc` goes by when the shim is gone.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use wharf_protocol::{Failure, Phase, Report, Stage, Streams, back_off, clock, process_start};

use crate::Result;
use crate::error::{ShimError, chain};
use crate::health::Check;
use crate::runtime::{self, Created, Stdio};
use crate::session::{Owner, Session};
use crate::streams;
use crate::supervise::{Life, Shim};

/// How long who is attached may take to read the last words.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Shim {
    /// The maker asks for the container.
    pub(super) fn create(&mut self, descriptors: Vec<OwnedFd>) -> Result<()> {
        if !matches!(self.life, Life::Unmade) {
            return Err(ShimError::OutOfOrder("create"));
        }
        match self.make(descriptors) {
            Ok(created) => {
                let pid = created.pid;
                self.life = Life::Waiting(Box::new(created));
                self.record(Phase::Created)?;
                self.tell_maker(&Report::Created { pid });
                Ok(())
            }
            Err(failure) => {
                self.fail(failure);
                Ok(())
            }
        }
    }

    /// The maker lets it run.
    pub(super) fn start(&mut self) -> Result<()> {
        let Life::Waiting(created) = std::mem::replace(&mut self.life, Life::Running) else {
            return Err(ShimError::OutOfOrder("start"));
        };
        match self.let_run(*created) {
            Ok(()) => {
                self.started = true;
                self.tell_maker(&Report::Started);
                Ok(())
            }
            Err(failure) => {
                self.fail(failure);
                Ok(())
            }
        }
    }

    fn make(&mut self, descriptors: Vec<OwnedFd>) -> std::result::Result<Created, Failure> {
        let failed = |cause: std::io::Error| Failure {
            stage: Stage::Create,
            reason: format!("make the container's streams: {cause}"),
        };
        let mut streams = None;
        let stdio = match self.wish {
            Some(Streams::Kept { stdin, once, owner }) => {
                let (inside, ours) =
                    streams::pipes(&self.dir, stdin, once, owner).map_err(failed)?;
                streams = Some(ours);
                Stdio::Given(inside)
            }
            Some(Streams::Terminal) => Stdio::Terminal,
            Some(Streams::Passed) | None => {
                let given = descriptors.try_into().map_err(|_| Failure {
                    stage: Stage::Create,
                    reason: "three descriptors were expected".to_owned(),
                })?;
                Stdio::Given(given)
            }
        };
        let program = runtime::orders(&self.dir).runtime;
        let mut created = runtime::create(&self.dir, stdio, program.as_deref())?;
        self.first = Some(Pid::from_raw(created.pid));
        if let Some(master) = created.terminal.take() {
            streams = Some(streams::terminal(&self.dir, master).map_err(failed)?);
        }
        if let (Some(new), Some(old)) = (&mut streams, self.streams.take()) {
            new.take_over(old);
        }
        self.streams = streams;
        Ok(created)
    }

    fn let_run(&mut self, created: Created) -> std::result::Result<(), Failure> {
        created.start(&self.dir)?;
        self.running_since = Instant::now();
        self.status.started = Some(clock::stamp());
        self.status.finished = None;
        self.status.exit_code = None;
        self.status.error = None;
        self.check = runtime::orders(&self.dir).health.map(Check::new);
        self.status.health = self.check.as_ref().map(|check| check.wellbeing.clone());
        self.record(Phase::Running).map_err(|cause| Failure {
            stage: Stage::Start,
            reason: chain(&cause),
        })?;
        self.tell_event("start", "");
        Ok(())
    }

    /// The request failed: say so, and end. What is left is cleared away on the way out.
    fn fail(&mut self, failure: Failure) {
        self.status.exit_code = Some(match failure.stage {
            Stage::CommandNotFound => 127,
            Stage::CommandNotExecutable => 126,
            _ => 125,
        });
        self.give_up(&failure.reason);
        self.tell_maker(&Report::Failed(failure));
    }

    /// It can't be started.
    pub(super) fn give_up(&mut self, why: &str) {
        self.kill_first();
        self.status.error = Some(why.to_owned());
        self.status.exit_code.get_or_insert(125);
        self.status.finished = Some(clock::stamp());
        self.first = None;
        // There is nothing to do about a status that can't be written.
        let _ = self.record(Phase::Exited);
        self.life = Life::Over;
    }

    /// The first process is reaped, and with it the whole pid namespace is gone.
    pub(super) fn first_ended(&mut self, code: i32) {
        self.first = None;
        self.kill_at = None;
        self.check = None;
        for session in std::mem::take(&mut self.sessions) {
            self.tell_owner(session.owner, &Report::Exited { code: 137 }, &[]);
        }
        match self.life {
            Life::Running => self.life = Life::Ending(code, Instant::now() + LAST_WORDS),
            // It died before it was started: whoever starts it will hear of it.
            _ => self.give_up(&format!("the container's first process ended with {code}")),
        }
    }

    /// Does what is due, and moves what the container writes and reads.
    pub(super) fn keep_time(&mut self) -> Result<()> {
        let now = Instant::now();
        let ending = matches!(self.life, Life::Ending(..));
        if let Some(streams) = &mut self.streams {
            streams.turn(ending);
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            self.kill_first();
        }
        match self.life {
            Life::Ending(code, until) => {
                let shown = self.streams.as_ref().is_none_or(streams::Streams::finished);
                if shown || until <= now {
                    self.conclude(code)?;
                }
            }
            Life::Resting(until) if until <= now => self.start_again()?,
            Life::Running => self.look_after_health(now)?,
            _ => {}
        }
        Ok(())
    }

    /// A run is over: record it, tell of it, and start again if that is the policy.
    fn conclude(&mut self, code: i32) -> Result<()> {
        let policy = runtime::orders(&self.dir).restart;
        let again = !self.status.stopped && policy.applies(code, self.status.restarts);
        self.status.exit_code = Some(code);
        self.status.finished = Some(clock::stamp());
        self.status.health = None;
        self.record(match again {
            true => Phase::Restarting,
            false => Phase::Exited,
        })?;
        self.tell_event("die", &code.to_string());
        if let Some(streams) = &mut self.streams {
            streams.close();
        }
        for peer in self.peers.iter_mut().filter(|peer| peer.waits) {
            peer.waits = peer.maker;
            let _ = peer.channel.send(&Report::Exited { code }, &[]);
        }
        if !again {
            self.life = Life::Over;
            return Ok(());
        }
        runtime::delete(&self.dir)?;
        let pause = back_off(self.back_off, self.running_since.elapsed());
        self.back_off = Some(pause);
        self.life = Life::Resting(Instant::now() + pause);
        Ok(())
    }

    fn start_again(&mut self) -> Result<()> {
        self.status.restarts += 1;
        self.life = Life::Running;
        let ran = self
            .make(Vec::new())
            .and_then(|created| self.let_run(created));
        match ran {
            Ok(()) => self.tell_event("restart", &self.status.restarts.to_string()),
            Err(failure) => self.fail(failure),
        }
        Ok(())
    }

    /// Stopped while it waits for its next start.
    pub(super) fn stop_resting(&mut self) {
        let _ = self.record(Phase::Exited);
        self.life = Life::Over;
    }

    fn look_after_health(&mut self, now: Instant) -> Result<()> {
        let Some(check) = &mut self.check else {
            return Ok(());
        };
        if check.deadline() > now {
            return Ok(());
        }
        if check.probing() {
            self.give_up_probe();
            return self.session_ended(Owner::Probe, None);
        }
        if self
            .sessions
            .iter()
            .any(|session| session.owner == Owner::Late)
        {
            // A host that is so slow gets no second helper beside the first, and this probe has failed as well.
            return self.session_ended(Owner::Probe, None);
        }
        let begun = check
            .probe(&self.dir)
            .and_then(|(process, ends)| Session::begin(&self.dir, Owner::Probe, process, &ends));
        match begun {
            Ok(session) => self.sessions.push(session),
            Err(_) => self.session_ended(Owner::Probe, None)?,
        }
        Ok(())
    }

    /// It takes too long: it is killed, now or as soon as its helper has made it.
    fn give_up_probe(&mut self) {
        let probe = |session: &Session| session.owner == Owner::Probe;
        let Some(at) = self.sessions.iter().position(probe) else {
            return;
        };
        match self.sessions.get_mut(at) {
            Some(session) if session.pid.is_none() => session.owner = Owner::Late,
            _ => self.sessions.swap_remove(at).kill(),
        }
    }

    /// A further process has ended, or (`None`) did not come to.
    pub(super) fn session_ended(&mut self, owner: Owner, code: Option<i32>) -> Result<()> {
        let Owner::Probe = owner else {
            let code = code.unwrap_or(125);
            self.tell_owner(owner, &Report::Exited { code }, &[]);
            return Ok(());
        };
        let Some(check) = &mut self.check else {
            return Ok(());
        };
        let changed = check.ended(code);
        self.status.health = Some(check.wellbeing.clone());
        self.record(self.status.phase)?;
        if changed && let Some(health) = &self.status.health {
            self.tell_event(
                "health_status",
                &format!("{:?}", health.state).to_lowercase(),
            );
        }
        Ok(())
    }

    fn record(&mut self, phase: Phase) -> Result<()> {
        let pid = self.first.map_or(0, Pid::as_raw);
        self.status.phase = phase;
        self.status.pid = pid;
        // A reaped process has none; no process has start 0, so it can't be mistaken for a later one.
        self.status.pid_start = process_start(pid).unwrap_or(0);
        self.status
            .write(&self.dir)
            .map_err(ShimError::file("write the status in", &self.dir))
    }

    fn tell_maker(&mut self, report: &Report) {
        for peer in self.peers.iter().filter(|peer| peer.maker) {
            // Whoever is gone is noticed at its socket.
            let _ = peer.channel.send(report, &[]);
        }
    }
}
