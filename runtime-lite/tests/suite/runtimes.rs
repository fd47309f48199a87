//! Other OCI runtimes at the same seam, and as the oracle: the same bundle gives the same answers.

use std::time::Duration;

use wharfline_testkit::wait_for;

use crate::support::{Host, ROOTFS};

/// What a process in a container can tell about itself, as far as it must be the same whoever made it, and however.
const ASK: &str = "grep -E '^(Cap|Seccomp:|NoNew|Groups|Uid|Gid)' /proc/self/status; id; pwd; \
    cat /proc/sys/kernel/hostname; env | grep -v HOSTNAME | sort; busybox stat -c '%A %t:%T %n' /dev/* | grep -v core; \
    probe limits; probe calls; probe keys; ls /proc/self/fd; \
    for p in proc/sys/kernel/panic proc/sysrq-trigger proc/irq/x sys/kernel/uevent_helper sys/fs/cgroup/pids/cgroup.procs; \
    do (echo x > /$p) 2>&1; done; for p in acpi kcore keys timer_list scsi sched_debug latency_stats; do \
    ls -d /proc/$p 2>/dev/null && cat /proc/$p; ls -A /proc/$p 2>/dev/null; done; ls -A /sys/firmware; \
    mount -t tmpfs x /tmp 2>&1; mknod /tmp/disk b 8 0 2>&1 && cat /tmp/disk 2>&1; rm -f /tmp/disk";

/// And where each filesystem is mounted, of which type, and whether it can be written.
const MOUNTS: &str = "cat /proc/self/mountinfo";

/// Two groups, limits and a score: everything that a further process may lose. Files have one limit, not two: Go raises a
/// program's own to the hard one at its start, and now and then runc's exec hands that on (opencontainers/runc#4195).
const OPTIONS: &[&str] = &[
    "--network",
    "none",
    "--hostname",
    "box",
    "--cap-drop",
    "NET_RAW",
    "--memory",
    "64m",
    "--ulimit",
    "nofile=200:200",
    "--ulimit",
    "core=0",
    "--oom-score-adj",
    "100",
    "-w",
    "/tmp",
];

/// The runtimes beside ours, from apt.
const OTHERS: [&str; 2] = ["/usr/sbin/runc", "/usr/bin/crun"];

/// A host for all of them: crun refuses one that has control groups of both versions.
fn host() -> Host {
    let host = Host::new();
    let second = "/sys/fs/cgroup/unified";
    if std::path::Path::new(second).exists() {
        host.lab.exec(&["umount", second]);
    }
    host
}

/// The answers of a container's command, of a further process, and its mounts.
fn answers(host: &Host, runtime: Option<&str>, more: &[&str]) -> [Vec<String>; 3] {
    let name = runtime.map_or("ours", |path| path.rsplit('/').next().expect("a name"));
    let mut options = [OPTIONS, more].concat();
    if let Some(path) = runtime {
        options.extend(["--runtime", path]);
    }
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let own = host.run(&options, &["sh", "-c", ASK]).stdout;
    let seen = host.run(&options, &["sh", "-c", MOUNTS]).ok();
    host.leave(name, &options, &["sleep", "1000"]);
    let further = host.exec(name, ASK).stdout;
    let failed = host.exec(name, "exit 7");
    assert_eq!(failed.code, Some(7), "{name}: {failed:?}");
    host.wharf(&["stop", "-t", "0", name]).ok();
    assert_eq!(host.await_state(name, "exited")["exitCode"], 137);
    host.wharf(&["rm", name]).ok();
    [lines(own), lines(further), mounts(&seen)]
}

/// Target, type, and what the flags say that matter for safety; the last mount on a target is the one that is seen.
fn mounts(mountinfo: &str) -> Vec<String> {
    let mut seen = std::collections::BTreeMap::new();
    for line in mountinfo.lines() {
        let (mount, kind) = line
            .split_once(" - ")
            .expect("the separator of proc_pid_mountinfo(5)");
        let fields: Vec<&str> = mount.split(' ').collect();
        let flags = fields[5].split(',');
        let flags: Vec<&str> = flags
            .filter(|flag| ["ro", "nosuid", "nodev", "noexec"].contains(flag))
            .collect();
        let kind = kind.split(' ').next().expect("a type");
        seen.insert(
            fields[4].to_owned(),
            format!("{} {kind} {}", fields[4], flags.join(",")),
        );
    }
    seen.into_values().collect()
}

/// What differs, line by line.
#[track_caller]
fn same(what: &str, ours: &[String], theirs: &[String]) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these
            .iter()
            .filter(|line| !those.contains(line))
            .cloned()
            .collect()
    };
    let (ours_only, theirs_only) = (only(ours, theirs), only(theirs, ours));
    assert!(
        ours == theirs,
        "{what}: ours {ours_only:#?}, theirs {theirs_only:#?}"
    );
}

/// As a user, who has no capabilities in force; and as root without new privileges.
const WHO: [&[&str]; 2] = [&["--user", "7:8"], &["--security-opt", "no-new-privileges"]];

#[test]
fn other_runtimes_give_the_same_answers() {
    let host = host();
    host.install_probe();
    for who in WHO {
        let [own, further, mounts] = answers(&host, None, who);
        assert!(own.len() > 400, "{own:#?}");
        for other in OTHERS {
            let [their_own, their_further, their_mounts] = answers(&host, Some(other), who);
            same(other, &own, &their_own);
            same(&format!("{other}, exec"), &further, &their_further);
            // crun masks and protects by other flags.
            if other.ends_with("runc") {
                same(&format!("{other}, mounts"), &mounts, &their_mounts);
            }
        }
    }
}

#[test]
fn a_further_process_is_confined_as_the_containers_own() {
    let host = Host::new();
    host.install_probe();
    let ask = format!(
        "({ASK}; cat /proc/self/cgroup /proc/self/oom_score_adj; busybox readlink /proc/self/ns/*) 2>&1"
    );
    let own = format!("{ask}; echo done; sleep 1000");
    for who in WHO {
        host.leave("c", &[OPTIONS, who].concat(), &["sh", "-c", &own]);
        let told = wait_for("its own answers", Duration::from_secs(60), || {
            let told = host.wharf(&["logs", "c"]).stdout;
            let answers = told.strip_suffix("done\n").map(str::to_owned);
            answers.ok_or(told)
        });
        let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
        same("exec", &lines(told), &lines(host.exec("c", &ask).stdout));
        host.wharf(&["rm", "-f", "c"]).ok();
    }
}

#[test]
fn other_runtimes_fail_with_the_same_exit_statuses_and_leave_nothing() {
    let host = host();
    let before = host.warm("none");
    for other in OTHERS {
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
