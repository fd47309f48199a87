//! Docker's volume protocol on a real kernel, call by call, and the operations that it lacks: limits bind, what is in use
//! is kept, and nothing stays mounted.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_netns_tests::docker::Server;
use wharfline_testkit::{Lab, wait_for};

use crate::volume_host::{Host, KINDS, ROOT, each_kind, write_until_refused};

#[test]
fn a_volume_is_made_mounted_counted_and_removed() {
    each_kind(|host, options| {
        host.create("data", options);
        // The same again is success, others are refused.
        host.create("data", options);
        let other = json!({"Name": "data", "Opts": {"size": "65M", "type": "loop"}});
        let told = host.server.refused("/VolumeDriver.Create", &other);
        assert!(told.contains("data") && told.contains("differs"), "{told}");
        let place = host.mount("data", "one");
        assert_eq!(
            fs::read_dir(&place).expect("a folder").count(),
            0,
            "{options}"
        );
        // docker cp on a running container repeats its identifier.
        host.mount("data", "one");
        host.mount("data", "two");
        fs::write(place.join("file"), "kept").expect("written");
        host.unmount("data", "one");
        host.unmount("data", "two");
        assert_eq!(
            fs::read_to_string(place.join("file")).expect("still there"),
            "kept"
        );
        let told = host
            .server
            .refused("/VolumeDriver.Remove", &json!({"Name": "data"}));
        assert!(told.contains("in use by one"), "{told}");
        host.unmount("data", "one");
        // Whoever has nothing gives back nothing.
        host.unmount("data", "one");
        assert_eq!(host.mounts(), [""; 0]);
        let place = host.mount("data", "three");
        assert_eq!(
            fs::read_to_string(place.join("file")).expect("kept"),
            "kept"
        );
        host.unmount("data", "three");
        for _ in 0..2 {
            host.server
                .call("/VolumeDriver.Remove", &json!({"Name": "data"}));
        }
        host.server
            .refused("/VolumeDriver.Get", &json!({"Name": "data"}));
        let left = host.lab.exec(&["find", ROOT, "-mindepth", "2"]);
        assert_eq!(left, "", "{options}");
    });
}

#[test]
fn a_writer_is_refused_at_its_size_and_neighbours_do_not_notice() {
    for (kind, root, options) in KINDS.into_iter().filter(|(kind, ..)| *kind != "directory") {
        let host = Host::on(root);
        let options: Value = serde_json::from_str(options).expect("options");
        let text = options["size"].as_str().expect("a size");
        let size: u64 = text.trim_end_matches('M').parse::<u64>().expect("a number") << 20;
        host.create("full", &options);
        host.create("beside", &options);
        let beside = host.mount("beside", "neighbour");
        let place = host.mount("full", "keeps it");
        let (told, used) = host.fill("full");
        assert!(
            told.contains("No space left") || told.contains("quota exceeded"),
            "{kind}: {told}"
        );
        assert!(
            used <= size && used > size / 2,
            "{kind} {options}: {used} of {size}"
        );
        fs::write(beside.join("fine"), vec![1; 8 << 20]).expect("the neighbour writes");
        drop(place);
        let usage = &host.describe("beside")["usage"];
        assert!(
            usage["free_bytes"].as_u64().expect("free") < size,
            "{usage}"
        );
        host.unmount("full", "keeps it");
        host.unmount("beside", "neighbour");
    }
}

#[test]
fn inodes_and_memory_are_limited_too() {
    let host = Host::new();
    host.create("few", &json!({"size": "64M", "inodes": "64"}));
    let place = host.mount("few", "a");
    let made = (0..1000)
        .take_while(|n| fs::write(place.join(n.to_string()), "").is_ok())
        .count();
    assert!(made <= 128, "{made} files");
    host.create(
        "memory",
        &json!({"type": "tmpfs", "size": "1M", "uid": "5", "mode": "0700"}),
    );
    let place = host.mount("memory", "a");
    let about = fs::metadata(&place).expect("there");
    assert_eq!((about.uid(), about.mode() & 0o7777), (5, 0o700));
    let told = write_until_refused(&place.join("f"));
    assert!(told.contains("No space left"), "{told}");
    host.unmount("memory", "a");
    host.unmount("few", "a");
    assert_eq!(host.mounts(), [""; 0]);
}

