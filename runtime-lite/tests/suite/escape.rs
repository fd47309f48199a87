//! Ways out of a container that must be closed.

use std::os::unix::fs::symlink;

use crate::support::{Host, ROOTFS};

const NONE: &[&str] = &["--network", "none"];

#[test]
fn a_linked_mount_target_in_the_image_stays_in_the_image() {
    let host = Host::new();
    let outside = host.lab.path("/var/lib/outside");
    std::fs::create_dir_all(&outside).expect("made");
    std::fs::create_dir_all(host.lab.path("/var/lib/shared")).expect("made");
    std::fs::write(host.lab.path("/var/lib/shared/file"), "shared").expect("written");
    let root = host.lab.path(ROOTFS);
    symlink("/var/lib/outside", root.join("link")).expect("linked");
    symlink("../../../../../../var/lib/outside", root.join("climb")).expect("linked");
    for target in ["/link/x", "/climb/x"] {
        let option = format!("/var/lib/shared:{target}");
        let options = [NONE, &["-v", &option]].concat();
        host.run(&options, &["true"]);
        let made = std::fs::read_dir(&outside).expect("listed").count();
        assert_eq!(made, 0, "{target}");
    }
}

#[test]
fn the_working_directory_is_never_a_leaked_descriptor() {
    let host = Host::new();
    for number in 3..12 {
        let workdir = format!("/proc/self/fd/{number}");
        let options = [NONE, &["-w", &workdir]].concat();
        let tried = host.run(
            &options,
            &["sh", "-c", "cat ../../../../../../etc/os-release"],
        );
        assert_ne!(tried.code, Some(0), "{tried:?}");
    }
    host.leave("c", NONE, &["sleep", "1000"]);
    for number in 3..12 {
        let workdir = format!("/proc/self/fd/{number}");
        let tried = host.wharf(&[
            "exec",
            "-w",
            &workdir,
            "c",
            "cat",
            "../../../../etc/os-release",
        ]);
        assert_ne!(tried.code, Some(0), "{tried:?}");
    }
    let open = host.exec("c", "ls /proc/self/fd").ok();
    assert_eq!(open.split_whitespace().count(), 4, "{open}");
}

#[test]
fn the_shim_is_never_a_containers_to_write() {
    let host = Host::new();
    let root = host.lab.path(ROOTFS);
    std::fs::write(root.join("bin/trap"), "#!/proc/self/exe\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.join("bin/trap"), mode).expect("allowed");
    let shim = host.bin("wharf-shim");
    let before = std::fs::read(&shim).expect("the shim").len();
    // As in CVE-2019-5736: hold what an exec becomes, and write to it once nobody runs it.
    let hold = "while true; do for p in /proc/[0-9]*; do \
        case $p in /proc/1|/proc/self) ;; *) { exec 9<$p/exe; } 2>/dev/null && \
        case $(ls -l /proc/self/fd/9 2>/dev/null) in *wharf*) \
        { echo bad > /proc/self/fd/9; } 2>/dev/null && touch /tmp/wrote;; esac;; esac; done; done";
    host.leave("c", NONE, &["sh", "-c", hold]);
    for _ in 0..20 {
        host.wharf(&["exec", "c", "/bin/trap"]);
    }
    assert_ne!(host.exec("c", "ls /tmp/wrote").code, Some(0));
    assert_eq!(std::fs::read(&shim).expect("the shim").len(), before);
}

#[test]
fn other_processes_groups_and_keys_are_out_of_reach() {
    let host = Host::new();
    let id = host.leave(
        "c",
        &["--network", "none", "--cap-add", "SYS_PTRACE"],
        &["sleep", "1000"],
    );
    let seen = host.exec("c", "cat /proc/[0-9]*/cmdline").ok();
    assert!(!seen.contains("wharf-shim"), "{seen}");
    for attempt in [
        "echo 1 > /sys/fs/cgroup/memory/cgroup.procs",
        "mkdir /sys/fs/cgroup/pids/x",
        "echo b > /proc/sysrq-trigger",
        "echo x > /proc/sys/kernel/core_pattern",
        "mount -o remount,rw /sys",
        "mount -t cgroup x /tmp",
        "chroot /proc/1/root/../.. true && mknod /dev/sda b 8 0 && cat /dev/sda",
        "cat /proc/kcore",
    ] {
        let tried = host.exec("c", attempt);
        let empty = tried.stdout.is_empty();
        assert!(tried.code != Some(0) || empty, "{attempt}: {tried:?}");
    }
    let max = std::fs::read_to_string(format!("/sys/fs/cgroup/pids/wharf/{id}/cgroup.procs"));
    assert!(
        max.is_ok_and(|pids| !pids.is_empty())
            || !std::path::Path::new("/sys/fs/cgroup/pids").exists()
    );
}

#[test]
fn a_bind_of_a_link_is_what_it_pointed_to_when_it_was_asked_for() {
    let host = Host::new();
    let dir = host.lab.path("/var/lib/real");
    std::fs::create_dir_all(&dir).expect("made");
    std::fs::write(dir.join("file"), "real\n").expect("written");
    symlink("/var/lib/real", host.lab.path("/var/lib/alias")).expect("linked");
    host.wharf(&[
        "create",
        "--name",
        "c",
        "--network",
        "none",
        "-v",
        "/var/lib/alias:/m",
        ROOTFS,
        "cat",
        "/m/file",
    ])
    .ok();
    std::fs::remove_file(host.lab.path("/var/lib/alias")).expect("removed");
    symlink("/etc", host.lab.path("/var/lib/alias")).expect("linked");
    assert_eq!(host.wharf(&["start", "-a", "c"]).ok(), "real\n");
}
