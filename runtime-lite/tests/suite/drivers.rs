//! Volumes that drivers keep, by Docker's protocol: what a driver is asked, what it counts, and how it may fail.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wharfline_testkit::wait_for;

use crate::crash::{kill_hard, shim_of};
use crate::images::import;
use crate::keeper::Keeper;
use crate::support::{Answer, Host, ROOTFS};

const NONE: [&str; 2] = ["--network", "none"];

/// `wharf` that waits a second for a driver.
fn hurried(host: &Host, words: &[&str]) -> Answer {
    let mut command = host.command(words);
    command.env("WHARF_DRIVER_TIMEOUT", "1");
    let output = host.lab.run_command(command, b"");
    Answer {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: output.stderr,
    }
}

fn run(host: &Host, options: &[&str], script: &str) -> Answer {
    host.run(&[&NONE, options].concat(), &["sh", "-c", script])
}

#[test]
fn a_driver_is_asked_as_dockerd_asks_it() {
    let host = Host::new();
    let keeper = Keeper::named(&host, "keep");
    run(
        &host,
        &["--volume-driver", "keep", "-v", "one:/v"],
        "echo x > /v/file",
    )
    .ok();
    assert_eq!(keeper.calls(), ["Activate", "Create", "Mount", "Unmount"]);
    assert_eq!(keeper.volumes()["one"].options, Value::Null);
    assert_eq!(
        fs::read_to_string(keeper.folder("one").join("file")).expect("read"),
        "x\n"
    );
    // It is known by now: neither activated again nor made again, and found without being named.
    let said = run(
        &host,
        &["-v", "one:/v", "-v", "one:/again:ro"],
        "cat /v/file /again/file; ! touch /again/y 2>/dev/null",
    );
    assert_eq!(said.ok(), "x\nx\n");
    assert_eq!(keeper.calls(), ["Mount", "Unmount"]);
    let mount = "type=volume,src=two,dst=/v,volume-driver=keep,volume-opt=size=5,volume-opt=a=b=c";
    run(&host, &["--mount", mount], "true").ok();
    assert_eq!(
        keeper.volumes()["two"].options,
        json!({"size": "5", "a": "b=c"})
    );
    host.wharf(&["volume", "create", "-d", "keep", "-o", "x=y", "three"])
        .ok();
    assert_eq!(keeper.volumes()["three"].options, json!({"x": "y"}));
    let listed = host.wharf(&["volume", "ls"]).ok();
    assert_eq!(
        listed,
        "VOLUME  DRIVER  CONTAINERS\none     keep    \nthree   keep    \ntwo     keep    \n"
            .replace("    \n", "\n")
    );
    assert_eq!(
        host.wharf(&["volume", "ls", "-d", "keep", "--json"])
            .json()
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    let about = host.wharf(&["volume", "inspect", "three"]).json()[0].clone();
    assert_eq!(
        (&about["path"], &about["status"]["kept"]),
        (&json!("/var/lib/rootfs/keeper/three"), &json!(true))
    );
    host.wharf(&["volume", "rm", "one", "two", "three"]).ok();
    assert!(keeper.volumes().is_empty());
    assert!(!keeper.folder("one").exists());
}

#[test]
fn mounts_are_counted_by_container_until_each_has_ended() {
    let host = Host::new();
    let keeper = Keeper::named(&host, "keep");
    let options = [
        "--network",
        "none",
        "--volume-driver",
        "keep",
        "-v",
        "v:/v",
        "-v",
        "v:/w",
    ];
    let mut ids: Vec<String> = ["a", "b", "c"]
        .map(|name| host.leave(name, &options, &["sleep", "1000"]))
        .to_vec();
    ids.sort();
    assert_eq!(
        keeper.volumes()["v"]
            .ids
            .iter()
            .cloned()
            .collect::<Vec<_>>(),
        ids
    );
    host.wharf(&["volume", "rm", "v"])
        .refused(1, "volume v is used by");
    host.wharf(&["stop", "-t", "0", "a"]).ok();
    assert_eq!(keeper.mounted(), 2);
    host.wharf(&["start", "a"]).ok();
    assert_eq!(keeper.mounted(), 3);
    host.wharf(&["stop", "-t", "0", "a"]).ok();
    // One whose shim is killed is put away by gc, and one by rm.
    kill_hard(shim_of(&host, "b"));
    host.await_state("b", "dead");
    assert_eq!(keeper.mounted(), 2);
    // A second one may find what the first could not: a process that was just dying.
    wait_for("gc to put b away", Duration::from_secs(10), || {
        let collected = host.wharf(&["gc"]);
        match collected.code {
            Some(0) => Ok(()),
            _ => Err(format!("{collected:?}")),
        }
    });
    assert_eq!(keeper.mounted(), 1);
    host.wharf(&["rm", "-f", "c"]).ok();
    assert_eq!(keeper.mounted(), 0);
    host.wharf(&["rm", "a", "b"]).ok();
    host.wharf(&["volume", "rm", "v"]).ok();
}

#[test]
fn a_restart_by_policy_keeps_the_mount() {
    let host = Host::new();
    let keeper = Keeper::named(&host, "keep");
    let options = [
        "--network",
        "none",
        "--volume-driver",
        "keep",
        "-v",
        "v:/v",
        "--restart",
        "on-failure:2",
    ];
    host.leave("c", &options, &["sh", "-c", "echo x >> /v/runs; false"]);
    host.await_state("c", "exited");
    assert_eq!(
        fs::read_to_string(keeper.folder("v").join("runs")).expect("read"),
        "x\nx\nx\n"
    );
    assert_eq!(keeper.calls(), ["Activate", "Create", "Mount", "Unmount"]);
}

#[test]
fn unnamed_volumes_go_with_their_container_and_new_ones_begin_with_the_images_data() {
    let host = Host::new();
    let keeper = Keeper::named(&host, "keep");
    import(&host, "db", json!({"Volumes": {"/data": {}}}));
    let run = |options: &[&str], script: &str| {
        let words = [
            &["run", "--rm"],
            &NONE[..],
            options,
            &["db", "sh", "-c", script],
        ]
        .concat();
        let mut command = host.command(&words);
        command.env("WHARF_VOLUME_DRIVER", "keep");
        let output = host.lab.run_command(command, b"");
        assert!(output.succeeded(), "{output}");
        output.stdout
    };
    assert_eq!(
        run(&[], "cat /data/file; stat -c %u:%g:%a /data"),
        "from the image\n33:34:2750\n"
    );
    assert_eq!(
        keeper.calls(),
        ["Activate", "Create", "Mount", "Unmount", "Remove"]
    );
    assert_eq!(run(&["-v", "v:/data"], "echo mine > /data/file"), "");
    assert_eq!(run(&["-v", "v:/data"], "cat /data/file"), "mine\n");
    assert_eq!(
        run(
            &["-v", "local:/data", "--volume-driver", "local"],
            "ls /data"
        ),
        "file\nlink\nsub\n"
    );
    assert_eq!(keeper.volumes().keys().collect::<Vec<_>>(), ["v"]);
}

#[test]
fn a_driver_is_found_where_docker_looks() {
    let host = Host::new();
    let write = |path: &str, text: &str| {
        let path = host.lab.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("written");
    };
    let _below = Keeper::at(&host, "/run/docker/plugins/below/below.sock");
    let _elsewhere = Keeper::at(&host, "/var/lib/rootfs/elsewhere.sock");
    // A private /etc that begins as the machine's.
    let make = "mkdir -p /run/etc/up /run/etc/work && \
        mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/up,workdir=/run/etc/work none /etc";
    host.lab.exec(&["sh", "-c", make]);
    write(
        "/etc/docker/plugins/spec.spec",
        "unix:///var/lib/rootfs/elsewhere.sock\n",
    );
    write(
        "/etc/docker/plugins/in/in.json",
        r#"{"Name": "in", "Addr": "unix:///var/lib/rootfs/elsewhere.sock"}"#,
    );
    write(
        "/etc/docker/plugins/tls.json",
        r#"{"Addr": "tcp://localhost:1", "TLSConfig": {"CAFile": "/x"}}"#,
    );
    write("/etc/docker/plugins/port.spec", "tcp://127.0.0.1:4711");
    write("/run/docker/plugins/by-name.sock", "no socket");
    let uses = |name: &str| {
        run(
            &host,
            &[
                "--volume-driver",
                name,
                "-v",
                &format!("{name}:/v"),
                "-v",
                "/x",
            ],
            "true",
        )
    };
    for name in ["below", "spec", "in"] {
        uses(name).ok();
    }
    uses("tls").refused(125, "has a TLSConfig");
    uses("port").refused(125, "Connection refused");
    uses("by-name").refused(125, "there is no volume driver by-name");
    uses("../below").refused(125, "../below");
}

#[test]
fn what_a_driver_refuses_is_told_in_its_words_and_nothing_is_left() {
    let host = Host::new();
    let keeper = Keeper::named(&host, "keep");
    let before = {
        run(&host, &["--volume-driver", "keep", "-v", "v:/v"], "true").ok();
        host.world()
    };
    for (method, doing) in [("Create", "make it"), ("Mount", "mount it")] {
        keeper.refuse(method, Some("the disk is full"));
        let options = ["--volume-driver", "keep", "-v", "new:/v"];
        let says = format!("volume new: driver keep: {doing}: the disk is full");
        run(&host, &options, "true").refused(125, &says);
        keeper.refuse(method, None);
        assert_eq!(keeper.mounted(), 0);
        host.wharf(&["volume", "rm", "new"]);
        before.returns("a refusal to leave nothing", || host.world());
    }
    keeper.refuse("Remove", Some("not today"));
    host.wharf(&["volume", "rm", "v"])
        .refused(1, "volume v: driver keep: remove it: not today");
    let conflict = run(&host, &["--volume-driver", "local", "-v", "v:/v"], "true");
    conflict.refused(125, "volume v is kept by driver keep, not by local");
    run(&host, &["--volume-driver", "nobody", "-v", "x:/v"], "true")
        .refused(125, "there is no volume driver nobody");
    run(&host, &["--mount", "src=x,dst=/v,volume-opt=a=b"], "true")
        .refused(125, "options are for a driver");
}

#[test]
fn a_driver_that_is_dead_or_hangs_is_told_of_in_time() {
    let host = Host::new();
    let mut keeper = Keeper::named(&host, "keep");
    let with = [
        &["run", "--rm"],
        &NONE[..],
        &["--volume-driver", "keep", "-v", "v:/v", ROOTFS, "true"],
    ]
    .concat();
    keeper.hang("Activate", true);
    let began = Instant::now();
    hurried(&host, &with).refused(
        125,
        "driver keep: activate it: /run/docker/plugins/keep.sock gave no answer in time",
    );
    keeper.hang("Activate", false);
    keeper.hang("Mount", true);
    hurried(&host, &with).refused(
        125,
        "volume v: driver keep: mount it: /run/docker/plugins/keep.sock gave no answer in time",
    );
    keeper.hang("Mount", false);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    keeper.die();
    hurried(&host, &with).refused(125, "Connection refused");
    keeper.revive();
    host.wharf(&with).ok();
    wait_for(
        "late mounts to be forgotten",
        Duration::from_secs(5),
        || match keeper.mounted() {
            0 => Ok(()),
            left => Err(left.to_string()),
        },
    );
}

#[test]
fn a_driver_that_dies_with_a_container_running_holds_nobody_up() {
    let host = Host::new();
    let mut keeper = Keeper::named(&host, "keep");
    let start = |name: &str| {
        let words = [
            &["run", "-d", "--name", name],
            &NONE[..],
            &[
                "--volume-driver",
                "keep",
                "-v",
                "v:/v",
                ROOTFS,
                "sleep",
                "1000",
            ],
        ];
        hurried(&host, &words.concat()).ok();
    };
    start("a");
    start("b");
    keeper.die();
    hurried(&host, &["stop", "-t", "0", "a"]);
    host.await_state("a", "dead");
    let failed = hurried(&host, &["gc"]);
    assert!(
        failed.stderr.contains("volume v: driver keep: unmount it")
            || failed.stderr.contains("driver keep: activate it"),
        "{failed:?}"
    );
    let forced = hurried(&host, &["rm", "-f", "b"]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    assert!(forced.stderr.contains("driver keep"), "{forced:?}");
    // It comes back as a new socket, is activated, and knows of no mount: gc is content.
    keeper.revive();
    hurried(&host, &["gc"]);
    hurried(&host, &["rm", "-f", "a"]).ok();
    assert_eq!(keeper.mounted(), 0);
    assert!(host.container("a").is_none() && host.container("b").is_none());
}
