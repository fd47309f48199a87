//! Starting a container: its folder's files, its namespace, its shim, its networks, and then its command.
//! `run`, `start`, `restart` and `restore` call it with the container claimed.
//! It must leave what it made on a failure to `settle`, which takes back all of it, whatever step failed.

use std::os::fd::BorrowedFd;

use wharf_protocol::{Status, Streams, boot_id};
use wharfline_spec::cni::ConfList;

use crate::accounts::Account;
use crate::attach::{self, Made};
use crate::bundle::{self, Ground};
use crate::container::{Attachment, Container, Folder, Mode};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::settle::{self, Left};
use crate::shim::Shim;
use crate::{cli, etc, netns, network, output, root, turn, volume};

/// A container on its way.
pub(crate) struct Start<'a> {
    pub(crate) home: &'a Home,
    pub(crate) about: &'a Container,
    pub(crate) folder: &'a Folder,
}

/// What a container gets as stdin, stdout and stderr.
pub(crate) enum Stdio<'a> {
    /// These.
    Passed([BorrowedFd<'a>; 3]),
    /// Pipes of the shim's; whether stdin ends with the first who feeds it.
    Kept { once: bool },
}

impl Start<'_> {
    /// Starts the container, doing `before` when it is made and does not run yet. After an error nothing of it is left but
    /// its folder.
    pub(crate) fn start<T>(
        &self,
        stdio: &Stdio<'_>,
        before: impl FnOnce() -> Result<T>,
    ) -> Result<(Shim, T)> {
        let failed = |error, left| {
            for further in self.take_back(left) {
                output::warn(&further.chain());
            }
            Err(error)
        };
        let prepared = self.prepare();
        let account = match prepared {
            Ok(account) => account,
            Err(error) => return failed(error, Left::Everything),
        };
        let shim = match Shim::spawn(self.home, self.folder) {
            Ok(shim) => shim,
            Err(error) => return failed(error, Left::Everything),
        };
        let started = self
            .bring_up(&shim, stdio, &account)
            .and_then(|()| before())
            .and_then(|told| {
                shim.ask_start()?;
                shim.hear()?;
                Ok(told)
            });
        match started {
            Ok(told) => Ok((shim, told)),
            Err(error) => {
                let left = match shim.abandon() {
                    true => Left::Files,
                    false => Left::Everything,
                };
                failed(error, left)
            }
        }
    }

    fn take_back(&self, left: Left) -> Vec<Error> {
        match turn::shared(self.home) {
            Ok(_turn) => {
                let mut failed = settle::release(self.home, self.about, self.folder, left);
                if failed.is_empty() && self.folder.kept() {
                    failed.extend(settle::record_end(self.folder).err());
                }
                failed
            }
            Err(error) => vec![error],
        }
    }

    /// Notes that there may be something of it in the kernel from now on.
    fn note_begin(&self) -> Result<()> {
        if !self.folder.kept() {
            return Ok(());
        }
        let path = self.folder.path();
        let begun = Status {
            boot_id: boot_id(),
            ..Status::default()
        };
        begun
            .write(path)
            .map_err(Error::file("write the status in", path))
    }

    /// Everything that must be there before the shim: the bundle, its files, the namespace, the networks' configurations.
    fn prepare(&self) -> Result<Account> {
        self.note_begin()?;
        root::mount(self.home, self.about)?;
        root::make_workdir(self.about)?;
        for attachment in &self.about.wish.attachments {
            let list = self.list(attachment)?;
            attach::keep(self.folder, attachment, &list)?;
        }
        etc::prepare(self.folder)?;
        let sources = volume::prepare(self.home, self.about, self.folder)?;
        let hostname = etc::hostname(self.about);
        let ground = Ground {
            folder: self.folder,
            hostname: &hostname,
            rootfs: &self.about.wish.rootfs,
            sources: &sources,
        };
        let account = bundle::write(self.about, &ground)?;
        self.make_netns()?;
        Ok(account)
    }

    fn make_netns(&self) -> Result<()> {
        match &self.about.netns {
            Some(path) if self.about.wish.mode == Mode::Joined && !netns::exists(path) => {
                Err(Error::NoNamespace(
                    self.about
                        .wish
                        .joined
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                ))
            }
            Some(path) if self.about.owns_netns() && !netns::exists(path) => {
                netns::create(self.home, path)
            }
            _ => Ok(()),
        }
    }

    fn list(&self, attachment: &Attachment) -> Result<ConfList> {
        if attach::is_loopback(attachment) {
            let own = attach::loopback(self.home)?;
            return own.map(|(_, list)| list).ok_or(Error::NoLoopback);
        }
        Ok(network::find(self.home, attachment.network.as_str())?.list)
    }

    /// Makes the container and its networks at the same time: each needs only the namespace.
    fn bring_up(&self, shim: &Shim, stdio: &Stdio<'_>, account: &Account) -> Result<()> {
        let process = &self.about.wish.process;
        match stdio {
            Stdio::Passed(ends) => shim.ask_create(Streams::Passed, ends)?,
            Stdio::Kept { .. } if process.terminal => shim.ask_create(Streams::Terminal, &[])?,
            Stdio::Kept { once } => {
                let streams = Streams::Kept {
                    stdin: process.interactive,
                    once: *once,
                    owner: (account.uid, account.gid),
                };
                shim.ask_create(streams, &[])?;
            }
        }
        let _turn = turn::shared(self.home)?;
        let (made, created) = std::thread::scope(|scope| {
            let networks = scope.spawn(|| self.networks());
            let created = shim.hear();
            (networks.join().unwrap_or(Err(Error::Thread)), created)
        });
        // The network's error comes first: without a network the container's may be a consequence.
        let made = made?;
        created?;
        etc::fill(self.home, self.about, self.folder, &made)?;
        etc::tell_linked(self.home, self.about)
    }

    /// A namespace that others still shared has what it had.
    fn networks(&self) -> Result<Vec<Made>> {
        if settle::shared_by(self.home, &self.about.id)?.is_empty() {
            return attach::attach(self.home, self.about, self.folder);
        }
        Ok(attach::results(&self.home.client(), self.about))
    }
}

/// `wharf start`.
pub(crate) fn start(home: &Home, asked: &cli::Start) -> Result<std::process::ExitCode> {
    if asked.attach || asked.interactive {
        let [name] = asked.containers.as_slice() else {
            return Err(Error::OneAtATime("start --attach"));
        };
        return crate::run::start_attached(home, name, asked.interactive);
    }
    for name in &asked.containers {
        again(home, name)?;
        output::print(&format!("{name}\n"));
    }
    Ok(std::process::ExitCode::SUCCESS)
}

/// Starts a container that stays, and leaves it running; one that runs already is left alone.
pub(crate) fn again(home: &Home, name: &str) -> Result<()> {
    let (about, folder) = crate::container::find(home, name)?;
    let _claim = match folder.claim_at_rest(name) {
        Err(Error::Running(_)) => return Ok(()),
        other => other?,
    };
    ready(home, &about, &folder)?;
    let start = Start {
        home,
        about: &about,
        folder: &folder,
    };
    start.start(&Stdio::Kept { once: false }, || Ok(()))?;
    Ok(())
}

/// Clears away what a shim that was killed left of an earlier run.
pub(crate) fn ready(home: &Home, about: &Container, folder: &Folder) -> Result<()> {
    if !settle::unsettled(folder)? {
        return Ok(());
    }
    let _turn = turn::shared(home)?;
    match settle::put_away(home, about, folder, Left::Everything)
        .into_iter()
        .next()
    {
        None => Ok(()),
        Some(error) => Err(error),
    }
}
