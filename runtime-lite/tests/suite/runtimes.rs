//! Other OCI runtimes at the same seam, and as the oracle: the same bundle gives the same answers.

use crate::support::{Host, ROOTFS};

/// What a container can tell about itself, as far as it must be the same everywhere.
const ASK: &str = "grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status; id; pwd; cat /proc/sys/kernel/hostname; \
    ls /proc/acpi 2>/dev/null; (echo x > /proc/sys/kernel/panic) 2>/dev/null; echo $?; \
    mount -t tmpfs x /tmp 2>/dev/null; echo $?; ls /dev | grep -v core; tty; env | grep -v HOSTNAME; \
    (echo 1 > /sys/fs/cgroup/pids/cgroup.procs) 2>/dev/null; echo $?; grep -c . /proc/keys 2>/dev/null; true";

const OPTIONS: &[&str] = &[
    "--network",
    "none",
    "--hostname",
    "box",
    "--cap-drop",
    "NET_RAW",
    "--memory",
    "64m",
    "-w",
    "/tmp",
];

/// The runtimes beside ours, from apt. crun refuses a host that has control groups of both versions, so it answers only
/// where there is version 2 alone.
fn others() -> Vec<&'static str> {
    match std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => vec!["/usr/sbin/runc", "/usr/bin/crun"],
        false => vec!["/usr/sbin/runc"],
    }
}

fn answers(host: &Host, runtime: Option<&str>) -> (String, String) {
    let name = runtime.map_or("ours", |path| path.rsplit('/').next().expect("a name"));
    let mut options = OPTIONS.to_vec();
    if let Some(path) = runtime {
        options.extend(["--runtime", path]);
    }
    let own = host.run(&options, &["sh", "-c", ASK]).ok();
    host.leave(name, &options, &["sleep", "1000"]);
    let further = host
        .exec(
            name,
            "grep -E '^(Cap|Seccomp:)' /proc/self/status; id; pwd; exit 0",
        )
        .ok();
    let failed = host.exec(name, "exit 7");
    assert_eq!(failed.code, Some(7), "{name}: {failed:?}");
    host.wharf(&["stop", "-t", "0", name]).ok();
    assert_eq!(host.await_state(name, "exited")["exitCode"], 137);
    (own, further)
}

#[test]
fn other_runtimes_give_the_same_answers() {
    let host = Host::new();
    let ours = answers(&host, None);
    for other in others() {
        assert_eq!(answers(&host, Some(other)), ours, "{other}");
    }
}

#[test]
fn other_runtimes_fail_with_the_same_exit_statuses_and_leave_nothing() {
    let host = Host::new();
    let before = host.warm("none");
    for other in others() {
        let options = ["--network", "none", "--runtime", other];
        assert_eq!(
            host.run(&options, &["sh", "-c", "exit 3"]).code,
            Some(3),
            "{other}"
        );
        assert_eq!(host.run(&options, &["nothing"]).code, Some(127), "{other}");
        assert_eq!(
            host.run(&options, &["/www/index.html"]).code,
            Some(126),
            "{other}"
        );
    }
    host.wharf(&["run", "--rm", "--runtime", "/nowhere", ROOTFS, "true"])
        .refused(125, "find the OCI runtime /nowhere");
    before.returns("nothing to be left", || host.world());
}
