//! `wharf run`, `create`, and `start --attach`: define a container, start it, follow it to its end.
//! `main` calls it; `start` makes it run, `session` shows it, the shim or this process puts it away.
//! It must leave nothing behind on any way out; what a SIGKILL of wharf prevents, the shim or `wharf gc` does.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use wharf_protocol::{Claim, Report, event};

use crate::attach;
use crate::container::{self, Container, Folder, Mode, Wish};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::remove;
use crate::session::{self, Ended, Viewing};
use crate::settle::{self, Left};
use crate::shim::{Control, Shim};
use crate::signals::{self, Pleas};
use crate::start::{Start, Stdio, ready};
use crate::{cli, names, output, root, turn, wish};

/// `wharf create`.
pub(crate) fn create(home: &Home, asked: cli::Create) -> Result<()> {
    if asked.container.rm {
        return Err(Error::Conflict {
            one: "--rm",
            other: "create: it is for `wharf run`",
        });
    }
    let name = asked.container.name.clone();
    let wish = wish::of(home, asked.container)?;
    let (about, _, _claim) = define(home, name, wish)?;
    output::print(&format!("{}\n", about.id));
    Ok(())
}

/// `wharf run`; the exit status is the container's.
pub(crate) fn run(home: &Home, asked: cli::Run) -> Result<ExitCode> {
    let signals = match asked.detach {
        true => None,
        false => Some(signals::catch()?),
    };
    let name = asked.container.name.clone();
    let wish = wish::of(home, asked.container)?;
    let (about, folder, claim) = define(home, name, wish)?;
    let job = Job {
        home,
        about: &about,
        folder: &folder,
    };
    let ran = match signals {
        None => job.detached(claim),
        Some(signals) if about.wish.remove && !about.wish.process.terminal => {
            job.passed(&signals, claim)
        }
        Some(signals) => job.attached(&signals, claim, about.wish.process.interactive),
    };
    if ran.is_err() && about.wish.remove {
        job.undo();
    }
    ran
}

/// `wharf start --attach`.
pub(crate) fn start_attached(home: &Home, name: &str, interactive: bool) -> Result<ExitCode> {
    let signals = signals::catch()?;
    let (about, folder) = container::find(home, name)?;
    let claim = folder.claim_at_rest(name)?;
    ready(home, &about, &folder)?;
    let job = Job {
        home,
        about: &about,
        folder: &folder,
    };
    job.attached(&signals, claim, interactive)
}

fn define(home: &Home, name: Option<String>, mut wish: Wish) -> Result<(Container, Folder, Claim)> {
    if matches!(wish.mode, Mode::None | Mode::Networks) {
        match attach::loopback(home)? {
            Some((loopback, _)) => wish.attachments.insert(0, loopback),
            None => output::warn("lo stays down: there is no plugin called loopback"),
        }
    }
    let wanted = name.clone();
    let (about, folder, claim) = Container::define(home, name, wish)?;
    let named = wanted.map_or(Ok(()), |wanted| names::take(home, &wanted, &folder));
    if let Err(error) = named.and_then(|()| root::make(home, &about)) {
        names::release(home, &about.name, &about.id)?;
        remove::remove_folder(&folder)?;
        return Err(error);
    }
    event::tell(home.run(), about.id.as_str(), "create", &about.wish.image);
    Ok((about, folder, claim))
}

/// A container that this process starts.
struct Job<'a> {
    home: &'a Home,
    about: &'a Container,
    folder: &'a Folder,
}

