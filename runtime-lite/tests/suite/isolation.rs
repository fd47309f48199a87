//! What a container can see and do: what Docker's defaults let it.

use crate::support::{Host, ROOTFS, unified};

const NONE: &[&str] = &["--network", "none"];

fn inside(host: &Host, script: &str) -> String {
    host.run(NONE, &["sh", "-c", script]).ok()
}

#[test]
fn the_command_is_the_first_process_and_sees_no_other() {
    let host = Host::new();
    assert_eq!(inside(&host, "echo $$").trim(), "1");
    let processes = inside(&host, "ls /proc | grep -c '^[0-9]'");
    // The shell, its pipeline's ls and grep.
    assert!(
        processes.trim().parse::<u32>().expect("a number") <= 3,
        "{processes}"
    );
}

#[test]
fn capabilities_are_dockers_default_set() {
    let host = Host::new();
    let masks = inside(&host, "grep ^Cap /proc/self/status");
    let mask = |name: &str| {
        let line = masks.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.expect("a line").trim(), 16).expect("a mask")
    };
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD
    // AUDIT_WRITE SETFCAP, which is what `docker run` shows.
    let mut docker = 0xa804_25fb;
    if unified() {
        // Without rules for devices nobody makes any: docs/wharf.md.
        docker &= !(1 << 27);
    }
    assert_eq!(mask("CapBnd:") & !docker, 0, "{masks}");
    assert_eq!(mask("CapEff:"), mask("CapBnd:"), "{masks}");
    assert_eq!(mask("CapAmb:"), 0, "{masks}");
    assert_eq!(mask("CapInh:"), 0, "{masks}");
    // What this host may give away, it gives.
    let own = std::fs::read_to_string("/proc/self/status").expect("our status");
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let own = u64::from_str_radix(own.expect("a line").trim(), 16).expect("a mask");
    assert_eq!(mask("CapBnd:"), own & docker, "{masks}");
}

#[test]
fn a_filter_is_on_and_refuses_what_docker_refuses() {
    let host = Host::new();
    assert!(inside(&host, "grep ^Seccomp: /proc/self/status").contains('2'));
    let refused = host.run(NONE, &["mount", "-t", "tmpfs", "x", "/tmp"]);
    assert!(refused.stderr.contains("denied"), "{refused:?}");
}

#[test]
fn signals_that_wharf_was_told_to_ignore_reach_the_command() {
    let host = Host::new();
    let script = "trap '' HUP INT QUIT USR1; exec \"$@\"";
    let mut command = host.lab.command("sh");
    let wharf = host.bin("wharf");
    command.args(["-c", script, "sh"]).arg(wharf);
    command.args(["run", "--rm", "--network", "none", ROOTFS]);
    // Not by way of busybox's shell, which ignores SIGQUIT itself.
    command.args(["cat", "/proc/self/status"]);
    command.env("CNI_PATH", host.plugins());
    let status = host.lab.run_command(command, b"").stdout;
    for name in ["SigBlk:", "SigIgn:"] {
        let mask = status.lines().find_map(|line| line.strip_prefix(name));
        let mask = mask.unwrap_or_else(|| panic!("no {name} in {status}"));
        let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
        // The C library keeps 32 and 33 to itself.
        assert_eq!(mask & 0x7fff_ffff, 0, "{name} {mask:x}");
    }
}

#[test]
fn only_the_three_streams_are_open() {
    let host = Host::new();
    // ls opens the folder that it lists: 3.
    assert_eq!(
        inside(&host, "ls /proc/self/fd").split_whitespace().count(),
        4
    );
}

#[test]
fn the_environment_is_not_the_callers() {
    let host = Host::new();
    let mut command = host.command(&["run", "--rm", "--network", "none", ROOTFS, "env"]);
    command.env("SECRET", "of the caller");
    let answer = host.lab.run_command(command, b"");
    let mut names: Vec<&str> = answer
        .stdout
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "HOSTNAME", "PATH"], "{}", answer.stdout);
}

#[test]
fn the_kernels_knobs_are_read_only_and_its_secrets_hidden() {
    let host = Host::new();
    for attempt in [
        "echo 1 > /proc/sys/kernel/panic",
        "echo h > /proc/sysrq-trigger",
        "echo x > /sys/kernel/uevent_helper",
        "echo 1 > /sys/fs/cgroup/pids/cgroup.procs",
    ] {
        let tried = host.run(NONE, &["sh", "-c", attempt]);
        assert_ne!(tried.code, Some(0), "{attempt}: {tried:?}");
    }
    for secret in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        let script = format!("if [ -e {secret} ]; then cat {secret}; fi");
        assert_eq!(inside(&host, &script), "", "{secret}");
    }
}

#[test]
fn a_made_disk_cannot_be_opened() {
    let host = Host::new();
    let disk = std::fs::read_to_string("/proc/partitions").expect("the disks");
    // Where there is none, the first loop device.
    let first = disk.lines().nth(2).unwrap_or("7 0");
    let numbers = first.split_whitespace();
    let numbers: Vec<&str> = numbers.take(2).collect();
    let [major, minor] = numbers.as_slice() else {
        panic!("no disk in {disk}");
    };
    let script = format!("mknod /tmp/disk b {major} {minor}; cat /tmp/disk");
    let tried = host.run(NONE, &["sh", "-c", &script]);
    assert!(tried.stderr.contains("not permitted"), "{tried:?}");
    assert_ne!(tried.code, Some(0));
}

#[test]
fn the_host_is_told_apart_by_its_name_and_its_loopback() {
    let host = Host::new();
    let said = inside(
        &host,
        "cat /etc/hostname; cat /proc/sys/kernel/hostname; ip -o link",
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0].len(), 12);
    assert_eq!(lines[0], lines[1]);
    assert!(lines[2].contains("lo: <LOOPBACK,UP"), "{said}");
    assert_eq!(lines.len(), 3, "{said}");
}

#[test]
fn host_mode_has_the_hosts_links_and_name() {
    let host = Host::new();
    host.lab.host().ip("link add v0 type veth peer name v1");
    let said = host.run(&["--network", "host"], &["ip", "-o", "link"]).ok();
    assert!(said.contains("v0"), "{said}");
}
