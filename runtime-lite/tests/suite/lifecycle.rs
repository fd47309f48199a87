//! Containers that stay: their states, names, ends, and what a crash at any moment leaves.

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharfline_testkit::fault;

use crate::support::{Answer, Host, ROOTFS};

const NONE: &[&str] = &["--network", "none"];
const SLEEP: &[&str] = &["sleep", "1000"];

#[test]
fn a_container_is_created_started_stopped_started_again_and_removed() {
    let host = Host::new();
    let id = host
        .wharf(&[
            "create",
            "--name",
            "c",
            "--network",
            "none",
            ROOTFS,
            "sleep",
            "1000",
        ])
        .ok();
    assert_eq!(id.trim().len(), 64);
    host.await_state("c", "created");
    assert_eq!(host.wharf(&["start", "c"]).ok(), "c\n");
    host.await_state("c", "running");
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    let stopped = host.await_state("c", "exited");
    assert_eq!(stopped["exitCode"], 137);
    host.wharf(&["start", "c"]).ok();
    host.await_state("c", "running");
    host.wharf(&["rm", "c"]).refused(1, "is running");
    host.wharf(&["restart", "-t", "0", "c"]).ok();
    host.await_state("c", "running");
    host.wharf(&["rm", "-f", "c"]).ok();
    assert!(host.container("c").is_none());
    host.wharf(&["rm", "c"]).refused(1, "there is no container");
    host.wharf(&["rm", "-f", "c"]).ok();
}

#[test]
fn a_container_that_stays_leaves_nothing_in_the_kernel_and_nothing_at_all_when_removed() {
    let host = Host::new();
    host.wharf(&["network", "create", "web"]).ok();
    let before = {
        host.warm("web");
        host.leave("warm", &["--network", "web"], &["true"]);
        host.wharf(&["wait", "warm"]).ok();
        host.wharf(&["rm", "warm"]).ok();
        host.world()
    };
    host.leave("c", &["--network", "web", "-p", "8080:80"], SLEEP);
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    let files = "file /var/lib/wharfline/containers";
    let folders = "directory /var/lib/wharfline/containers";
    let at_rest = || {
        let world = host.world().without(files).without(folders);
        world
            .without("link /var/lib/wharfline/names")
            .without("symlink /var/lib/wharfline/names")
    };
    let kernel = |world: wharfline_testkit::World| world.only(&["host "]);
    let _ = at_rest;
    kernel(host.world()).returns("the kernel to be as before", || kernel(host.world()));
    host.wharf(&["rm", "c"]).ok();
    before.returns("nothing to be left", || host.world());
}

#[test]
fn stop_asks_first_and_kills_in_the_end() {
    let host = Host::new();
    let script = "trap 'exit 42' TERM; while true; do sleep 0.05; done";
    host.leave("polite", NONE, &["sh", "-c", script]);
    host.wharf(&["stop", "polite"]).ok();
    assert_eq!(host.await_state("polite", "exited")["exitCode"], 42);
    host.leave(
        "other",
        &["--network", "none", "--stop-signal", "USR1"],
        &[
            "sh",
            "-c",
            "trap 'exit 7' USR1; while true; do sleep 0.05; done",
        ],
    );
    host.wharf(&["stop", "other"]).ok();
    assert_eq!(host.await_state("other", "exited")["exitCode"], 7);
}

/// Lets `wharf` call the shim of a running container, which ends before anything is said.
fn call_one_that_ends(host: &Host, words: &[&str]) -> Answer {
    host.wharf(&["start", "c"]).ok();
    let about = host.await_state("c", "running");
    let first = i32::try_from(about["pid"].as_i64().expect("a pid")).expect("a pid");
    let output = fault::interrupted_at(host.command(words), libc::SYS_sendmsg, || {
        kill(Pid::from_raw(first), Signal::SIGKILL).expect("killed");
        host.await_state("c", "exited");
    });
    host.await_state("c", "exited");
    Answer::from(output)
}

