//! `wharf stats` and `wharf top`: what containers use, and their processes, as the kernel counts them.
//! `main` calls them.
//! It must never change a control group: it reads files of version 1 or 2.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use serde_json::{Value, json};

use crate::bundle::{CGROUP_PARENT, unified};
use crate::container::life::Life;
use crate::container::{self, Container, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output::{self, Table};
use crate::units::show_bytes;
use crate::{cli, format, signals};

const ROOT: &str = "/sys/fs/cgroup";

/// Where a controller keeps a container's files.
pub(crate) fn group(id: &str, controller: &str) -> PathBuf {
    let own = format!("{}/{id}", CGROUP_PARENT.trim_start_matches('/'));
    match unified() {
        true => Path::new(ROOT).join(own),
        false => Path::new(ROOT).join(controller).join(own),
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of a key in a file of `KEY VALUE` lines.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// What a container has used up to now.
struct Sample {
    at: Instant,
    cpu: Duration,
    memory: u64,
    memory_limit: Option<u64>,
    pids: u64,
    net: (u64, u64),
    block: (u64, u64),
}

fn sample(about: &Container, pid: i32) -> Sample {
    let file = |controller: &str, name: &str| group(about.id.as_str(), controller).join(name);
    let v2 = unified();
    let cpu = match v2 {
        true => keyed(&file("cpu", "cpu.stat"), "usage_usec").map(Duration::from_micros),
        false => number(&file("cpuacct", "cpuacct.usage")).map(Duration::from_nanos),
    };
    let (used, limit, cache) = match v2 {
        true => ("memory.current", "memory.max", "inactive_file"),
        false => (
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            "total_inactive_file",
        ),
    };
    let used = number(&file("memory", used)).unwrap_or(0);
    let cache = keyed(&file("memory", "memory.stat"), cache).unwrap_or(0);
    Sample {
        at: Instant::now(),
        cpu: cpu.unwrap_or_default(),
        // As with Docker, without what the kernel would give back first.
        memory: used.saturating_sub(cache),
        // Version 1 says "none" by the largest number of whole pages.
        memory_limit: number(&file("memory", limit)).filter(|limit| *limit < 1 << 62),
        pids: number(&file("pids", "pids.current")).unwrap_or(0),
        net: net(pid),
        block: block(about, v2),
    }
}

/// Bytes received and sent by all interfaces but lo (proc_pid_net(5)).
fn net(pid: i32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut sum = (0, 0);
    for line in text.lines() {
        let Some((name, counts)) = line.split_once(':') else {
            continue;
        };
        if name.trim() != "lo" {
            let counts: Vec<u64> = counts
                .split_whitespace()
                .filter_map(|count| count.parse().ok())
                .collect();
            sum.0 += counts.first().unwrap_or(&0);
            sum.1 += counts.get(8).unwrap_or(&0);
        }
    }
    sum
}

/// Bytes read from and written to block devices.
fn block(about: &Container, v2: bool) -> (u64, u64) {
    let name = if v2 {
        "io.stat"
    } else {
        "blkio.throttle.io_service_bytes"
    };
    let text = fs::read_to_string(group(about.id.as_str(), "blkio").join(name)).unwrap_or_default();
    let sum = |of_v1: &str, of_v2: &str| {
        let counts = text.lines().filter_map(|line| match v2 {
            true => line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(of_v2)),
            false => line.split_once(of_v1).map(|(_, count)| count.trim()),
        });
        counts.filter_map(|count| count.parse::<u64>().ok()).sum()
    };
    (sum(" Read ", "rbytes="), sum(" Write ", "wbytes="))
}

/// `wharf stats`.
pub(crate) fn stats(home: &Home, asked: &cli::Stats) -> Result<()> {
    let signals = signals::catch()?;
    let mut before = samples(home, &asked.containers)?;
    loop {
        // The first pause is only there to see how much processor is used.
        let pause = if asked.no_stream { 200 } else { 1_000 };
        if pause_ends(&signals, Duration::from_millis(pause))? {
            return Ok(());
        }
        let now = samples(home, &asked.containers)?;
        let rows: Vec<Value> = now
            .iter()
            .map(|(about, now)| {
                let earlier = before.iter().find(|(other, _)| other.id == about.id);
                fields(about, earlier.map(|(_, sample)| sample), now)
            })
            .collect();
        print(&rows, asked.format.as_deref())?;
        if asked.no_stream {
            return Ok(());
        }
        before = now;
    }
}

/// Waits; says whether the user wants to end.
fn pause_ends(signals: &SignalFd, pause: Duration) -> Result<bool> {
    let mut watched = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
    match poll(&mut watched, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::kernel("wait for", "a signal")(errno)),
    }
    Ok(signals::next(signals).is_some_and(|signal| signal != Signal::SIGWINCH))
}

fn samples(home: &Home, wanted: &[String]) -> Result<Vec<(Container, Sample)>> {
    let chosen: Vec<(Container, Folder)> = match wanted.is_empty() {
        true => container::all(home)?,
        false => wanted
            .iter()
            .map(|name| container::find(home, name))
            .collect::<Result<_>>()?,
    };
    let mut all = Vec::new();
    for (about, folder) in chosen {
        if folder.life()? == Life::Running
            && let Some(status) = folder.status()?
        {
            let sample = sample(&about, status.pid);
            all.push((about, sample));
        }
    }
    Ok(all)
}

fn fields(about: &Container, before: Option<&Sample>, now: &Sample) -> Value {
    let percent = before.map_or(0.0, |before| {
        let passed = now.at.duration_since(before.at).as_secs_f64().max(1e-9);
        now.cpu.saturating_sub(before.cpu).as_secs_f64() / passed * 100.0
    });
    let limit = now.memory_limit;
    json!({
        "ID": about.short_id(),
        "Name": about.name,
        "CPUPerc": format!("{percent:.2}%"),
        "MemUsage": format!("{} / {}", show_bytes(now.memory), limit.map_or("-".to_owned(), show_bytes)),
        "MemPerc": limit.map_or("-".to_owned(), |limit| {
            format!("{:.2}%", now.memory as f64 / limit.max(1) as f64 * 100.0)
        }),
        "NetIO": format!("{} / {}", show_bytes(now.net.0), show_bytes(now.net.1)),
        "BlockIO": format!("{} / {}", show_bytes(now.block.0), show_bytes(now.block.1)),
        "PIDs": now.pids,
    })
}

fn print(rows: &[Value], template: Option<&str>) -> Result<()> {
    if let Some(template) = template {
        for row in rows {
            output::print(&format!("{}\n", format::fill(template, row)?));
        }
        return Ok(());
    }
    let mut table = Table::new(&[
        "CONTAINER",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ]);
    for row in rows {
        let keys = [
            "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
        ];
        table.row(keys.map(|key| text(&row[key])).to_vec());
    }
    output::print(&table.render());
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `wharf top`.
pub(crate) fn top(home: &Home, asked: &cli::Top) -> Result<()> {
    let (about, folder) = container::find(home, &asked.container)?;
    if folder.life()? != Life::Running {
        return Err(Error::NotRunning(about.name));
    }
    let path = group(about.id.as_str(), "pids").join("cgroup.procs");
    let pids = fs::read_to_string(&path).map_err(Error::file("read", path))?;
    let processes: Vec<Value> = pids.lines().filter_map(process).collect();
    if asked.json {
        output::print_json(&Value::Array(processes));
        return Ok(());
    }
    let keys = ["uid", "pid", "ppid", "state", "time", "command"];
    let mut table = Table::new(&["UID", "PID", "PPID", "S", "TIME", "COMMAND"]);
    for process in &processes {
        table.row(keys.map(|key| text(&process[key])).to_vec());
    }
    output::print(&table.render());
    Ok(())
}

/// A process as /proc/PID has it (proc(5)); `None` if it has ended meanwhile.
fn process(pid: &str) -> Option<Value> {
    let dir = Path::new("/proc").join(pid);
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at).copied();
    let status = fs::read_to_string(dir.join("status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let words = fs::read(dir.join("cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    // User and system time in ticks, of which the kernel shows 100 a second everywhere.
    let ticks: u64 = field(11)?.parse::<u64>().ok()? + field(12)?.parse::<u64>().ok()?;
    let seconds = ticks / 100;
    Some(json!({
        "uid": uids.split_whitespace().next()?.parse::<u32>().ok()?,
        "pid": pid.parse::<i32>().ok()?,
        "ppid": field(1)?.parse::<i32>().ok()?,
        "state": field(0)?,
        "time": format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60),
        "command": match words.trim() {
            "" => format!("[{name}]"),
            words => words.to_owned(),
        },
    }))
}
