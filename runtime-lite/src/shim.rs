//! wharf's side of a container's shim: start it, talk to it, signal it, see it end.
//! `start` starts one, every command that works on a running container calls one, `settle` clears away after a dead one.
//! It must never wait for a shim without noticing its death: the socket closes when it dies.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharf_protocol::{Channel, ChannelError, Report, Request, Streams, file};

use crate::container::Folder;
use crate::error::{Error, Result};
use crate::freezer;
use crate::home::Home;
use crate::sealed::Sealed;

/// The shim's file name.
const BINARY: &str = "wharf-shim";
/// Where it is if not beside wharf.
const LIBEXEC: &str = "/usr/libexec/wharfline";

/// A running shim.
#[derive(Debug)]
pub(crate) struct Shim {
    child: Child,
    /// Becomes readable when the shim ends. Its socket may not: a half-made container holds a copy of that.
    end: OwnedFd,
    channel: Channel,
    log: PathBuf,
}

impl Shim {
    /// Starts the shim of the container in `folder`. It outlives this process.
    pub(crate) fn spawn(home: &Home, folder: &Folder) -> Result<Shim> {
        let (channel, theirs) = Channel::pair()?;
        let log = folder.path().join(file::LOG);
        let words = File::create(&log).map_err(Error::file("create", &log))?;
        let binary = binary();
        let settler = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("wharf"));
        let sealed = Sealed::of(&binary, folder.path())?;
        let child = Command::new(sealed.path())
            .arg0(&binary)
            .arg("run")
            .arg(folder.path())
            .arg(settler)
            // Nothing of the user's environment reaches the container through its shim.
            .env_clear()
            .envs(home.environment())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()
            .map_err(Error::file("start", binary))?;
        let end = pidfd_of(&child).map_err(Error::kernel("watch the shim in", folder.path()))?;
        Ok(Shim {
            child,
            end,
            channel,
            log,
        })
    }

    /// Asks for the container; with [`Streams::Passed`], these descriptors become its stdin, stdout and stderr.
    pub(crate) fn ask_create(&self, streams: Streams, stdio: &[BorrowedFd<'_>]) -> Result<()> {
        self.ask(&Request::Create(streams), stdio)
    }

    /// Lets the created container run.
    pub(crate) fn ask_start(&self) -> Result<()> {
        self.ask(&Request::Start, &[])
    }

    /// Kills the container.
    pub(crate) fn ask_delete(&self) -> Result<()> {
        self.ask(&Request::Delete, &[])
    }

    fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        match self.channel.send(request, descriptors) {
            // It is gone: its log knows more than the socket.
            Err(ChannelError::Gone) => Err(self.died()),
            other => Ok(other?),
        }
    }

    /// The shim's next word. A failure that it reports is the error; so is its death.
    pub(crate) fn hear(&self) -> Result<Report> {
        if !self.speaks()? {
            return Err(self.died());
        }
        match self.channel.receive::<Report>()? {
            Some((Report::Failed(failure), _)) => Err(Error::Container(failure)),
            Some((report, _)) => Ok(report),
            None => Err(self.died()),
        }
    }

    /// Waits for the shim's next word or its end; says whether there is a word. What it said before it ended counts.
    fn speaks(&self) -> Result<bool> {
        loop {
            let mut watched = self
                .watched()
                .map(|end| PollFd::new(end, PollFlags::POLLIN));
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) => {
                    let [spoke, ended] = watched.map(|end| end.any().unwrap_or(false));
                    if spoke || ended {
                        return Ok(spoke);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::kernel("wait for the shim of", &self.log)(errno)),
            }
        }
    }

    fn died(&self) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let log = match log.trim() {
            "" => "nothing".to_owned(),
            text => text.to_owned(),
        };
        Error::ShimDied { log }
    }

    /// Passes a signal to the container. The shim is our unreaped child, so its pid is still its own.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// The descriptors that become readable when the shim has something to say, and when it has ended.
    pub(crate) fn watched(&self) -> [BorrowedFd<'_>; 2] {
        [self.channel.as_fd(), self.end.as_fd()]
    }

    /// Waits until the shim has cleared away and ended; says whether it could.
    pub(crate) fn wait(mut self) -> bool {
        self.child.wait().is_ok_and(|status| status.success())
    }

    /// Leaves the container to its shim; returns what can be waited for.
    pub(crate) fn leave(self) -> Left {
        Left(self.child)
    }

    /// Has the container ended and cleared away, whatever its state; says whether that worked.
    pub(crate) fn abandon(self) -> bool {
        // A shim that can't be told is dead already; waiting for it says so.
        let _ = self.ask_delete();
        self.wait()
    }
}

