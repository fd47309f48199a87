//! What `wharf` asks a shim for, over the socket that it was started with or over its control socket.
//! `supervise` calls it when a connection has something to say.
//! It must never trust the order of requests: one that makes no sense is refused, and the container runs on.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use wharf_protocol::{Failure, Report, Request, Stage};

use crate::Result;
use crate::error::chain;
use crate::session::{Owner, Session};
use crate::supervise::{Life, Shim};

impl Shim {
    /// Obeys the next request of a connection, or notices that it is gone.
    pub(super) fn take_request(&mut self, id: u64) -> Result<()> {
        let Some(peer) = self.peers.iter().find(|peer| peer.id == id) else {
            return Ok(());
        };
        let maker = peer.maker;
        match peer.channel.receive::<Request>() {
            Ok(Some((Request::Create(streams), descriptors))) if maker => {
                self.wish = Some(streams);
                self.create(descriptors)
            }
            Ok(Some((Request::Start, _))) if maker => self.start(),
            Ok(Some((request, descriptors))) => {
                self.obey(id, request, descriptors);
                Ok(())
            }
            Ok(None) | Err(_) => {
                self.lose(id);
                Ok(())
            }
        }
    }

    fn obey(&mut self, id: u64, request: Request, descriptors: Vec<OwnedFd>) {
        let answer = match request {
            Request::Delete => self.delete(),
            Request::Stop { signal, grace_ms } => self.stop(signal, grace_ms),
            Request::Kill { signal } => self.kill(signal),
            Request::Wait => self.remember(id),
            Request::Attach => self.attach(id, descriptors),
            Request::Resize { rows, columns } => self.resize(rows, columns),
            Request::Exec { process } => self.exec(id, process, descriptors),
            Request::Create(_) | Request::Start => Err("only who started the shim may".to_owned()),
        };
        let report = match answer {
            // Its helper answers.
            Ok(None) => return,
            Ok(Some(report)) => report,
            Err(reason) => Report::Failed(Failure {
                stage: Stage::Request,
                reason,
            }),
        };
        self.tell_owner(Owner::Peer(id), &report, &[]);
    }

    /// The connection is gone. A running container runs on; one that was never started has nobody left to start it.
    fn lose(&mut self, id: u64) {
        if let Some(streams) = &mut self.streams {
            streams.detach(id);
        }
        let gone = |peer: &mut crate::supervise::Peer| peer.id == id;
        let maker = self.peers.extract_if(.., gone).any(|peer| peer.maker);
        if maker && matches!(self.life, Life::Unmade | Life::Waiting(_)) {
            self.give_up("wharf ended before the container was started");
        }
    }

    fn delete(&mut self) -> Answer {
        self.status.stopped = true;
        match self.life {
            Life::Running => self.kill_first(),
            Life::Ending(..) => {}
            Life::Unmade | Life::Waiting(_) | Life::Resting(_) | Life::Over => {
                self.life = Life::Over;
            }
        }
        Ok(Some(Report::Done))
    }

    fn stop(&mut self, signal: i32, grace_ms: Option<u64>) -> Answer {
        self.status.stopped = true;
        match self.life {
            Life::Running => {
                self.forward(signal);
                self.kill_at = grace_ms.map(|grace| Instant::now() + Duration::from_millis(grace));
                self.tell_event("stop", "");
            }
            Life::Resting(_) => self.stop_resting(),
            _ => {}
        }
        Ok(Some(Report::Done))
    }

    fn kill(&mut self, signal: i32) -> Answer {
        if self.first.is_none() {
            return Err("it is not running".to_owned());
        }
        self.forward(signal);
        self.tell_event("kill", &signal.to_string());
        Ok(Some(Report::Done))
    }

    fn remember(&mut self, id: u64) -> Answer {
        for peer in self.peers.iter_mut().filter(|peer| peer.id == id) {
            peer.waits = true;
        }
        Ok(Some(Report::Done))
    }

    fn attach(&mut self, id: u64, descriptors: Vec<OwnedFd>) -> Answer {
        let Some(streams) = &mut self.streams else {
            return Err(
                "its streams are those of the wharf run that started it, with --rm".to_owned(),
            );
        };
        let pipes = descriptors
            .try_into()
            .map_err(|_| "three pipes are needed")?;
        streams
            .attach(id, pipes)
            .map_err(|cause| format!("use the pipes: {cause}"))?;
        self.remember(id)
    }

    fn resize(&mut self, rows: u16, columns: u16) -> Answer {
        if let Some(streams) = &self.streams {
            streams
                .resize(rows, columns)
                .map_err(|cause| format!("resize the terminal: {cause}"))?;
        }
        Ok(Some(Report::Done))
    }

    fn exec(&mut self, id: u64, process: serde_json::Value, descriptors: Vec<OwnedFd>) -> Answer {
        if !matches!(self.life, Life::Running) {
            return Err("it is not running".to_owned());
        }
        let session = Session::begin(&self.dir, Owner::Peer(id), process, &descriptors);
        self.sessions.push(session.map_err(|cause| chain(&cause))?);
        Ok(None)
    }
}

/// What is answered at once, if anything; or why not.
type Answer = std::result::Result<Option<Report>, String>;
