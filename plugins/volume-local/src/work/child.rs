//! The process that does a [`Job`]: reads it from stdin, tells of it on stdout.
//! `main` runs it for `volume-local work`, which nobody types.
//! It must never write anything else to stdout.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::net::ToSocketAddrs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use wharfline_kernel::fs::mount::FileSystem;
use wharfline_kernel::fs::{beneath, freeze, mount, share, space};
use wharfline_spec::docker::migration::Offer;
use wharfline_spec::docker::volume::{Event, Progress, Usage};

use super::target::Target;
use super::{Job, archive, migrate, repository, tree};
use crate::arrivals::Arrival;
use crate::error::{Error, Result};

/// Progress is told so often.
pub(super) const TELL_EVERY: Duration = Duration::from_millis(200);

/// Does the job on stdin.
pub(crate) fn main() -> ExitCode {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    let job = read
        .ok()
        .and_then(|_| serde_json::from_str::<Job>(&line).ok());
    let Some(job) = job else {
        // Nobody is left to tell that stderr is closed.
        let _ = writeln!(
            io::stderr(),
            "volume-local work: a process of `serve`, not for people"
        );
        return ExitCode::FAILURE;
    };
    let (event, code) = match perform(job) {
        Ok(value) => (Event::Done(value), ExitCode::SUCCESS),
        Err(error) => (Event::Failed(error.to_string()), ExitCode::FAILURE),
    };
    tell(&event);
    code
}

pub(super) fn tell(event: &Event) {
    let mut text = serde_json::to_vec(event).unwrap_or_default();
    text.push(b'\n');
    // Whoever started us is gone: the kernel is about to kill us.
    let _ = io::stdout().write_all(&text);
}

/// Counts bytes, and tells of them now and then.
pub(super) struct Counter {
    now: Progress,
    told: Instant,
}

