//! SIGKILL of wharf, of the shim, of both, at rest and at every system call: what is left is cleaned.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use wharfline_testkit::{Process, World, wait_for};

use crate::support::{Host, ROOTFS};

/// The pid that holds one of the two locks of a container, as /proc/locks has it.
pub(crate) fn shim_of(host: &Host, name: &str) -> Pid {
    let id = host.container(name).expect("listed")["id"].clone();
    let id = id.as_str().expect("an id").to_owned();
    let of_shim = |pid: &str| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains("wharf-shim") && words.contains(&id)
    };
    let processes = std::fs::read_dir("/proc").expect("listed");
    let mut names = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pid = names.find(|pid| of_shim(pid)).expect("a shim");
    Pid::from_raw(pid.parse().expect("a pid"))
}

pub(crate) fn kill_hard(pid: Pid) {
    kill(pid, Signal::SIGKILL).expect("killed");
}

fn network(host: &Host) -> World {
    host.wharf(&["network", "create", "web"]).ok();
    host.warm("web")
}

#[test]
fn a_container_outlives_wharf_and_is_removed_when_it_ends() {
    let host = Host::new();
    let before = network(&host);
    let mut process = host.start("orphan", &["--network", "web"], &["sleep", "1000"]);
    kill_hard(Pid::from_raw(process.id().cast_signed()));
    crate::run::exit_code(&mut process);
    let about = host.container("orphan").expect("still listed");
    assert_eq!(about["state"], "running");
    let first = about["pid"].as_i64().expect("a pid");
    kill_hard(Pid::from_raw(i32::try_from(first).expect("a pid")));
    before.returns("the shim to have it removed", || host.world());
}

#[test]
fn a_container_whose_shim_is_killed_is_removed_by_wharf() {
    let host = Host::new();
    let before = network(&host);
    let mut process = host.start("bereft", &["--network", "web"], &["sleep", "1000"]);
    kill_hard(shim_of(&host, "bereft"));
    assert_eq!(crate::run::exit_code(&mut process), Some(125));
    before.returns("wharf to remove it", || host.world());
}

#[test]
fn a_container_whose_shim_and_wharf_are_killed_is_removed_by_gc() {
    let host = Host::new();
    let before = network(&host);
    let mut process = host.start("lost", &["--network", "web"], &["sleep", "1000"]);
    let shim = shim_of(&host, "lost");
    // wharf first: else it would remove the container itself.
    kill_hard(Pid::from_raw(process.id().cast_signed()));
    crate::run::exit_code(&mut process);
    kill_hard(shim);
    wait_for("the locks to go", Duration::from_secs(5), || {
        match host.container("lost") {
            Some(about) if about["state"] == "dead" => Ok(()),
            about => Err(format!("it is {about:?}")),
        }
    });
    let plan = host.wharf(&["gc", "--dry-run"]).ok();
    assert!(plan.contains("would remove container"), "{plan}");
    assert!(host.container("lost").is_some(), "a dry run removed it");
    host.wharf(&["gc"]).ok();
    before.returns("gc to remove it", || host.world());
}

/// Which process a test kills.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Wharf,
    Shim,
    /// The `wharf` that starts a container which stays.
    Starter,
}

/// How many system calls apart the kills of one test are: all of them, with `WHARFLINE_EVERY_SYSTEM_CALL`, take minutes.
/// A prime walks over loops.
fn stride() -> usize {
    match std::env::var_os("WHARFLINE_EVERY_SYSTEM_CALL") {
        Some(_) => 1,
        None => 7,
    }
}

/// Where the trace and the traced shim's script are: beside the root filesystem, which is no part of the world.
pub(crate) const TRACE: &str = "/var/lib/rootfs/trace";
const TRACED_SHIM: &str = "/var/lib/rootfs/traced-shim";

#[test]
fn wharf_killed_at_any_system_call_leaves_what_gc_cleans() {
    killed_everywhere(Victim::Wharf, ROOTFS);
}

#[test]
fn a_shim_killed_at_any_system_call_leaves_what_gc_cleans() {
    killed_everywhere(Victim::Shim, ROOTFS);
}

#[test]
fn a_start_killed_at_any_system_call_leaves_what_rm_and_gc_clean() {
    killed_everywhere(Victim::Starter, ROOTFS);
}

/// An image with a volume: its root is mounted, its volume filled.
const IMAGE: &str = "killed:1";

#[test]
fn a_run_of_an_image_killed_at_any_system_call_leaves_what_gc_cleans() {
    killed_everywhere(Victim::Wharf, IMAGE);
}

#[test]
fn a_shim_of_an_image_killed_at_any_system_call_leaves_what_gc_cleans() {
    killed_everywhere(Victim::Shim, IMAGE);
}

#[test]
fn a_start_of_an_image_killed_at_any_system_call_leaves_what_rm_and_gc_clean() {
    killed_everywhere(Victim::Starter, IMAGE);
}

#[test]
fn a_run_with_a_drivers_volume_killed_at_any_system_call_leaves_no_mount_counted() {
    killed_with_driver(Victim::Wharf);
}

#[test]
fn a_start_with_a_drivers_volume_killed_at_any_system_call_leaves_no_mount_counted() {
    killed_with_driver(Victim::Starter);
}

