//! Streams: logs, attach, exec, terminals.

use std::time::Duration;

use wharfline_testkit::{Process, wait_for};

use crate::support::{Host, ROOTFS};

const NONE: &[&str] = &["--network", "none"];

#[test]
fn logs_keep_both_streams_apart_and_in_order() {
    let host = Host::new();
    host.leave(
        "c",
        NONE,
        &[
            "sh",
            "-c",
            "echo one; echo two >&2; echo three; printf four",
        ],
    );
    host.wharf(&["wait", "c"]).ok();
    let said = host.wharf(&["logs", "c"]);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("one\nthree\nfour", "two\n")
    );
    let stamped = host.wharf(&["logs", "-t", "c"]).stdout;
    let first = stamped.lines().next().expect("a line");
    assert!(first.contains("T") && first.ends_with("Z one"), "{first}");
    assert_eq!(host.wharf(&["logs", "--until", "1h", "c"]).stdout, "");
}

#[test]
fn the_last_lines_of_a_log_are_told_though_the_last_has_no_end() {
    let host = Host::new();
    // Of one stream: of two the order is not told.
    host.leave("c", NONE, &["sh", "-c", "echo one; echo two; printf three"]);
    host.wharf(&["wait", "c"]).ok();
    for (count, expected) in [
        ("0", ""),
        ("1", "three"),
        ("2", "two\nthree"),
        ("9", "one\ntwo\nthree"),
    ] {
        let said = host.wharf(&["logs", "--since", "1h", "--tail", count, "c"]);
        assert_eq!(said.stdout, expected, "--tail {count}");
    }
}

