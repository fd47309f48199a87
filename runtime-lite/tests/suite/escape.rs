//! Ways out of a container that must be closed.

use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use wharfline_testkit::{Process, wait_for};

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

/// Says of every process that is a `wharf-shim` what comes of writing to it while it runs; and, once it has ended, of writing
/// to what was opened before (as in CVE-2019-5736: then nobody runs it any more).
const OVERWRITE: &str = "for p in /proc/[0-9]*; do \
    case $(busybox readlink $p/exe) in */wharf-shim) \
    exec 9<$p/exe; { echo bad > $p/exe; } 2>&1; { echo bad >> $p/exe; } 2>&1; busybox touch /tmp/held; \
    while grep -q shim $p/stat 2>/dev/null || grep -q exe $p/stat 2>/dev/null; do sleep 0.05; done; \
    { echo bad > /proc/self/fd/9; } 2>&1; busybox chmod 777 /proc/self/fd/9 2>&1;; esac; done";

/// Lets the shim run in a container as a plain program: static, or with the libraries that it wants.
fn make_runnable(host: &Host) {
    let root = host.lab.path(ROOTFS);
    let listed = Command::new("ldd").arg(host.bin("wharf-shim")).output();
    let listed = String::from_utf8_lossy(&listed.expect("ldd").stdout).into_owned();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for library in libraries.map(std::path::Path::new) {
        let inside = root.join(library.strip_prefix("/").expect("absolute"));
        std::fs::create_dir_all(inside.parent().expect("a folder")).expect("made");
        std::fs::copy(library, inside).expect("copied");
    }
}

/// A process of this command that waits for a word on its stdin, which is a socket; the word's end ends it.
fn waiting(host: &Host, words: &[&str]) -> (Process, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket");
    let process = Process::start_with(host.command(words), OwnedFd::from(theirs).into());
    (process, ours)
}

/// Waits until the program that a process of container c runs is called so.
fn await_program(host: &Host, name: &str) {
    let look = "for p in /proc/[0-9]*; do busybox readlink $p/exe; done";
    wait_for("the shim in the container", Duration::from_secs(20), || {
        let said = host.exec("c", look).stdout;
        said.contains(name).then_some(()).ok_or(said)
    });
}

fn overwriting_fails(host: &Host, container: &str, shim: UnixStream) {
    let held = host.lab.path(ROOTFS).join("tmp/held");
    let _ = std::fs::remove_file(&held);
    let said = std::thread::scope(|scope| {
        let trying = scope.spawn(|| host.exec(container, OVERWRITE));
        wait_for("the program to be held", Duration::from_secs(20), || {
            held.exists().then_some(()).ok_or("it is not".to_owned())
        });
        drop(shim);
        trying.join().expect("the attempt")
    });
    let refused = said.stdout.matches("Read-only file system").count();
    assert_eq!(refused, 4, "{said:?}");
}

#[test]
fn the_shim_is_never_a_containers_to_write() {
    let host = Host::new();
    make_runnable(&host);
    let shim = host.bin("wharf-shim");
    let before = std::fs::read(&shim).expect("the shim");
    // Both a container's command and a further process may be a link to what the shim is.
    host.leave("c", NONE, &["sleep", "1000"]);
    let words = ["exec", "-i", "c", "/proc/self/exe", "exec", "/tmp"];
    let (_process, socket) = waiting(&host, &words);
    await_program(&host, "/wharf-shim");
    overwriting_fails(&host, "c", socket);
    let itself = ["/proc/self/exe", "exec", "/tmp"];
    let options = [
        "run",
        "--rm",
        "-i",
        "--name",
        "d",
        "--network",
        "none",
        ROOTFS,
    ];
    let (_process, socket) = waiting(&host, &[&options[..], &itself].concat());
    host.await_state("d", "running");
    let said = host
        .exec(
            "d",
            "{ echo bad > /proc/1/exe; } 2>&1; chmod 777 /proc/1/exe 2>&1; true",
        )
        .ok();
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    drop(socket);
    let same = std::fs::read(&shim).expect("the shim") == before;
    assert!(same, "the shim was changed");
    let mode = std::os::unix::fs::PermissionsExt::mode(&shim.metadata().expect("it").permissions());
    assert_ne!(mode & 0o777, 0o777);
}

#[test]
fn a_wharf_without_overlays_starts_shims_from_memory() {
    let host = Host::new();
    make_runnable(&host);
    // A folder in the other is no pair of layers: the shim lies above the container's folder.
    let run = host.lab.path("/run/wharfline");
    std::fs::create_dir_all(&run).expect("made");
    let shim = run.join("wharf-shim");
    std::fs::copy(host.bin("wharf-shim"), &shim).expect("copied");
    let mut command = host.command(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "c",
        "--network",
        "none",
        ROOTFS,
        "sleep",
        "1000",
    ]);
    command.env("WHARF_SHIM", "/run/wharfline/wharf-shim");
    assert!(host.lab.run_command(command, b"").succeeded());
    let words = ["exec", "-i", "c", "/proc/self/exe", "exec", "/tmp"];
    let (_process, socket) = waiting(&host, &words);
    await_program(&host, "memfd:wharf-shim");
    drop(socket);
    assert_eq!(host.exec("c", "echo yes").ok(), "yes\n");
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

#[test]
fn an_image_cannot_move_the_kernels_files_by_links() {
    let host = Host::new();
    let root = host.lab.path(ROOTFS);
    std::fs::create_dir_all(root.join("tmp/decoy")).expect("made");
    for name in ["proc", "sys", "dev"] {
        std::fs::remove_dir(root.join(name)).expect("removed");
        symlink("/tmp/decoy", root.join(name)).expect("linked");
        host.run(NONE, &["true"]).refused(125, "prepare rootfs");
        std::fs::remove_file(root.join(name)).expect("removed");
        std::fs::create_dir(root.join(name)).expect("made");
    }
    let untouched = std::fs::read_dir(root.join("tmp/decoy"))
        .expect("listed")
        .count();
    assert_eq!(untouched, 0);
}

#[test]
fn an_images_working_folder_may_be_a_link_but_leads_nowhere_outside() {
    let host = Host::new();
    let root = host.lab.path(ROOTFS);
    host.leave("c", NONE, &["sleep", "1000"]);
    for number in 3..12 {
        let link = root.join(format!("w{number}"));
        symlink(format!("/proc/self/fd/{number}"), &link).expect("linked");
        let workdir = format!("/w{number}");
        let look = ["sh", "-c", "cat ../../../../../../etc/os-release"];
        let tried = host.run(&[NONE, &["-w", &workdir]].concat(), &look);
        assert_ne!(tried.code, Some(0), "{tried:?}");
        let tried = host.wharf(&[&["exec", "-w", &workdir, "c"], &look[..]].concat());
        assert_ne!(tried.code, Some(0), "{tried:?}");
    }
}

#[test]
fn the_kernels_keys_are_nobodys() {
    let host = Host::new();
    host.install_probe();
    let none = "add_key EPERM\nrequest_key EPERM\nkeyctl EPERM\n";
    let all = ["--network", "none", "--cap-add", "ALL"];
    for options in [NONE, &all] {
        assert_eq!(host.run(options, &["probe", "keys"]).ok(), none);
    }
    host.leave("c", &all, &["sleep", "1000"]);
    assert_eq!(host.wharf(&["exec", "c", "probe", "keys"]).ok(), none);
    assert_eq!(host.exec("c", "cat /proc/keys").ok(), "");
}
