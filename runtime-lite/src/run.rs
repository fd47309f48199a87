//! `wharf run`: define a container, make it, attach it, let it run, pass signals, take it all away again.
//! `cli` calls it; the shim does what concerns the container, the plugins what concerns its networks.
//! It must leave nothing behind on any way out; what a SIGKILL of wharf prevents, the shim or `wharf gc` does.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use wharf_protocol::Report;
use wharfline_spec::cni::ConfList;
use wharfline_spec::{ContainerId, IfName};

use crate::attach::{self, Made};
use crate::container::{Attachment, Container, Definition, Folder, Mode, new_id};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output;
use crate::remove::{self, Left};
use crate::shim::Shim;
use crate::{bundle, etc, names, netns, turn};

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) name: Option<String>,
    pub(crate) rootfs: PathBuf,
    pub(crate) command: Vec<String>,
    pub(crate) mode: Mode,
    /// Networks with the interface that each is to become.
    pub(crate) networks: Vec<(Attachment, ConfList)>,
    /// Whether the container reads wharf's stdin.
    pub(crate) interactive: bool,
}

/// Signals that a user sends to `wharf run` and means for the container.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// So many SIGINT or SIGTERM kill the container.
const PATIENCE: u32 = 3;

/// Runs a container to its end; the exit status is the container's.
pub(crate) fn run(home: &Home, request: Request) -> Result<ExitCode> {
    let signals = catch_signals()?;
    let job = Job::define(home, request)?;
    let end = job.live(&signals);
    let (code, left) = match end {
        Ok(Ended { code, shim }) => (Ok(code), job.finish(shim)),
        Err(broken) => {
            let Broken { error, shim } = *broken;
            let left = match shim.is_some_and(Shim::abandon) {
                true => Left::Files,
                false => Left::Everything,
            };
            (Err(error), job.undo(left))
        }
    };
    for error in left {
        output::warn(&format!("{}; `wharf gc` tries again", error.chain()));
    }
    code
}

/// A container on its way, claimed by this process.
struct Job<'a> {
    home: &'a Home,
    container: Container,
    folder: Folder,
    hostname: String,
    interactive: bool,
    networks: Vec<(IfName, ConfList)>,
    /// How often the user has asked it to end.
    pleas: AtomicU32,
    _claim: wharf_protocol::Claim,
}

/// The container ended by itself.
struct Ended {
    code: ExitCode,
    shim: Shim,
}

/// The container did not come to run, or its shim was lost.
struct Broken {
    error: Error,
    shim: Option<Shim>,
}

impl<'a> Job<'a> {
    fn define(home: &'a Home, request: Request) -> Result<Job<'a>> {
        let id = new_id()?;
        if let Some(name) = &request.name {
            names::take(home, name, &id)?;
        }
        let hostname = hostname(&id, request.mode);
        let mut networks = request.networks;
        if request.mode != Mode::Host {
            match attach::loopback(home)? {
                Some(loopback) => networks.insert(0, loopback),
                None => output::warn("lo stays down: there is no plugin called loopback"),
            }
        }
        let (attachments, lists): (Vec<Attachment>, Vec<ConfList>) = networks.into_iter().unzip();
        let networks = attachments
            .iter()
            .map(|made| made.ifname.clone())
            .zip(lists);
        let networks = networks.collect();
        let definition = Definition {
            id,
            name: request.name,
            rootfs: request.rootfs,
            command: request.command,
            mode: request.mode,
            attachments,
        };
        let (container, folder, claim) = Container::define(home, definition)?;
        Ok(Job {
            home,
            container,
            folder,
            hostname,
            interactive: request.interactive,
            networks,
            pleas: AtomicU32::new(0),
            _claim: claim,
        })
    }

    /// From the folder to the exit status.
    fn live(&self, signals: &SignalFd) -> std::result::Result<Ended, Box<Broken>> {
        let without_shim = |error| Box::new(Broken { error, shim: None });
        self.prepare().map_err(without_shim)?;
        let shim = Shim::spawn(self.home, &self.folder).map_err(without_shim)?;
        let ended = self
            .bring_up(&shim)
            .and_then(|()| self.start(&shim, signals))
            .and_then(|()| self.follow(&shim, signals));
        match ended {
            Ok(code) => Ok(Ended { code, shim }),
            Err(error) => Err(Box::new(Broken {
                error,
                shim: Some(shim),
            })),
        }
    }

    /// Everything that must be there before the shim: the bundle, its files, the namespace, the networks' configurations.
    fn prepare(&self) -> Result<()> {
        for (ifname, list) in &self.networks {
            attach::keep(&self.folder, ifname, list)?;
        }
        etc::prepare(&self.folder)?;
        bundle::write(&self.container, &self.folder, &self.hostname)?;
        match &self.container.netns {
            Some(path) => netns::create(self.home, path),
            None => Ok(()),
        }
    }

    /// Makes the container and its networks at the same time: each needs only the namespace.
    fn bring_up(&self, shim: &Shim) -> Result<()> {
        self.hand_over_stdio(shim)?;
        let _turn = turn::shared(self.home)?;
        let (made, created) = std::thread::scope(|scope| {
            let networks = scope.spawn(|| attach::attach(self.home, &self.container, &self.folder));
            let created = shim.hear();
            (networks.join().unwrap_or(Err(Error::Thread)), created)
        });
        // The network's error comes first: without a network the container's may be a consequence.
        let made: Vec<Made> = made?;
        created?;
        etc::fill(&self.container, &self.folder, &self.hostname, &made)
    }

    fn hand_over_stdio(&self, shim: &Shim) -> Result<()> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        if self.interactive {
            return shim.ask_create([&stdin, &stdout, &stderr]);
        }
        let null = File::open("/dev/null").map_err(Error::file("open", "/dev/null"))?;
        shim.ask_create([&null, &stdout, &stderr])
    }