#[test]
fn followed_logs_show_what_comes_and_end_with_the_container() {
    let host = Host::new();
    let script = "echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last";
    host.leave("c", NONE, &["sh", "-c", script]);
    let mut command = host.command(&["logs", "-f", "c"]);
    let log = host.lab.path(ROOTFS).join("followed");
    command.stdout(std::fs::File::create(&log).expect("a file"));
    let mut follower = Process::start(command);
    let said = || std::fs::read_to_string(&log).expect("read");
    wait_for("the first line", Duration::from_secs(10), || {
        match said().as_str() {
            "first\n" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    host.exec("c", "touch /tmp/go").ok();
    assert_eq!(crate::run::exit_code(&mut follower), Some(0));
    assert_eq!(said(), "first\nlast\n");
}

#[test]
fn what_is_typed_reaches_a_container_that_stays() {
    let host = Host::new();
    let words = [
        "run",
        "-i",
        "--name",
        "c",
        "--network",
        "none",
        ROOTFS,
        "cat",
    ];
    assert_eq!(host.wharf_reading(&words, "told\n").ok(), "told\n");
    assert_eq!(host.wharf(&["logs", "c"]).ok(), "told\n");
    let words = ["start", "-ai", "c"];
    assert_eq!(host.wharf_reading(&words, "again\n").ok(), "again\n");
}

#[test]
fn a_megabyte_goes_through_unharmed() {
    let host = Host::new();
    let script = "dd if=/dev/zero bs=1024 count=1024 2>/dev/null; echo end >&2";
    let answer = host.run_to_stay("c", script);
    assert_eq!(answer.stdout.len(), 1 << 20);
    assert_eq!(answer.stderr, "end\n");
}

#[test]
fn exec_runs_beside_the_command_with_its_own_status_and_streams() {
    let host = Host::new();
    host.leave("c", &["--network", "none", "-e", "A=1"], &["sleep", "1000"]);
    let answer = host.exec("c", "echo out; echo err >&2; exit 4");
    assert_eq!(answer.code, Some(4));
    assert_eq!(
        (answer.stdout.as_str(), answer.stderr.as_str()),
        ("out\n", "err\n")
    );
    let words = ["exec", "-i", "c", "cat"];
    assert_eq!(host.wharf_reading(&words, "told\n").ok(), "told\n");
    let env = host.wharf(&[
        "exec",
        "-e",
        "B=2",
        "-w",
        "/tmp",
        "c",
        "sh",
        "-c",
        "echo $A$B; pwd",
    ]);
    assert_eq!(env.ok(), "12\n/tmp\n");
    host.wharf(&["exec", "c", "nothing"])
        .refused(127, "there is no command nothing");
    host.wharf(&["exec", "c", "/www/index.html"])
        .refused(126, "is not executable");
    host.wharf(&["exec", "nobody", "true"])
        .refused(125, "there is no container");
    host.wharf(&["exec", "-d", "c", "touch", "/tmp/done"]).ok();
    wait_for(
        "the detached command",
        Duration::from_secs(5),
        || match host.exec("c", "ls /tmp/done").code {
            Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

#[test]
fn exec_is_held_by_the_containers_filter_and_capabilities() {
    let host = Host::new();
    host.leave("c", NONE, &["sleep", "1000"]);
    let own = host
        .exec("c", "grep -E '^(Cap|Seccomp:|NoNew)' /proc/1/status")
        .ok();
    let further = host
        .exec("c", "grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status")
        .ok();
    assert_eq!(own, further);
    assert!(own.contains("Seccomp:\t2"), "{own}");
    let tried = host.exec("c", "mount -t tmpfs x /tmp");
    assert!(tried.stderr.contains("denied"), "{tried:?}");
    let id = host.wharf(&["exec", "-u", "33:44", "c", "id"]).ok();
    assert!(id.contains("uid=33 gid=44"), "{id}");
    let caps = host
        .wharf(&[
            "exec",
            "-u",
            "33",
            "c",
            "grep",
            "CapEff",
            "/proc/self/status",
        ])
        .ok();
    assert!(caps.contains("0000000000000000"), "{caps}");
}

#[test]
fn a_hundred_execs_leave_neither_zombies_nor_descriptors() {
    let host = Host::new();
    host.leave("c", NONE, &["sleep", "1000"]);
    let about = host.wharf(&["inspect", "c"]).json();
    let pid = about[0]["state"]["pid"].as_i64().expect("a pid");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("running");
    let shim = stat.rsplit_once(')').expect("a name").1;
    let shim = shim.split_whitespace().nth(1).expect("a parent").to_owned();
    let count = |what: &str| {
        let path = format!("/proc/{shim}/{what}");
        match what {
            "fd" => std::fs::read_dir(path).expect("listed").count(),
            _ => std::fs::read_to_string(path)
                .expect("read")
                .split_whitespace()
                .count(),
        }
    };
    host.exec("c", "true").ok();
    let children = format!("task/{shim}/children");
    let before = (count("fd"), count(&children));
    for round in 0..100 {
        match round % 4 {
            0 => host
                .wharf(&["exec", "c", "nothing"])
                .refused(127, "no command"),
            _ => drop(host.exec("c", "true").ok()),
        }
    }
    wait_for(
        "the shim to have what it had",
        Duration::from_secs(5),
        || match (count("fd"), count(&children)) {
            // The first look may still have seen the connection before it.
            now if now.0 <= before.0 && now.1 <= before.1 => Ok(()),
            now => Err(format!("{now:?}, before {before:?}")),
        },
    );
}

/// A command of wharf's at a terminal, by script(1); what it printed.
fn at_a_terminal(host: &Host, line: &str, typed: &str) -> String {
    let wharf = host.bin("wharf");
    let mut command = host.lab.command("script");
    command.args([
        "-qefc",
        &format!("stty rows 33 cols 77; exec {} {line}", wharf.display()),
        "/dev/null",
    ]);
    command.env("CNI_PATH", host.plugins());
    host.lab.run_command(command, typed.as_bytes()).stdout
}

#[test]
fn a_terminal_is_one_has_the_users_size_and_goes_to_the_log() {
    let host = Host::new();
    let line = format!(
        "run -it --name c --network none {ROOTFS} sh -c 'tty; stty size; test -t 1 && echo yes; ls -l /dev/console'"
    );
    let said = at_a_terminal(&host, &line, "");
    assert!(said.contains("/dev/pts/0"), "{said}");
    assert!(said.contains("33 77"), "{said}");
    assert!(said.contains("yes"), "{said}");
    let log = host.wharf(&["logs", "c"]).ok();
    assert!(log.contains("33 77"), "{log}");
}

#[test]
fn exec_gives_a_terminal_of_the_users_size() {
    let host = Host::new();
    host.leave("c", NONE, &["sleep", "1000"]);
    let said = at_a_terminal(&host, "exec -it c sh -c 'tty; stty size'", "");
    assert!(
        said.contains("/dev/pts/0") && said.contains("33 77"),
        "{said}"
    );
}

#[test]
fn attach_shows_what_comes_and_ends_with_the_container() {
    let host = Host::new();
    let script = "while [ ! -e /tmp/go ]; do sleep 0.05; done; echo seen; exit 9";
    host.leave("c", NONE, &["sh", "-c", script]);
    let log = host.lab.path(ROOTFS).join("attached");
    let mut command = host.command(&["attach", "c"]);
    command.stdout(std::fs::File::create(&log).expect("a file"));
    let mut viewer = Process::start(command);
    wait_for("the viewer to be attached", Duration::from_secs(10), || {
        // It may have ended since the last look.
        host.exec("c", "touch /tmp/go");
        match viewer.ended() {
            Some(_) => Ok(()),
            None => Err("it runs".to_owned()),
        }
    });
    assert_eq!(crate::run::exit_code(&mut viewer), Some(9));
}

#[test]
fn the_streams_of_a_foreground_run_with_rm_are_its_own() {
    let host = Host::new();
    let process = host.start("c", NONE, &["sleep", "1000"]);
    host.wharf(&["logs", "c"]).refused(1, "is not logged");
    host.wharf(&["attach", "c"]).refused(125, "wharf run");
    assert_eq!(host.exec("c", "echo hi").ok(), "hi\n");
    crate::networks::end(&host, process);
}
