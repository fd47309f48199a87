//! Each option of a container, by what the container sees of it.

use std::os::unix::fs::symlink;

use crate::support::{Host, ROOTFS};

fn with(host: &Host, options: &[&str], script: &str) -> String {
    let options = [&["--network", "none"], options].concat();
    host.run(&options, &["sh", "-c", script]).ok()
}

#[test]
fn variables_come_from_options_files_and_the_caller() {
    let host = Host::new();
    std::fs::write(host.lab.path("/var/lib/env"), "# no\nB=2\nC=from file\n").expect("written");
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--env-file",
        "/var/lib/env",
        "-e",
        "A=1",
        "-e",
        "C=from option",
        "-e",
        "OWN",
        "-e",
        "ABSENT",
        ROOTFS,
        "sh",
        "-c",
        "echo $A $B $C $OWN $ABSENT",
    ];
    let mut command = host.command(&words);
    command.env("OWN", "mine");
    let said = host.lab.run_command(command, b"").stdout;
    assert_eq!(said, "1 2 from option mine\n");
}

#[test]
fn users_are_found_in_the_containers_own_files() {
    let host = Host::new();
    let etc = host.lab.path(ROOTFS).join("etc");
    std::fs::write(etc.join("passwd"), "web:x:33:34::/srv:/bin/sh\n").expect("written");
    std::fs::write(etc.join("group"), "www:x:34:\nlog:x:40:web\n").expect("written");
    let said = with(&host, &["--user", "web"], "id; echo $HOME");
    assert!(said.contains("uid=33") && said.contains("gid=34"), "{said}");
    assert!(said.contains("40") && said.contains("/srv"), "{said}");
    let said = with(&host, &["-u", "1000:7"], "id");
    assert!(said.contains("uid=1000 gid=7"), "{said}");
    host.run(&["--network", "none", "-u", "nobody-here"], &["true"])
        .refused(125, "there is no user \"nobody-here\"");
    // Not the host's files, whatever a link says.
    std::fs::remove_file(etc.join("passwd")).expect("removed");
    symlink("/../../../../var/lib/theirs", etc.join("passwd")).expect("linked");
    std::fs::write(host.lab.path("/var/lib/theirs"), "root:x:0:0::/:/bin/sh\n").expect("written");
    host.run(&["--network", "none", "-u", "root"], &["true"])
        .refused(125, "there is no user");
}

#[test]
fn folder_entrypoint_name_and_read_only_root() {
    let host = Host::new();
    assert_eq!(with(&host, &["-w", "/tmp"], "pwd"), "/tmp\n");
    assert_eq!(
        with(
            &host,
            &["--hostname", "box"],
            "cat /proc/sys/kernel/hostname /etc/hostname"
        ),
        "box\nbox\n"
    );
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "echo",
        ROOTFS,
        "a",
        "b",
    ];
    assert_eq!(host.wharf(&words).ok(), "a b\n");
    let tried = host.run(&["--network", "none", "--read-only"], &["touch", "/tmp/x"]);
    assert!(tried.stderr.contains("Read-only file system"), "{tried:?}");
    with(
        &host,
        &["--read-only", "--tmpfs", "/tmp:size=64k"],
        "touch /tmp/x; ! dd if=/dev/zero of=/tmp/y bs=1024 count=99 2>/dev/null",
    );
}

#[test]
fn folders_and_files_of_the_hosts_are_mounted_and_held_read_only() {
    let host = Host::new();
    let dir = host.lab.path("/var/lib/shared");
    std::fs::create_dir_all(dir.join("below")).expect("made");
    std::fs::write(dir.join("file"), "text\n").expect("written");
    let both = [
        "-v",
        "/var/lib/shared:/s",
        "-v",
        "/var/lib/shared/file:/etc/one:ro",
    ];
    assert_eq!(
        with(
            &host,
            &both,
            "cat /etc/one; echo more > /s/new; ! echo x > /etc/one 2>/dev/null"
        ),
        "text\n"
    );
    assert_eq!(
        std::fs::read_to_string(dir.join("new")).expect("written"),
        "more\n"
    );
    for option in ["/var/lib/shared:/s:ro", "/var/lib/shared:/s:rro"] {
        with(
            &host,
            &["-v", option],
            "cat /s/file; ! touch /s/x 2>/dev/null",
        );
    }
    let mount = "type=bind,source=/var/lib/shared,target=/deep/er,readonly";
    with(
        &host,
        &["--mount", mount],
        "cat /deep/er/file; ! touch /deep/er/x 2>/dev/null",
    );
    host.run(
        &[
            "--network",
            "none",
            "--mount",
            "type=bind,source=/nowhere,target=/x",
        ],
        &["true"],
    )
    .refused(125, "find what to mount /nowhere");
}