    fn start(&self, shim: &Shim, signals: &SignalFd) -> Result<()> {
        shim.ask_start()?;
        shim.hear()?;
        // What was sent while the container was being made is for the container, too.
        self.pass_on(signals, shim)
    }

    /// Waits for the container's end, passing signals to it.
    fn follow(&self, shim: &Shim, signals: &SignalFd) -> Result<ExitCode> {
        loop {
            let [channel, end] = shim.watched();
            let mut watched =
                [signals.as_fd(), channel, end].map(|end| PollFd::new(end, PollFlags::POLLIN));
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::kernel("wait for", self.folder.path())(errno)),
            }
            let ready = |at: usize| watched.get(at).and_then(PollFd::any).unwrap_or(false);
            let (signalled, said) = (ready(0), ready(1) || ready(2));
            if signalled {
                self.pass_on(signals, shim)?;
            }
            if said && let Report::Exited { code } = shim.hear()? {
                return Ok(ExitCode::from(code as u8));
            }
        }
    }

    /// A command that has no handler for it is deaf to SIGTERM, being the first of its pid namespace (pid_namespaces(7)):
    /// whoever asks three times means it, as with Docker.
    fn pass_on(&self, signals: &SignalFd, shim: &Shim) -> Result<()> {
        while let Ok(Some(info)) = signals.read_signal() {
            let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else {
                continue;
            };
            shim.signal(signal);
            if matches!(signal, Signal::SIGINT | Signal::SIGTERM) {
                let earlier = self.pleas.fetch_add(1, Ordering::Relaxed);
                if earlier + 1 == PATIENCE {
                    shim.ask_delete()?;
                }
            }
        }
        Ok(())
    }

    /// The container never ran, or its shim was lost: whatever was made goes.
    fn undo(&self, left: Left) -> Vec<Error> {
        match turn::shared(self.home) {
            Ok(_turn) => remove::container(self.home, &self.container, &self.folder, left),
            Err(error) => vec![error],
        }
    }

    /// The container has ended: detach its networks while the shim clears its control groups away.
    fn finish(&self, shim: Shim) -> Vec<Error> {
        let _turn = match turn::shared(self.home) {
            Ok(turn) => turn,
            Err(error) => return vec![error],
        };
        let (cleared, mut failed) = std::thread::scope(|scope| {
            let shim = scope.spawn(|| shim.wait());
            let failed = attach::detach(self.home, &self.container, &self.folder);
            (shim.join().unwrap_or(false), failed)
        });
        if !cleared {
            failed.extend(crate::shim::delete(&self.folder).err());
        }
        remove::rest(self.home, &self.container, &self.folder, failed)
    }
}

/// Docker's rule: the beginning of the id, unless the host's name is the container's as well.
fn hostname(id: &ContainerId, mode: Mode) -> String {
    let own = || id.as_str().chars().take(12).collect();
    match mode {
        Mode::Host => nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_else(own),
        Mode::None | Mode::Networks => own(),
    }
}

fn catch_signals() -> Result<SignalFd> {
    let caught = SigSet::from_iter(FORWARDED);
    let failed = |errno| Error::kernel("catch signals of", "/proc/self")(errno);
    caught.thread_block().map_err(failed)?;
    SignalFd::with_flags(&caught, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(failed)
}