#[test]
fn the_top_folder_gets_its_owner_mode_and_label() {
    let host = Host::new();
    for (name, size) in [("folder", None), ("image", Some("32M"))] {
        let mut options = json!({"uid": "1000", "gid": "2000", "mode": "2770", "selinux": "system_u:object_r:container_file_t:s0"});
        if let Some(size) = size {
            options["size"] = json!(size);
        }
        host.create(name, &options);
        let place = host.mount(name, "a");
        let about = fs::metadata(&place).expect("there");
        assert_eq!(
            (about.uid(), about.gid(), about.mode() & 0o7777),
            (1000, 2000, 0o2770),
            "{name}"
        );
        let inside = format!("{ROOT}/volumes/{name}/data");
        let script = "import os,sys; print(os.getxattr(sys.argv[1], 'security.selinux').decode())";
        let label = host.lab.exec(&["python3", "-c", script, &inside]);
        assert!(label.contains("container_file_t"), "{label}");
        host.unmount(name, "a");
    }
}

#[test]
fn read_only_and_single_writer_volumes_keep_their_word() {
    let host = Host::new();
    for (name, options) in [
        ("folder", json!({"ro": "true"})),
        ("image", json!({"ro": "true", "size": "32M"})),
        ("memory", json!({"ro": "true", "type": "tmpfs"})),
    ] {
        host.create(name, &options);
        let place = host.mount(name, "a");
        let told = fs::write(place.join("f"), "")
            .expect_err("refused")
            .to_string();
        assert!(told.contains("Read-only"), "{name}: {told}");
        host.unmount(name, "a");
    }
    host.create("mine", &json!({"access": "single-writer"}));
    host.mount("mine", "a");
    host.mount("mine", "a");
    let told = host
        .server
        .refused("/VolumeDriver.Mount", &json!({"Name": "mine", "ID": "b"}));
    assert!(told.contains("in use by a"), "{told}");
    host.unmount("mine", "a");
    host.unmount("mine", "a");
    host.mount("mine", "b");
    host.unmount("mine", "b");
    assert_eq!(host.mounts(), [""; 0]);
}

#[test]
fn an_adopted_folder_is_never_deleted_nor_reached_by_a_symlink() {
    let host = Host::new();
    let own = host.lab.path("/run/own");
    fs::create_dir(&own).expect("folder");
    fs::write(own.join("precious"), "x").expect("written");
    host.create("own", &json!({"mountpoint": "/run/own"}));
    let place = host.mount("own", "a");
    assert!(place.join("precious").exists());
    host.unmount("own", "a");
    host.server
        .call("/VolumeDriver.Remove", &json!({"Name": "own"}));
    assert!(own.join("precious").exists());
    symlink("/etc", host.lab.path("/run/link")).expect("symlink");
    for path in ["/run/link", "/run/link/ssl", "/run/nothing"] {
        let asked = json!({"Name": "link", "Opts": {"mountpoint": path}});
        let told = host.server.refused("/VolumeDriver.Create", &asked);
        assert!(told.contains(path), "{told}");
    }
    // Exchanged for a symlink after it was adopted.
    host.create("own", &json!({"mountpoint": "/run/own"}));
    fs::rename(&own, host.lab.path("/run/elsewhere")).expect("renamed");
    symlink("/etc", &own).expect("symlink");
    let told = host
        .server
        .refused("/VolumeDriver.Mount", &json!({"Name": "own", "ID": "a"}));
    assert!(told.contains("ELOOP"), "{told}");
    assert_eq!(host.mounts(), [""; 0]);
}

#[test]
fn names_that_are_none_are_refused_clearly() {
    let host = Host::new();
    let long = "n".repeat(300);
    for (name, word) in [
        ("", "empty"),
        ("a", "two characters"),
        ("..", "begin"),
        ("a/b", "'_'"),
        ("../../etc", "begin"),
        ("nul\0", "'_'"),
        ("größe", "ASCII"),
        (&long, "255"),
    ] {
        for path in ["Create", "Get", "Path", "Remove"] {
            let told = host
                .server
                .refused(&format!("/VolumeDriver.{path}"), &json!({"Name": name}));
            assert!(
                told.contains(word) && told.contains("volume name"),
                "{name}: {told}"
            );
        }
    }
    let told = host.server.refused(
        "/VolumeDriver.Create",
        &json!({"Name": "xx", "Opts": {"colour": "red"}}),
    );
    assert!(told.contains("colour"), "{told}");
}

