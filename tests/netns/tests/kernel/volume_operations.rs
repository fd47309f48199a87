//! Operations on volumes that Docker's protocol lacks, on a real kernel: snapshots, clones, growth, names, archives, prune.

use std::fs;

use serde_json::{Value, json};

use crate::volume_host::{Host, ROOT, each_kind};

/// XFS shares what a snapshot has: then a loop device over the image may want larger blocks than the file system in it.
#[test]
fn an_image_on_xfs_can_be_mounted_after_a_snapshot() {
    let host = Host::on("xfs");
    host.create("data", &json!({"type": "loop", "size": "64M"}));
    let place = host.mount("data", "a");
    fs::write(place.join("f"), "first").expect("written");
    host.unmount("data", "a");
    host.work("Snapshot", &json!({"name": "data", "snapshot": "s1"}))
        .expect("a snapshot");
    let place = host.mount("data", "a");
    assert_eq!(fs::read_to_string(place.join("f")).expect("read"), "first");
    host.unmount("data", "a");
}

#[test]
fn snapshots_roll_back_and_clones_are_apart() {
    each_kind(|host, options| {
        host.create("data", options);
        let place = host.mount("data", "a");
        fs::write(place.join("f"), "first").expect("written");
        host.unmount("data", "a");
        host.work("Snapshot", &json!({"name": "data", "snapshot": "s1"}))
            .expect("a snapshot");
        let told = host
            .work("Snapshot", &json!({"name": "data", "snapshot": "s1"}))
            .expect_err("refused");
        assert!(told.contains("taken"), "{told}");
        host.work("Clone", &json!({"name": "data", "new": "copy"}))
            .expect("a clone");
        let place = host.mount("data", "a");
        fs::write(place.join("f"), "second").expect("written");
        let told = host
            .work("Rollback", &json!({"name": "data", "snapshot": "s1"}))
            .expect_err("refused");
        assert!(told.contains("in use"), "{told}");
        // Both at once, of one origin.
        let copy = host.mount("copy", "a");
        assert_eq!(fs::read_to_string(copy.join("f")).expect("read"), "first");
        fs::write(copy.join("f"), "other").expect("written");
        host.unmount("data", "a");
        host.work("Rollback", &json!({"name": "data", "snapshot": "s1"}))
            .expect("rolled back");
        let place = host.mount("data", "a");
        assert_eq!(fs::read_to_string(place.join("f")).expect("read"), "first");
        assert_eq!(fs::read_to_string(copy.join("f")).expect("read"), "other");
        host.unmount("data", "a");
        host.unmount("copy", "a");
        host.work("Clone", &json!({"name": "data@s1", "new": "again"}))
            .expect("a clone");
        assert_eq!(host.describe("data")["snapshots"][0]["name"], "s1");
        host.ask("RemoveSnapshot", &json!({"name": "data", "snapshot": "s1"}));
        assert_eq!(host.describe("data")["snapshots"], json!([]));
        for name in ["data", "copy", "again"] {
            host.server
                .call("/VolumeDriver.Remove", &json!({"Name": name}));
        }
        assert_eq!(host.lab.exec(&["find", ROOT, "-mindepth", "2"]), "");
    });
}

#[test]
fn a_volume_in_use_is_copied_as_of_one_moment_or_not_at_all() {
    each_kind(|host, options| {
        host.create("data", options);
        let place = host.mount("data", "a");
        fs::write(place.join("f"), "text").expect("written");
        let copied = host.work("Snapshot", &json!({"name": "data", "snapshot": "s1"}));
        match options.get("size") {
            Some(_) => drop(copied.expect("a snapshot")),
            None => {
                let told = copied.expect_err("refused");
                assert!(told.contains("one by one"), "{told}");
                host.work(
                    "Snapshot",
                    &json!({"name": "data", "snapshot": "s1", "live": true}),
                )
                .expect("asked for");
            }
        }
        // Not frozen any more.
        fs::write(place.join("g"), "more").expect("written");
        host.unmount("data", "a");
    });
}