#[test]
fn volumes_outlive_their_containers_and_unnamed_ones_do_not() {
    let host = Host::new();
    with(&host, &["-v", "data:/data"], "echo kept > /data/file");
    assert_eq!(
        with(&host, &["-v", "data:/data"], "cat /data/file"),
        "kept\n"
    );
    with(&host, &["-v", "/scratch"], "touch /scratch/x");
    assert_eq!(
        host.wharf(&["volume", "ls", "--json"])
            .json()
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    host.leave(
        "c",
        &["--network", "none", "-v", "data:/data", "-v", "/own"],
        &["sleep", "1000"],
    );
    host.wharf(&["volume", "rm", "data"])
        .refused(1, "is used by c");
    assert_eq!(
        with(
            &host,
            &["--volumes-from", "c:ro"],
            "cat /data/file; ! touch /data/x 2>/dev/null"
        ),
        "kept\n"
    );
    host.wharf(&["rm", "-f", "-v", "c"]).ok();
    host.wharf(&["uninstall"]).refused(1, "volume data");
    host.wharf(&["volume", "rm", "data"]).ok();
    assert_eq!(
        host.wharf(&["volume", "ls", "--json"])
            .json()
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn capabilities_are_added_and_taken_away() {
    let host = Host::new();
    let mask = |options: &[&str]| {
        let said = with(&host, options, "grep ^CapEff /proc/self/status");
        let digits = said.trim().rsplit('\t').next().expect("a mask").to_owned();
        u64::from_str_radix(&digits, 16).expect("a mask")
    };
    let plain = mask(&[]);
    assert_eq!(mask(&["--cap-drop", "ALL"]), 0);
    assert_eq!(mask(&["--cap-drop", "ALL", "--cap-add", "CHOWN"]), 1);
    assert_eq!(mask(&["--cap-drop", "chown"]), plain & !1);
    assert_eq!(mask(&["--cap-add", "SYS_PTRACE"]), plain | 1 << 19);
    host.run(&["--network", "none", "--cap-add", "FLYING"], &["true"])
        .refused(125, "is not a capability");
}

#[test]
fn a_device_is_there_and_no_other() {
    let host = Host::new();
    let said = with(
        &host,
        &["--device", "/dev/null:/dev/nothing:r"],
        "cat /dev/nothing; ls -l /dev/nothing",
    );
    assert!(said.contains("1,") && said.contains("3"), "{said}");
    host.run(&["--network", "none", "--device", "/etc/passwd"], &["true"])
        .refused(125, "is not a device");
}

#[test]
fn labels_filter_the_list_and_formats_fill_it() {
    let host = Host::new();
    host.leave(
        "a",
        &["--network", "none", "-l", "tier=web"],
        &["sleep", "1000"],
    );
    host.leave(
        "b",
        &["--network", "none", "-l", "tier=db"],
        &["sleep", "1000"],
    );
    let names = |filter: &str| {
        host.wharf(&[
            "ps",
            "--filter",
            filter,
            "--format",
            "{{.Names}} {{.State}}",
        ])
        .ok()
    };
    assert_eq!(names("label=tier=web"), "a running\n");
    assert_eq!(names("label=tier").lines().count(), 2);
    assert_eq!(names("name=b"), "b running\n");
    let label = host
        .wharf(&["inspect", "-f", "{{.config.labels.tier}}", "b"])
        .ok();
    assert_eq!(label, "db\n");
    host.wharf(&["ps", "--filter", "colour=red"])
        .refused(1, "is none of the filters");
}