/// A shim that looks after its container alone.
#[derive(Debug)]
pub(crate) struct Left(Child);

impl Left {
    /// Waits until the container is put away.
    pub(crate) fn wait(mut self) {
        let _ = self.0.wait();
    }
}

/// A connection to the shim of a container that somebody else started.
#[derive(Debug)]
pub(crate) struct Control {
    channel: Channel,
    /// Whose shim it is, as the user calls it.
    container: String,
}

impl Control {
    /// Calls the shim of the container `name` in `folder`; `None` if there is none.
    pub(crate) fn call(folder: &Folder, name: &str) -> Result<Option<Control>> {
        freezer::thaw_abandoned(folder)?;
        let channel = Channel::call(folder.path())?;
        Ok(channel.map(|channel| Control {
            channel,
            container: name.to_owned(),
        }))
    }

    /// Calls the shim of a container that is to run.
    pub(crate) fn call_running(folder: &Folder, name: &str) -> Result<Control> {
        Control::call(folder, name)?.ok_or_else(|| Error::NotRunning(name.to_owned()))
    }

    /// Asks, and waits for the answer. A refusal is an error.
    pub(crate) fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<Report> {
        self.tell(request, descriptors)?;
        Ok(self.hear()?.0)
    }

    /// Asks without waiting. A shim that answered the call may be gone by now, with its container: [`Error::ShimGone`].
    pub(crate) fn tell(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        match self.channel.send(request, descriptors) {
            Err(ChannelError::Gone) => Err(self.gone()),
            other => Ok(other?),
        }
    }

    /// The shim's next word, and what came with it.
    pub(crate) fn hear(&self) -> Result<(Report, Vec<OwnedFd>)> {
        match self.channel.receive::<Report>()? {
            Some((Report::Failed(failure), _)) => Err(Error::Container(failure)),
            Some(said) => Ok(said),
            None => Err(self.gone()),
        }
    }

    pub(crate) fn gone(&self) -> Error {
        Error::ShimGone(self.container.clone())
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Ends what is left of a container without a shim: processes, control groups, libcontainer's files.
pub(crate) fn delete(folder: &Folder) -> Result<()> {
    helper("delete", folder)
}

/// Has the shim's binary do something to a container's control groups that needs no running shim.
pub(crate) fn helper(verb: &str, folder: &Folder) -> Result<()> {
    let binary = binary();
    let done = Command::new(&binary)
        .arg(verb)
        .arg(folder.path())
        .stdin(Stdio::null())
        .output()
        .map_err(Error::file("start", &binary))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(Error::Helper {
            program: binary,
            complaint: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
        }),
    }
}

fn pidfd_of(child: &Child) -> std::result::Result<OwnedFd, Errno> {
    let pid = rustix::process::Pid::from_child(child);
    let flags = rustix::process::PidfdFlags::empty();
    rustix::process::pidfd_open(pid, flags).map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// $WHARF_SHIM, else beside wharf, else in libexec.
fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("WHARF_SHIM") {
        return PathBuf::from(given);
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|wharf| Some(wharf.parent()?.join(BINARY)))
        .filter(|path| path.is_file());
    beside.unwrap_or_else(|| Path::new(LIBEXEC).join(BINARY))
}