#[test]
fn volumes_grow_and_never_shrink() {
    for (root, fs_kind, options, in_use) in [
        ("btrfs", "", r#"{"size": "64M"}"#, true),
        ("", "ext4", r#"{"size": "64M"}"#, false),
        ("", "xfs", r#"{"size": "320M", "fs": "xfs"}"#, true),
        ("", "btrfs", r#"{"size": "300M", "fs": "btrfs"}"#, true),
    ] {
        let host = Host::on(root);
        let options: Value = serde_json::from_str(options).expect("options");
        host.create("data", &options);
        let told = host.server.refused(
            "/Wharfline.Volume.Resize",
            &json!({"name": "data", "size": "1M"}),
        );
        assert!(told.contains("only grow"), "{told}");
        if in_use {
            host.mount("data", "a");
        }
        host.ask("Resize", &json!({"name": "data", "size": "600M"}));
        let (told, used) = host.fill("data");
        assert!(used > 400 << 20, "{fs_kind}: {told} at {used}");
        if in_use {
            host.unmount("data", "a");
        }
        // A release that starts anew knows it, too.
        assert_eq!(
            host.server
                .call("/VolumeDriver.Get", &json!({"Name": "data"}))["Volume"]["Status"]["size"],
            600 << 20
        );
    }
}

#[test]
fn a_renamed_volume_has_its_files_and_an_exported_one_comes_back() {
    let host = Host::new();
    host.create("old", &json!({"size": "32M", "label.a": "b"}));
    let place = host.mount("old", "a");
    fs::write(place.join("f"), "text").expect("written");
    let body = json!({"name": "old", "new": "new1"});
    let told = host.server.refused("/Wharfline.Volume.Rename", &body);
    assert!(told.contains("in use"), "{told}");
    host.unmount("old", "a");
    host.create("taken", &json!({}));
    let told = host.server.refused(
        "/Wharfline.Volume.Rename",
        &json!({"name": "old", "new": "taken"}),
    );
    assert!(told.contains("taken"), "{told}");
    host.ask("Rename", &body);
    host.server
        .refused("/VolumeDriver.Get", &json!({"Name": "old"}));
    assert_eq!(host.describe("new1")["labels"], json!({"a": "b"}));
    host.work("Export", &json!({"name": "new1", "path": "/run/out.tar"}))
        .expect("exported");
    assert!(host.lab.exec(&["tar", "tf", "/run/out.tar"]).contains('f'));
    host.work(
        "Import",
        &json!({"name": "back", "path": "/run/out.tar", "options": {"size": "40M"}}),
    )
    .expect("imported");
    let place = host.mount("back", "a");
    assert_eq!(fs::read_to_string(place.join("f")).expect("read"), "text");
    host.unmount("back", "a");
    // What cannot be read makes no volume.
    fs::write(host.lab.path("/run/broken.tar"), vec![7; 4096]).expect("written");
    let told = host
        .work(
            "Import",
            &json!({"name": "none", "path": "/run/broken.tar"}),
        )
        .expect_err("refused");
    assert!(told.contains("archive"), "{told}");
    host.server
        .refused("/VolumeDriver.Get", &json!({"Name": "none"}));
    assert_eq!(host.mounts(), [""; 0]);
}

#[test]
fn prune_takes_what_nobody_uses_and_the_filters_say() {
    let host = Host::new();
    for (name, options) in [
        ("keep", json!({"label.keep": "yes"})),
        ("temp1", json!({"label.kind": "temp"})),
        ("temp2", json!({"label.kind": "temp"})),
        ("image", json!({"size": "32M"})),
    ] {
        host.create(name, &options);
    }
    host.mount("temp2", "a");
    let prune = |body: Value| host.ask("Prune", &body)["volumes"].clone();
    assert_eq!(
        prune(json!({"filters": ["label=kind=temp"], "dry_run": true})),
        json!(["temp1"])
    );
    assert_eq!(
        prune(json!({"filters": ["label=kind=temp"]})),
        json!(["temp1"])
    );
    assert_eq!(prune(json!({"filters": ["until=1h"]})), json!([]));
    assert_eq!(
        prune(json!({"filters": ["backend=loop"]})),
        json!(["image"])
    );
    assert_eq!(prune(json!({"filters": ["label!=keep"]})), json!([]));
    host.unmount("temp2", "a");
    assert_eq!(prune(json!({"filters": ["label!=keep"]})), json!(["temp2"]));
    let told = host.server.refused(
        "/Wharfline.Volume.Prune",
        &json!({"filters": ["colour=red"]}),
    );
    assert!(told.contains("colour"), "{told}");
}