#[test]
fn a_container_that_ends_while_it_is_called_is_waited_for_and_stopped_and_else_named() {
    let host = Host::new();
    host.leave("c", &["--network", "none"], &["sleep", "1000"]);
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    let call = |words: &[&str]| call_one_that_ends(&host, words);
    assert_eq!(call(&["wait", "c"]).ok(), "137\n");
    assert_eq!(call(&["stop", "c"]).ok(), "c\n");
    call(&["kill", "c"]).refused(1, "container c has just ended");
    call(&["exec", "c", "true"]).refused(125, "container c has just ended");
    call(&["attach", "c"]).refused(125, "container c has just ended");
}

#[test]
fn kill_sends_any_signal_and_wait_tells_the_end() {
    let host = Host::new();
    let script = "trap 'exit 5' HUP; while true; do sleep 0.05; done";
    host.leave("c", NONE, &["sh", "-c", script]);
    host.wharf(&["kill", "-s", "HUP", "c"]).ok();
    assert_eq!(host.wharf(&["wait", "c"]).ok(), "5\n");
    assert_eq!(host.wharf(&["wait", "c"]).ok(), "5\n");
    host.wharf(&["kill", "c"]).refused(1, "is not running");
    host.wharf(&["kill", "-s", "NOTHING", "c"])
        .refused(1, "is not a signal");
}

#[test]
fn a_renamed_container_is_found_by_its_new_name_alone() {
    let host = Host::new();
    host.leave("one", NONE, SLEEP);
    host.leave("taken", NONE, SLEEP);
    host.wharf(&["rename", "one", "taken"])
        .refused(1, "is taken");
    host.wharf(&["rename", "one", "two"]).ok();
    assert_eq!(host.container("two").expect("listed")["state"], "running");
    host.wharf(&["stop", "-t", "0", "one"])
        .refused(1, "there is no container");
    host.leave("one", NONE, SLEEP);
}

#[test]
fn a_foreground_run_that_stays_ends_as_its_command_and_is_listed_as_exited() {
    let host = Host::new();
    let answer = host.run_to_stay("c", "echo out; exit 3");
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(3), "out\n"));
    assert_eq!(host.container("c").expect("listed")["state"], "exited");
    assert_eq!(host.wharf(&["ps", "-q"]).ok(), "");
    let again = host.wharf(&["start", "-a", "c"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(3), "out\n"));
}

#[test]
fn a_container_that_cannot_start_stays_and_says_why() {
    let host = Host::new();
    let words = [
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "none",
        ROOTFS,
        "nothing",
    ];
    host.wharf(&words)
        .refused(127, "there is no command nothing");
    let about = host.wharf(&["inspect", "c"]).json();
    assert_eq!(about[0]["state"]["status"], "exited");
    assert_eq!(about[0]["state"]["exitCode"], 127);
    let why = about[0]["state"]["error"].as_str().expect("a reason");
    assert!(why.contains("there is no command"), "{why}");
    host.wharf(&["rm", "c"]).ok();
}

#[test]
fn a_detached_run_with_rm_is_gone_when_it_ends() {
    let host = Host::new();
    let before = host.warm("none");
    host.leave("c", &["--rm", "--network", "none"], &["sleep", "0.2"]);
    before.returns("it to be removed", || host.world());
}

#[test]
fn the_environment_and_the_control_socket_are_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new();
    host.leave("c", &["--network", "none", "-e", "SECRET=x"], SLEEP);
    let folder = host.lab.path("/var/lib/wharfline/containers");
    let mode = folder.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn a_killed_shim_leaves_what_gc_rm_and_start_clean() {
    let host = Host::new();
    host.wharf(&["network", "create", "web"]).ok();
    for name in ["a", "b", "c"] {
        host.leave(name, &["--network", "web"], SLEEP);
        kill(Pid::from_raw(host.shim_of(name)), Signal::SIGKILL).expect("killed");
        host.await_state(name, "dead");
    }
    host.wharf(&["rm", "-f", "b"]).ok();
    assert!(host.container("b").is_none());
    host.wharf(&["start", "c"]).ok();
    host.await_state("c", "running");
    host.wharf(&["gc"]).ok();
    let after = host.await_state("a", "exited");
    assert_eq!(after["exitCode"], 255);
    host.await_state("c", "running");
    host.wharf(&["start", "a"]).ok();
    host.await_state("a", "running");
}