/// The image's volume is a driver's: mounted, filled, unmounted and removed.
fn killed_with_driver(victim: Victim) {
    let host = Host::new();
    let keeper = crate::keeper::Keeper::named(&host, DRIVER);
    crate::images::import(&host, IMAGE, json!({"Volumes": {"/data": {}}}));
    network(&host);
    let case = Case {
        victim,
        image: IMAGE,
        driver: Some(DRIVER),
    };
    traced(&host, case, &format!("-o {TRACE}"));
    host.wharf(&["wait", "stays"]);
    host.wharf(&["rm", "-f", "-v", "stays"]);
    let calls = calls(&host);
    for (name, nth) in calls.iter().step_by(stride()) {
        let strike = format!("-o /dev/null -e inject={name}:signal=KILL:when={nth}");
        traced(&host, case, &strike);
        let what = format!("{victim:?} killed at {name} number {nth} to be cleaned up after");
        wait_for(&what, Duration::from_secs(10), || {
            host.wharf(&["rm", "-f", "-v", "stays"]);
            let collected = host.wharf(&["gc"]);
            let left = host.wharf(&["ps", "-a"]).stdout;
            match (keeper.mounted(), left.lines().count()) {
                (0, 1) => Ok(()),
                (count, _) => Err(format!("{count} mounts, {left}, {collected:?}")),
            }
        });
    }
}

const DRIVER: &str = "keep";

/// What is killed, and what it runs.
#[derive(Debug, Clone, Copy)]
struct Case<'a> {
    victim: Victim,
    image: &'a str,
    /// Who keeps its new volumes.
    driver: Option<&'a str>,
}

fn killed_everywhere(victim: Victim, image: &str) {
    let host = Host::new();
    let case = Case {
        victim,
        image,
        driver: None,
    };
    crate::images::import(&host, IMAGE, json!({"Volumes": {"/data": {}}}));
    let before = {
        network(&host);
        let words = [
            "run",
            "-d",
            "--name",
            "stays",
            "--network",
            "none",
            image,
            "true",
        ];
        host.wharf(&words).ok();
        host.wharf(&["wait", "stays"]).ok();
        host.wharf(&["rm", "-v", "stays"]).ok();
        host.world()
    };
    traced(&host, case, &format!("-o {TRACE}"));
    host.wharf(&["wait", "stays"]);
    host.wharf(&["rm", "-f", "-v", "stays"]);
    let calls = calls(&host);
    assert!(
        calls.len() > 100,
        "only {} system calls were seen",
        calls.len()
    );
    for (name, nth) in calls.iter().step_by(stride()) {
        let strike = format!("-o /dev/null -e inject={name}:signal=KILL:when={nth}");
        traced(&host, case, &strike);
        let what = format!("{victim:?} killed at {name} number {nth} to be cleaned up after");
        before.returns(&what, || {
            // A second one may find what the first could not: a process that was just dying.
            host.wharf(&["rm", "-f", "-v", "stays"]);
            host.wharf(&["gc"]);
            host.world()
        });
    }
}

/// The system calls of the trace in their order, each with its number among those of its name, as strace counts.
pub(crate) fn calls(host: &Host) -> Vec<(String, usize)> {
    let trace = std::fs::read_to_string(host.lab.path(TRACE)).expect("a trace");
    let mut seen = std::collections::HashMap::new();
    let name_of = |line: &str| {
        let name = line.split_once('(')?.0;
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then(|| name.to_owned())
    };
    let names = trace.lines().filter_map(name_of);
    let counted = names.map(|name| {
        let count = seen.entry(name.clone()).or_insert(0);
        *count += 1;
        (name, *count)
    });
    counted.collect()
}

/// Runs a container to its end with the victim's main process under strace, with these options.
fn traced(host: &Host, case: Case<'_>, options: &str) {
    let Case { victim, image, .. } = case;
    let strace = format!("exec strace -q {options} \"$@\"");
    let run = ["run", "--rm", "--network", "web", image, "true"];
    let stays = [
        "run",
        "-d",
        "--name",
        "stays",
        "--network",
        "web",
        image,
        "true",
    ];
    let of_wharf = |words: &[&str]| {
        let mut command = host.lab.command("sh");
        command.args(["-c", &strace, "sh"]);
        command.arg(host.bin("wharf")).args(words);
        command
    };
    let mut command = match victim {
        Victim::Wharf => of_wharf(&run),
        Victim::Starter => of_wharf(&stays),
        Victim::Shim => {
            let shim = host.bin("wharf-shim");
            let script = format!("#!/bin/sh\nset -- {} \"$@\"\n{strace}\n", shim.display());
            let path = host.lab.path(TRACED_SHIM);
            std::fs::write(&path, script).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("allowed");
            let mut command = host.command(&run);
            command.env("WHARF_SHIM", TRACED_SHIM);
            command
        }
    };
    command.env("CNI_PATH", host.plugins());
    command.env("WHARF_VOLUME_DRIVER", case.driver.unwrap_or("local"));
    command.stderr(std::process::Stdio::null());
    let mut process = Process::start(command);
    wait_for("the container to end", Duration::from_secs(30), || {
        process.ended().ok_or_else(|| "it runs".to_owned())
    });
}
