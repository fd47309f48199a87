//! A disk that is pulled out, below the root, a volume or a repository: the error says so, everything else goes on, and
//! nobody waits.

use std::fs;

use serde_json::{Value, json};
use wharfline_netns_tests::docker::Server;
use wharfline_netns_tests::ours;
use wharfline_testkit::{Disk, Lab};

use crate::volume_crash_files::{SECRETS, secrets};
use crate::volume_host::{Host, ROOT};

const BYTES: u64 = 400 << 20;
/// Where a disk is mounted that is not the root's.
const DISK: &str = "/run/disk";

/// A disk with a file system, mounted in the lab.
fn mounted(lab: &Lab, kind: &str, place: &str) -> Disk {
    let disk = Disk::new(BYTES);
    let script = "at=$(losetup -f --show $2) && mkfs.$1 -q $at && losetup -d $at && mkdir -p $3 && mount -o loop $2 $3";
    lab.exec(&["sh", "-ec", script, "sh", kind, &disk.path(), place]);
    disk
}

/// Whether these are words for a disk that is gone, or for a file system that has stopped because of it: the C library's, or
/// those of our own calls.
fn tells_of_disk(told: &str) -> bool {
    let words = [
        "Input/output error",
        "Read-only file system",
        "(EIO)",
        "(EROFS)",
    ];
    words.iter().any(|word| told.contains(word))
}

fn names(host: &Host) -> Vec<String> {
    let listed = host.server.call("/VolumeDriver.List", &json!({}));
    let volumes = listed["Volumes"].as_array().expect("a list").iter();
    volumes
        .map(|volume| volume["Name"].as_str().expect("a name").to_owned())
        .collect()
}

fn root_vanishes(kind: &str, options: &Value) {
    let lab = Lab::new();
    let disk = mounted(&lab, kind, ROOT);
    let server = Server::start_with(&lab, "volume-local", &["--root", ROOT]);
    let mut host = Host { lab, server };
    fs::create_dir(host.lab.path("/run/mine")).expect("a folder");
    fs::write(host.lab.path("/run/mine/f"), "precious").expect("a file");
    host.create("data", options);
    host.create("memory", &json!({"type": "tmpfs", "size": "1M"}));
    host.create("mine", &json!({"mountpoint": "/run/mine"}));
    host.mount("data", "user");
    let (memory, mine) = (host.mount("memory", "user"), host.mount("mine", "user"));
    let before = names(&host);
    disk.pull();
    let refused = host.server.refused(
        "/VolumeDriver.Create",
        &json!({"Name": "more", "Opts": options}),
    );
    assert!(
        tells_of_disk(&refused) && refused.contains(ROOT),
        "{refused}"
    );
    let snapshot = json!({"name": "data", "snapshot": "s1", "live": true});
    let refused = host.work("Snapshot", &snapshot).expect_err("no disk");
    assert!(tells_of_disk(&refused), "{refused}");
    assert_eq!(names(&host), before);
    assert_eq!(host.describe("data")["name"], "data");
    fs::write(memory.join("f"), "goes on").expect("a volume of memory");
    fs::write(mine.join("g"), "goes on").expect("a folder of its own");
    // What can't be unmounted is told; what is held is counted on.
    for name in ["data", "memory", "mine"] {
        let of = json!({"Name": name, "ID": "user"});
        host.server.post("/VolumeDriver.Unmount", &of.to_string());
    }
    assert_eq!(names(&host), before);
    host.kill();
    let mut again = host.lab.command(ours().find("volume-local"));
    again.args(["call", "/VolumeDriver.List", "--root", ROOT]);
    let again = host.lab.run_command(again, b"{}");
    // What the kernel has in memory of the root, it still gives.
    let tells = again.stderr.contains(ROOT) && tells_of_disk(&again.stderr);
    assert!(again.succeeded() || tells, "{again}");
    let kept = fs::read_to_string(host.lab.path("/run/mine/f"));
    assert_eq!(kept.expect("the folder's file"), "precious");
}

#[test]
fn a_root_whose_disk_vanishes_says_so_and_still_tells_of_its_volumes() {
    root_vanishes("ext4", &json!({}));
    root_vanishes("ext4", &json!({"size": "32M"}));
    root_vanishes("xfs", &json!({}));
    root_vanishes("btrfs", &json!({"size": "32M"}));
}

#[test]
fn a_volume_whose_disk_vanishes_keeps_no_other_waiting() {
    let host = Host::new();
    let disk = mounted(&host.lab, "ext4", DISK);
    let folder = host.lab.path(DISK).join("folder");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("f"), vec![1; 1 << 20]).expect("a file");
    // What the kernel has in memory, it still gives.
    let again = "umount $2 && mount -o loop $1 $2";
    host.lab
        .exec(&["sh", "-ec", again, "sh", &disk.path(), DISK]);
    host.create("gone", &json!({"mountpoint": format!("{DISK}/folder")}));
    host.create("data", &json!({}));
    host.mount("gone", "user");
    disk.pull();
    let listed = host.ask("List", &json!({"usage": true}));
    assert_eq!(
        listed["volumes"].as_array().map(Vec::len),
        Some(2),
        "{listed}"
    );
    let of = json!({"name": "gone", "snapshot": "s1", "live": true});
    let refused = host.work("Snapshot", &of).expect_err("no disk");
    assert!(tells_of_disk(&refused), "{refused}");
    let place = host.mount("data", "user");
    fs::write(place.join("f"), "goes on").expect("another volume");
    host.unmount("data", "user");
    let of = json!({"name": "data", "snapshot": "s1"});
    host.work("Snapshot", &of).expect("another volume");
    host.unmount("gone", "user");
    host.server
        .call("/VolumeDriver.Remove", &json!({"Name": "gone"}));
    assert_eq!(names(&host), ["data"]);
}

#[test]
fn a_repository_whose_disk_vanishes_is_named_and_the_volume_is_free_again() {
    let host = Host::new();
    let disk = mounted(&host.lab, "ext4", DISK);
    fs::write(host.lab.path(SECRETS), secrets()).expect("the secrets");
    host.create("data", &json!({"size": "32M"}));
    let repository = json!({"address": format!("{DISK}/repository"), "secrets": SECRETS});
    let asked = json!({"name": "data", "repository": repository, "init": true});
    host.work("Backup", &asked).expect("backed up");
    let before = host.mounts();
    disk.pull();
    let refused = host.work("Backup", &asked).expect_err("no disk");
    assert!(
        tells_of_disk(&refused) && refused.contains(DISK),
        "{refused}"
    );
    assert_eq!(host.mounts(), before);
    host.server
        .call("/VolumeDriver.Remove", &json!({"Name": "data"}));
}