#[test]
fn a_killed_server_knows_who_holds_what_and_what_is_mounted() {
    let mut host = Host::new();
    host.create("image", &json!({"size": "32M"}));
    host.create("idle", &json!({"size": "32M"}));
    let place = host.mount("image", "one");
    host.mount("image", "two");
    host.mount("idle", "one");
    fs::write(place.join("f"), "x").expect("written");
    host.kill();
    host.restart();
    assert_eq!(
        fs::read_to_string(place.join("f")).expect("still mounted"),
        "x"
    );
    host.unmount("image", "one");
    let still = format!("{ROOT}/volumes/image/data");
    assert!(host.mounts().contains(&still), "{:?}", host.mounts());
    host.unmount("image", "two");
    wait_for(
        "nothing to be mounted of the image",
        Duration::from_secs(10),
        || {
            let left = host.mounts();
            left.iter()
                .all(|place| !place.contains("/image/"))
                .then_some(())
                .ok_or(format!("{left:?}"))
        },
    );
    host.unmount("idle", "one");
    wait_for("nothing to be mounted", Duration::from_secs(10), || {
        let left = host.mounts();
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
}

#[test]
fn a_volume_that_a_process_still_has_is_not_removed() {
    for options in [json!({}), json!({"size": "32M"})] {
        let mut host = Host::new();
        host.create("data", &options);
        let place = host.mount("data", "container");
        fs::write(place.join("f"), "x").expect("written");
        // A container of which no plugin knows any more: its namespace alone has the volume.
        let script = format!(
            "mkdir -p /run/c; mount --bind {ROOT}/volumes/data/data /run/c; touch /run/ready; exec sleep 600"
        );
        let mut command = host.lab.command("unshare");
        command.args(["-m", "sh", "-ec", &script]);
        let container = wharfline_testkit::Process::start(command);
        let ready = host.lab.path("/run/ready");
        wait_for("the container", Duration::from_secs(5), || {
            ready.exists().then_some(()).ok_or("not there".to_owned())
        });
        host.kill();
        host.lab.exec(&["rm", "-rf", "/run/wharfline"]);
        // Somebody unmounted it by hand, where it is mounted at all.
        host.lab
            .try_exec(&["umount", &format!("{ROOT}/volumes/data/data")], "");
        host.restart();
        for operation in ["/VolumeDriver.Remove", "/Wharfline.Volume.Rename"] {
            let body = json!({"Name": "data", "name": "data", "new": "other"});
            let told = host.server.refused(operation, &body);
            assert!(told.contains("in use"), "{told}");
        }
        let pruned = host.ask("Prune", &json!({}));
        assert_eq!(pruned["volumes"], json!([]));
        drop(container);
        wait_for("the volume to be free", Duration::from_secs(5), || {
            let answer = host
                .server
                .post("/VolumeDriver.Remove", r#"{"Name":"data"}"#);
            (answer.status == 200)
                .then_some(())
                .ok_or(answer.body.to_string())
        });
    }
}

#[test]
fn a_full_disk_and_a_read_only_root_leave_nothing_half() {
    let lab = Lab::new();
    lab.mount_small(ROOT, 8 << 20);
    let server = Server::start_with(&lab, "volume-local", &["--root", ROOT]);
    let host = Host { lab, server };
    host.create("data", &json!({}));
    let place = host.mount("data", "a");
    write_until_refused(&place.join("filler"));
    host.unmount("data", "a");
    let told = host
        .work("Clone", &json!({"name": "data", "new": "copy"}))
        .expect_err("refused");
    assert!(
        told.contains("No space") || told.contains("no space"),
        "{told}"
    );
    host.server
        .refused("/VolumeDriver.Get", &json!({"Name": "copy"}));
    assert_eq!(
        host.lab
            .exec(&["ls", &format!("{ROOT}/staging"), &format!("{ROOT}/trash")])
            .matches('\n')
            .count(),
        3
    );
    host.lab.remount_read_only(ROOT);
    let told = host
        .server
        .refused("/VolumeDriver.Create", &json!({"Name": "more"}));
    assert!(told.to_lowercase().contains("read-only"), "{told}");
    assert_eq!(
        host.server
            .call("/VolumeDriver.Get", &json!({"Name": "data"}))["Volume"]["Name"],
        "data"
    );
}

#[test]
fn a_dead_server_of_files_costs_its_own_volume_alone() {
    let host = Host::new();
    // This kernel has no NFS: whatever its mount meets, nobody else waits for it, and no secret is told.
    host.create(
        "far",
        &json!({"type": "nfs", "device": "192.0.2.1:/x", "o": "soft"}),
    );
    host.create("share", &json!({"type": "cifs", "device": "//192.0.2.1/x", "o": "username=me", "password": "hunter2"}));
    for name in ["far", "share"] {
        let told = host
            .server
            .refused("/VolumeDriver.Mount", &json!({"Name": name, "ID": "a"}));
        assert!(
            told.contains("192.0.2.1") && !told.contains("hunter2"),
            "{told}"
        );
    }
    let shown = host.describe("share").to_string()
        + &host
            .server
            .call("/VolumeDriver.List", &json!({}))
            .to_string();
    assert!(
        shown.contains("********") && !shown.contains("hunter2"),
        "{shown}"
    );
    let log = fs::read_to_string(host.lab.path("/run/volume-local.log")).expect("a log");
    assert!(!log.contains("hunter2"), "{log}");
    host.server
        .call("/VolumeDriver.Remove", &json!({"Name": "far"}));
}

#[test]
fn every_captured_call_about_volumes_is_understood() {
    let host = Host::new();
    let transcript = include_str!("../../../../crates/docker/testdata/volume.jsonl");
    let mut made = 0;
    for line in transcript.lines() {
        let call: Value = serde_json::from_str(line).expect("a captured call");
        let path = call["path"].as_str().expect("a path");
        let mut body: Value =
            serde_json::from_str(call["body"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
        // What was for the captured plugin alone.
        if body["Opts"].is_object() {
            body["Opts"] = json!({});
        }
        // Volumes that were there before the capture began, and those that the captured plugin lost on purpose.
        if path == "/VolumeDriver.Mount" {
            host.create(body["Name"].as_str().expect("a name"), &Value::Null);
        }
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = host.server.post(path, &text);
        let told = format!("{line}\n{}", answer.body);
        let unknown = path == "/VolumeDriver.Get" && answer.status == 500;
        assert!(answer.status == 200 || unknown, "{told}");
        match path {
            "/VolumeDriver.Mount" => assert!(answer.body["Mountpoint"].is_string(), "{told}"),
            "/VolumeDriver.Capabilities" => {
                assert_eq!(answer.body["Capabilities"]["Scope"], "local", "{told}")
            }
            "/VolumeDriver.List" => assert!(answer.body["Volumes"].is_array(), "{told}"),
            _ => {}
        }
        made += 1;
    }
    assert!(made > 200, "{made}");
}

#[test]
fn a_record_that_cannot_be_read_costs_its_own_volume_alone_and_nothing_of_it() {
    let mut host = Host::new();
    host.create("fine", &json!({}));
    host.create("broken", &json!({}));
    let place = host.mount("broken", "a");
    fs::write(place.join("f"), "kept").expect("written");
    host.unmount("broken", "a");
    host.kill();
    let record = host.lab.path(format!("{ROOT}/volumes/broken/volume.json"));
    fs::write(record, "{").expect("written");
    host.restart();
    host.server
        .call("/VolumeDriver.Get", &json!({"Name": "fine"}));
    host.server
        .refused("/VolumeDriver.Get", &json!({"Name": "broken"}));
    let told = host
        .server
        .refused("/VolumeDriver.Create", &json!({"Name": "broken"}));
    assert!(told.contains("taken"), "{told}");
    assert_eq!(fs::read_to_string(place.join("f")).expect("kept"), "kept");
    let log = fs::read_to_string(host.lab.path("/run/volume-local.log")).expect("a log");
    assert!(log.contains("volume.json"), "{log}");
}

#[test]
fn what_a_container_planted_leads_nobody_out_of_the_volume() {
    each_kind(|host, options| {
        let outside = host.lab.path("/run/outside");
        fs::create_dir_all(&outside).expect("a folder");
        fs::write(outside.join("precious"), "x").expect("written");
        host.create("data", options);
        let place = host.mount("data", "a");
        symlink("/run/outside", place.join("link")).expect("symlink");
        symlink("../../../../../../run/outside/precious", place.join("up")).expect("symlink");
        host.unmount("data", "a");
        let of = json!({"name": "data", "snapshot": "s1"});
        host.work("Snapshot", &of).expect("a snapshot");
        host.work("Clone", &json!({"name": "data", "new": "copy"}))
            .expect("a clone");
        host.work("Rollback", &of).expect("rolled back");
        host.work("Export", &json!({"name": "data", "path": "/run/x.tar"}))
            .expect("exported");
        let copy = host.mount("copy", "a");
        let target = fs::read_link(copy.join("link")).expect("a symlink");
        assert_eq!(target, PathBuf::from("/run/outside"));
        host.unmount("copy", "a");
        assert!(
            !host
                .lab
                .exec(&["tar", "tf", "/run/x.tar"])
                .contains("link/")
        );
        for name in ["data", "copy"] {
            host.server
                .call("/VolumeDriver.Remove", &json!({"Name": name}));
        }
        assert!(outside.join("precious").exists());
    });
}