impl Counter {
    pub(super) fn of(total: Option<u64>) -> Self {
        let now = Progress { done: 0, total };
        Self {
            now,
            told: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.now.done += bytes;
        if self.told.elapsed() >= TELL_EVERY {
            tell(&Event::Progress(self.now));
            self.told = Instant::now();
        }
    }

    fn end(self) -> Value {
        json!({"bytes": self.now.done})
    }
}

fn perform(job: Job) -> Result<Value> {
    match job {
        Job::CopyTree { from, to } => {
            let (from, to) = (beneath::folder(&from)?, beneath::folder(&to)?);
            let mut counter = Counter::of(tree::measure(&from)?.used_bytes);
            tree::copy(&from, &to, &mut counter)?;
            freeze::sync(&File::from(to))?;
            Ok(counter.end())
        }
        Job::CopyFile { from, to } => copy_file(&from, &to),
        Job::Export { from, archive } => {
            let from = beneath::folder(&from)?;
            let mut counter = Counter::of(tree::measure(&from)?.used_bytes);
            let (target, file) = Target::open(archive)?;
            target.finish(&archive::write(&from, file, &mut counter)?)?;
            Ok(counter.end())
        }
        Job::Import { archive, to } => {
            let from = File::open(&archive).map_err(Error::file("open", &archive))?;
            let length = from
                .metadata()
                .ok()
                .filter(fs::Metadata::is_file)
                .map(|about| about.len());
            let mut counter = Counter::of(length);
            let to = beneath::folder(&to)?;
            archive::read(from, &to, &mut counter)?;
            freeze::sync(&File::from(to))?;
            Ok(counter.end())
        }
        Job::Measure { place } => Ok(json!(tree::measure(&beneath::folder(&place)?)?)),
        Job::Space { place } => Ok(json!(usage(&place)?)),
        Job::Mount { .. } => mount_of_server(job),
        Job::Unmount {
            place,
            detach: false,
        } => Ok(json!(mount::unmount_at(&place)?)).map(|_| json!({})),
        Job::Unmount {
            place,
            detach: true,
        } => Ok(json!(mount::detach_at(&place)?)).map(|_| json!({})),
        Job::Repository { access, task } => repository::perform(&access, task),
        Job::Send {
            from,
            offer,
            input,
            output,
        } => send(&from, offer, migrate::open(&input, &output)?),
        Job::Receive {
            to,
            arrival,
            note,
            input,
            output,
        } => receive(&to, (*arrival, &note), migrate::open(&input, &output)?),
        Job::Guard { place, seconds } => guard(&place, Duration::from_secs(seconds)),
    }
}

fn send(from: &Path, mut offer: Offer, pipes: (File, File)) -> Result<Value> {
    let from = beneath::folder(from)?;
    offer.total = tree::measure(&from)?.used_bytes.unwrap_or_default();
    let counter = Counter::of(Some(offer.total));
    Ok(json!(migrate::send(&from, &offer, pipes, counter)?))
}

fn receive(to: &Path, coming: (Arrival, &Path), pipes: (File, File)) -> Result<Value> {
    let to = beneath::folder(to)?;
    let counter = Counter::of(Some(coming.0.total));
    Ok(json!(migrate::receive(&to, coming, pipes, counter)?))
}

fn copy_file(from: &Path, to: &Path) -> Result<Value> {
    let source = File::open(from).map_err(Error::file("open", from))?;
    let target = OpenOptions::new()
        .write(true)
        .open(to)
        .map_err(Error::file("open", to))?;
    let mut counter = Counter::of(Some(share::data_in(&source)?));
    share::copy::<Error>(&source, &target, &mut |bytes| {
        counter.add(bytes);
        Ok(())
    })?;
    target.sync_all().map_err(Error::file("sync", to))?;
    Ok(counter.end())
}

fn usage(place: &Path) -> Result<Usage> {
    let now = space::of(beneath::folder(place)?)?;
    Ok(Usage {
        used_bytes: Some(now.bytes.saturating_sub(now.free_bytes)),
        free_bytes: Some(now.free_bytes),
        used_inodes: Some(now.inodes.saturating_sub(now.free_inodes)),
        free_inodes: Some(now.free_inodes),
    })
}

/// The kernel wants addresses: the name is resolved here, anew at each mount.
fn mount_of_server(job: Job) -> Result<Value> {
    let Job::Mount {
        kind,
        host,
        path,
        options,
        read_only,
        place,
    } = job
    else {
        return Err(Error::Work("no mount".to_owned()));
    };
    let resolved = (host.as_str(), 0).to_socket_addrs();
    let mut resolved =
        resolved.map_err(|e| Error::Work(format!("find the address of {host}: {e}")))?;
    let address = resolved
        .next()
        .ok_or_else(|| Error::Work(format!("{host} has no address")))?
        .ip();
    let mut options: Vec<(String, Option<String>)> = options
        .into_iter()
        .map(|option| (option.key, option.value))
        .collect();
    let shown = if address.is_ipv6() {
        format!("[{address}]")
    } else {
        address.to_string()
    };
    let (source, key) = match kind.as_str() {
        "nfs" => (format!("{shown}:{path}"), "addr"),
        _ => (format!("//{host}/{path}"), "ip"),
    };
    options.push((key.to_owned(), Some(address.to_string())));
    if kind == "nfs"
        && !options
            .iter()
            .any(|(key, _)| matches!(key.as_str(), "vers" | "nfsvers" | "v4" | "v3"))
    {
        options.push(("vers".to_owned(), Some("4.2".to_owned())));
    }
    let filesystem = FileSystem {
        kind: &kind,
        source: &source,
        options: &options,
        read_only,
    };
    filesystem.mount()?.attach(beneath::folder(&place)?)?;
    Ok(json!({}))
}

/// Waits for whoever froze it to thaw it, or to die.
fn guard(place: &Path, within: Duration) -> Result<Value> {
    let root = beneath::folder(place)?;
    tell(&Event::Progress(Progress::default()));
    let stdin = io::stdin();
    let mut waited = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    // Whatever ends the waiting, even a failure of it, the file system is thawed.
    let _ = poll(&mut waited, within);
    freeze::thaw(root)?;
    Ok(json!({}))
}
