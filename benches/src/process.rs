//! Processes and what they cost: wall time from just before the start to the end, and time on a processor.
//! All sides of every case are run by it, the floors as the plugins, so that its own share is the same for each.
//! It must never prepare anything while the time runs.

use std::fs::{self, File};
use std::iter::Sum;
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::error::{Context, Result};

/// Where input and output of the processes lie; in the lab's own tmpfs.
const FILES: &str = "/run";

/// What one process cost, or several one after another.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From just before the start to the end.
    pub(crate) wall: Duration,
    /// User and system time of the process (getrusage(2), RUSAGE_CHILDREN).
    pub(crate) processor: Duration,
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            wall: self.wall + other.wall,
            processor: self.processor + other.processor,
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), Add::add)
    }
}

/// A process to be.
#[derive(Debug)]
pub(crate) struct Job {
    title: String,
    command: Command,
    slot: usize,
}

impl Job {
    /// A program with words and environment and nothing else.
    pub(crate) fn new(program: &Path, words: &[&str], environment: &[(&str, &str)]) -> Job {
        let mut command = Command::new(program);
        command.args(words).env_clear();
        command.envs(environment.iter().copied());
        // The reference calls iptables by its name.
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let title = program.display().to_string() + " " + &words.join(" ");
        Job {
            title,
            command,
            slot: 0,
        }
    }

    /// Says more about it in errors.
    pub(crate) fn titled(mut self, title: &str) -> Job {
        self.title = title.to_owned();
        self
    }

    /// Makes its standard streams files of their own, the same for every kind of process.
    pub(crate) fn prepare(mut self, slot: usize, input: &[u8]) -> Result<Job> {
        self.slot = slot;
        let path = file("in", slot);
        fs::write(&path, input).context(|| format!("write {}", path.display()))?;
        let stdin = File::open(&path).context(|| format!("open {}", path.display()))?;
        let create = |kind| {
            let path = file(kind, slot);
            File::create(&path).context(|| format!("create {}", path.display()))
        };
        self.command
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(create("out")?))
            .stderr(Stdio::from(create("err")?));
        Ok(self)
    }

    /// Runs it to its end, which must be a good one.
    pub(crate) fn run(self) -> Result<(Cost, String)> {
        let mut jobs = [self];
        let cost = run_at_once(&mut jobs)?;
        Ok((cost, jobs[0].output()?))
    }

    /// What it wrote to its standard output.
    pub(crate) fn output(&self) -> Result<String> {
        let path = file("out", self.slot);
        fs::read_to_string(&path).context(|| format!("read {}", path.display()))
    }

    fn complaint(&self) -> String {
        let read = |kind| fs::read_to_string(file(kind, self.slot)).unwrap_or_default();
        format!("{}: {}{}", self.title, read("out"), read("err"))
    }
}

/// Starts all of them, waits for all of them; fails if one does.
pub(crate) fn run_at_once(jobs: &mut [Job]) -> Result<Cost> {
    let mut children: Vec<Child> = Vec::with_capacity(jobs.len());
    let before = processor_time()?;
    let start = Instant::now();
    for job in jobs.iter_mut() {
        // posix_spawn(3), since nothing here asks for more; that is vfork and exec.
        let child = job.command.spawn();
        children.push(child.context(|| format!("start {}", job.title))?);
    }
    let ends: Vec<_> = children.iter_mut().map(Child::wait).collect();
    let wall = start.elapsed();
    let processor = processor_time()?.saturating_sub(before);
    for (job, end) in jobs.iter().zip(ends) {
        let status = end.context(|| format!("wait for {}", job.title))?;
        if !status.success() {
            return Err(format!("{status}: {}", job.complaint()).into());
        }
    }
    Ok(Cost { wall, processor })
}

fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context(|| "getrusage".to_owned())?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(microseconds.unsigned_abs()))
}

fn file(kind: &str, slot: usize) -> PathBuf {
    Path::new(FILES).join(format!("bench-{kind}-{slot}"))
}