impl Job<'_> {
    fn start(&self) -> Start<'_> {
        Start {
            home: self.home,
            about: self.about,
            folder: self.folder,
        }
    }

    /// The shim looks after it from its start on.
    fn detached(&self, _claim: Claim) -> Result<ExitCode> {
        self.start()
            .start(&Stdio::Kept { once: false }, || Ok(()))?;
        output::print(&format!("{}\n", self.about.id));
        Ok(ExitCode::SUCCESS)
    }

    /// Its streams are the shim's, and this process is attached to them.
    fn attached(&self, signals: &SignalFd, claim: Claim, interactive: bool) -> Result<ExitCode> {
        let terminal = self.about.wish.process.terminal;
        let attach = || {
            let control = Control::call_running(self.folder, &self.about.name)?;
            Viewing::attach(control, interactive, terminal)
        };
        let once = Stdio::Kept { once: true };
        let (shim, viewing) = self.start().start(&once, attach)?;
        drop(claim);
        let watcher = shim.leave();
        let ended = viewing.follow(signals)?;
        match ended {
            Ended::Detached => Ok(ExitCode::SUCCESS),
            Ended::Exited(code) => {
                if self.folder.life().is_ok_and(|life| life.is_ending()) {
                    watcher.wait();
                }
                Ok(session::exit_code(code))
            }
        }
    }

    /// Its streams are this process's own.
    fn passed(&self, signals: &SignalFd, claim: Claim) -> Result<ExitCode> {
        let null = File::open("/dev/null").map_err(Error::file("open", "/dev/null"))?;
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let input = match self.about.wish.process.interactive {
            true => stdin.as_fd(),
            false => null.as_fd(),
        };
        let ends = Stdio::Passed([input, stdout.as_fd(), stderr.as_fd()]);
        let (shim, ()) = self.start().start(&ends, || Ok(()))?;
        // Whoever wants to work on the running container may.
        drop(claim);
        match self.follow(&shim, signals) {
            Ok(code) => {
                self.finish(shim);
                Ok(code)
            }
            Err(error) => {
                shim.abandon();
                Err(error)
            }
        }
    }

    /// Waits for the container's end, passing signals to it.
    fn follow(&self, shim: &Shim, signals: &SignalFd) -> Result<ExitCode> {
        let mut pleas = Pleas::default();
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
                while let Some(signal) = signals::next(signals) {
                    pass_on(shim, signal, &mut pleas);
                }
            }
            if said && let Report::Exited { code } = shim.hear()? {
                return Ok(session::exit_code(code));
            }
        }
    }

    /// The container has ended: detach its networks while the shim clears its control groups away.
    fn finish(&self, shim: Shim) {
        let cleared = std::thread::scope(|scope| {
            let shim = scope.spawn(|| {
                let cleared = shim.wait();
                // An unmount waits for a grace period of the kernel's: beside those of the networks.
                let unmounted = cleared.then(|| root::unmount(self.home, self.about));
                // Should it not have worked, it is tried again below.
                drop(unmounted);
                cleared
            });
            let failed = match turn::shared(self.home) {
                Ok(_turn) => settle::release_networks(self.home, self.about, self.folder),
                Err(error) => vec![error],
            };
            (shim.join().unwrap_or(false), failed)
        });
        let (cleared, mut failed) = cleared;
        // `wharf gc` or `wharf rm` may have been quicker.
        if let Ok(Some(_claim)) = settle::claim_ended(self.folder, &self.about.name) {
            if !cleared {
                failed.extend(crate::shim::delete(self.folder).err());
            }
            failed.extend(settle::release_files(self.home, self.about, self.folder));
            failed = remove::rest(self.home, self.about, self.folder, failed);
        }
        tell(failed);
    }

    /// The container did not come to run, or its shim was lost: whatever was made goes.
    fn undo(&self) {
        let Ok(_turn) = turn::shared(self.home) else {
            return;
        };
        if let Ok(Some(_claim)) = settle::claim_ended(self.folder, &self.about.name) {
            tell(remove::container(
                self.home,
                self.about,
                self.folder,
                Left::Everything,
            ));
        }
    }
}

/// A shim that has ended meanwhile needs no signal: its end is heard of next.
fn pass_on(shim: &Shim, signal: Signal, pleas: &mut Pleas) {
    shim.signal(signal);
    if pleas.is_last(signal) {
        let _ = shim.ask_delete();
    }
}

fn tell(failed: Vec<Error>) {
    for error in failed {
        output::warn(&format!("{}; `wharf gc` tries again", error.chain()));
    }
}
