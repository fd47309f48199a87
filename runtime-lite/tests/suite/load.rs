//! Many containers at once, and many one after the other: no error, and nothing left.
//! `WHARFLINE_FULL_LOAD=1` runs the large numbers of docs/wharf.md, with the machine to themselves (CONTRIBUTING.md).

use std::fmt;
use std::fs;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use wharfline_testkit::wait_for;

use crate::support::Host;

const NONE: &[&str] = &["--network", "none"];
const SLEEP: &[&str] = &["sleep", "1000"];

/// Whether the large numbers were asked for.
fn full() -> bool {
    std::env::var_os("WHARFLINE_FULL_LOAD").is_some_and(|value| value == "1")
}

/// What the whole machine has: with the machine to itself, a test knows that it is its own.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    shims: usize,
    groups: usize,
    /// Allocated file handles (proc_sys_fs(5)).
    files: u64,
    /// Memory of the kernel's that it can't take back, in KB.
    kernel: u64,
}

impl Machine {
    fn now() -> Machine {
        let number = |path: &str, before: &str| -> u64 {
            let text = fs::read_to_string(path).expect("a file of the kernel's");
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(before));
            let first = lines.next().and_then(|line| line.split_whitespace().next());
            first.and_then(|word| word.parse().ok()).expect("a number")
        };
        let processes = fs::read_dir("/proc").expect("listed").flatten();
        let names =
            processes.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
        let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("listed").flatten();
        let parents = hierarchies.map(|entry| entry.path().join("wharf"));
        let groups = parents.filter_map(|parent| fs::read_dir(parent).ok());
        Machine {
            shims: names.filter(|name| name == "wharf-shim\n").count(),
            groups: groups
                .map(|group| group.flatten().filter(|e| e.path().is_dir()).count())
                .sum(),
            files: number("/proc/sys/fs/file-nr", ""),
            kernel: number("/proc/meminfo", "SUnreclaim:"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            shims,
            groups,
            files,
            kernel,
        } = self;
        write!(
            f,
            "{shims} shims, {groups} control groups, {files} files, {kernel} KB of the kernel's"
        )
    }
}

/// Says what was measured, for docs/wharf.md.
#[expect(clippy::print_stderr, reason = "figures are what it is run for")]
fn tell(words: &str) {
    eprintln!("{words}");
}

#[test]
fn many_are_started_executed_into_stopped_and_removed_at_once() {
    let count = if full() { 200 } else { 50 };
    let host = Host::new();
    host.leave("warm", NONE, &["true"]);
    host.wharf(&["wait", "warm"]).ok();
    host.wharf(&["rm", "warm"]).ok();
    let (before, machine) = (host.world(), Machine::now());
    let all = Barrier::new(count);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..count {
            let (host, all) = (&host, &all);
            scope.spawn(move || {
                let name = format!("c{number}");
                host.leave(&name, NONE, SLEEP);
                if all.wait().is_leader() {
                    tell(&format!("{count} started after {:?}", begun.elapsed()));
                }
                let said = host.exec(&name, &format!("echo {number}")).ok();
                assert_eq!(said.trim(), number.to_string());
                if all.wait().is_leader() {
                    tell(&format!("executed into after {:?}", begun.elapsed()));
                }
                host.wharf(&["stop", "-t", "0", &name]).ok();
                host.wharf(&["rm", &name]).ok();
            });
        }
    });
    tell(&format!("stopped and removed after {:?}", begun.elapsed()));
    before.returns("nothing to be left", || host.world());
    nothing_stays(&machine, count);
}

#[test]
fn runs_in_a_row_grow_nothing() {
    let count = if full() { 2000 } else { 200 };
    let host = Host::new();
    let (before, machine) = (host.warm("none"), Machine::now());
    let begun = Instant::now();
    for _ in 0..count {
        host.run(NONE, &["true"]).ok();
    }
    tell(&format!("{count} runs took {:?}", begun.elapsed()));
    before.returns("nothing to have grown", || host.world());
    wait_for("no shim to be left", Duration::from_secs(5), || match host
        .wharf(&["ps", "-aq"])
        .stdout
        .trim()
    {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
    nothing_stays(&machine, count);
}

/// The test has left what it found: to some megabytes of the kernel's memory, and some files, which are others' that come
/// and go. What each of the `count` containers left would be more.
fn nothing_stays(before: &Machine, count: usize) {
    if !full() {
        return;
    }
    let (files, kernel) = (
        before.files + (count as u64 / 2).max(150),
        before.kernel + 20_000,
    );
    let after = wait_for(
        "the machine to be as before",
        Duration::from_secs(30),
        || {
            let after = Machine::now();
            let same = after.shims <= before.shims && after.groups <= before.groups;
            match same && after.files < files && after.kernel < kernel {
                true => Ok(after),
                false => Err(format!("before: {before}; after: {after}")),
            }
        },
    );
    tell(&format!("before: {before}\nafter: {after}"));
}
