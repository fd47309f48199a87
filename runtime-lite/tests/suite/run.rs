//! `wharf run`: exit statuses, streams, names, and what is left (nothing).

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharfline_testkit::{Process, wait_for};

use crate::support::{Host, ROOTFS};

const NONE: &[&str] = &["--network", "none"];

#[test]
fn the_exit_status_is_the_commands_own() {
    let host = Host::new();
    assert_eq!(host.run(NONE, &["true"]).code, Some(0));
    assert_eq!(host.run(NONE, &["sh", "-c", "exit 3"]).code, Some(3));
}

#[test]
fn a_missing_command_is_127_and_one_that_cannot_be_executed_126() {
    let host = Host::new();
    host.run(NONE, &["nothing-of-the-kind"]).refused(
        127,
        "there is no command nothing-of-the-kind in the container",
    );
    host.run(NONE, &["/www/index.html"])
        .refused(126, "/www/index.html is not executable");
}

#[test]
fn what_wharf_itself_refuses_is_125() {
    let host = Host::new();
    host.wharf(&["run", "--rm", "/nowhere", "true"])
        .refused(125, "find the root filesystem /nowhere: No such file");
    host.wharf(&["run", "--rm", "/", "true"])
        .refused(125, "is the host's own");
    host.wharf(&["run", ROOTFS]).refused(125, "no command");
    host.run(&["--network", "nowhere"], &["true"])
        .refused(125, "there is no network \"nowhere\"");
    host.run(&["--network", "none", "-p", "80:80"], &["true"])
        .refused(125, "publishing a port needs a network");
    host.run(&["-p", "80"], &["true"])
        .refused(125, "[IP:]HOST:CONTAINER");
    host.wharf(&["run", "--rm", "--no-such-option", ROOTFS, "true"])
        .refused(125, "--no-such-option");
}

#[test]
fn a_refused_run_leaves_nothing() {
    let host = Host::new();
    let before = host.warm("none");
    host.run(NONE, &["nothing-of-the-kind"])
        .refused(127, "there is no command");
    before.returns("a missing command to leave nothing", || host.world());
}

#[test]
fn a_run_leaves_nothing() {
    let host = Host::new();
    let before = host.warm("none");
    host.run(NONE, &["echo", "hello"]).ok();
    before.returns("a run to leave nothing", || host.world());
}

#[test]
fn the_three_streams_are_the_callers() {
    let host = Host::new();
    let answer = host.run(NONE, &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (answer.stdout.as_str(), answer.stderr.as_str()),
        ("out\n", "err\n")
    );
    let words = ["run", "--rm", "-i", "--network", "none", ROOTFS, "cat"];
    assert_eq!(host.wharf_reading(&words, "told\n").ok(), "told\n");
    let words = ["run", "--rm", "--network", "none", ROOTFS, "cat"];
    assert_eq!(host.wharf_reading(&words, "not told\n").ok(), "");
}

#[test]
fn a_signal_to_wharf_reaches_the_command() {
    let host = Host::new();
    let script = "trap 'exit 42' TERM; while true; do sleep 0.05; done";
    let mut process = host.start("patient", NONE, &["sh", "-c", script]);
    signal(&process, Signal::SIGTERM);
    assert_eq!(exit_code(&mut process), Some(42));
}

#[test]
fn a_command_that_is_deaf_to_sigterm_is_killed_at_the_third() {
    let host = Host::new();
    let mut process = host.start("deaf", NONE, &["sleep", "1000"]);
    for _ in 0..3 {
        signal(&process, Signal::SIGTERM);
        // Two of the same signal that wait together are one: let wharf take each.
        wait_for(
            "wharf to take the signal",
            Duration::from_secs(5),
            || match pending(process.id()) {
                false => Ok(()),
                true => Err("it is pending".to_owned()),
            },
        );
    }
    assert_eq!(exit_code(&mut process), Some(137));
}

#[test]
fn a_name_is_one_containers_at_a_time() {
    let host = Host::new();
    let first = host.start("only", NONE, &["sleep", "1000"]);
    host.run(&["--network", "none", "--name", "only"], &["true"])
        .refused(125, "the name \"only\" is taken");
    drop(first);
    wait_for(
        "the dead container's shim to see the end",
        Duration::from_secs(5),
        || {
            host.wharf(&["gc"]).ok();
            Ok(())
        },
    );
    host.run(&["--network", "none", "--name", "bad/name"], &["true"])
        .refused(125, "bad/name");
}

#[test]
fn names_of_finished_containers_are_free_again() {
    let host = Host::new();
    for _ in 0..2 {
        host.run(&["--network", "none", "--name", "again"], &["true"])
            .ok();
    }
}

#[test]
fn twenty_at_once_neither_disturb_each_other_nor_leave_anything() {
    let host = Host::new();
    let before = host.warm("none");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..20)
            .map(|number| {
                let word = number.to_string();
                let host = &host;
                scope.spawn(move || (host.run(NONE, &["echo", &word]).ok(), word))
            })
            .collect();
        for run in runs {
            let (said, word) = run.join().expect("a run");
            assert_eq!(said.trim(), word);
        }
    });
    before.returns("twenty runs to leave nothing", || host.world());
}

#[test]
fn what_is_written_to_dev_null_is_written() {
    let host = Host::new();
    let run = |words: &[&str]| {
        let mut command = host.lab.command("sh");
        command.args(["-c", "exec \"$@\" >/dev/null 2>/dev/null", "sh"]);
        command.arg(host.bin("wharf")).args(words);
        command.env("CNI_PATH", host.plugins());
        host.lab.run_command(command, b"").status.code()
    };
    let script = "echo to stdout && echo to stderr >&2";
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        ROOTFS,
        "sh",
        "-c",
        script,
    ];
    assert_eq!(run(&words), Some(0));
    host.leave("c", &["--network", "none"], &["sleep", "1000"]);
    assert_eq!(run(&["exec", "c", "sh", "-c", script]), Some(0));
    assert_eq!(run(&["exec", "-d", "c", "sh", "-c", script]), Some(0));
}

pub(crate) fn signal(process: &Process, signal: Signal) {
    kill(Pid::from_raw(process.id().cast_signed()), signal).expect("signalled");
}

pub(crate) fn exit_code(process: &mut Process) -> Option<i32> {
    wait_for("wharf to end", Duration::from_secs(20), || {
        process.ended().ok_or_else(|| "it runs".to_owned())
    })
    .code()
}

/// Whether a process has blocked signals waiting (proc(5): SigPnd is the thread's, ShdPnd the process's).
fn pending(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut masks = status
        .lines()
        .filter_map(|line| line.strip_prefix("ShdPnd:"));
    masks.any(|mask| mask.trim().bytes().any(|digit| digit != b'0'))
}
