//! Power cuts: whatever a disk with a write cache had of an operation, each volume is whole after the next start, in its old
//! or its new state, and the next command converges. What had been answered is never lost.
//!
//! The disk is recorded write by write and flush by flush (`wharfline_testkit::Disk`) while a host works on it; afterwards
//! it is cut at random moments of its steps, mounted anew and looked at: twice for each kind of root in `./test`, 100 times
//! with WHARFLINE_LONG=1; WHARFLINE_SEED repeats a run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wharfline_testkit::{Disk, Lab};

use crate::volume_crash::Host;
use crate::volume_crash_files::{SECRETS, done, secrets};

/// Where the disk is mounted: the root is below it, the repository and the archive beside that.
const DISK: &str = "/var/lib/wharfline";
const REPOSITORY: &str = "/var/lib/wharfline/repository";
const ARCHIVE: &str = "/var/lib/wharfline/archive.tar";
/// XFS takes no less than 300 MiB.
const BYTES: u64 = 512 << 20;

/// What can be told of all volumes, the repository and the archive.
type World = BTreeMap<String, String>;
/// An operation, or what a user does in a volume.
type Step = (&'static str, fn(&Host));

const STEPS: [Step; 13] = [
    ("create", |host| {
        let mut options = host.options.clone();
        options["uid"] = json!("1000");
        options["mode"] = json!("0750");
        let asked = json!({"Name": "data", "Opts": options});
        host.ok("/VolumeDriver.Create", &asked);
    }),
    ("a user's write", |host| save(host, "first")),
    ("snapshot", |host| {
        let asked = json!({"name": "data", "snapshot": "s1"});
        host.ok("/Wharfline.Volume.Snapshot", &asked);
    }),
    ("clone", |host| {
        let asked = json!({"name": "data", "new": "copy"});
        host.ok("/Wharfline.Volume.Clone", &asked);
    }),
    ("resize", |host| {
        if host.options.get("size").is_some() {
            let asked = json!({"name": "data", "size": "80M"});
            host.ok("/Wharfline.Volume.Resize", &asked);
        }
    }),
    ("another write", |host| save(host, "second")),
    ("rollback", |host| {
        let asked = json!({"name": "data", "snapshot": "s1"});
        host.ok("/Wharfline.Volume.Rollback", &asked);
    }),
    ("rename", |host| {
        let asked = json!({"name": "copy", "new": "other"});
        host.ok("/Wharfline.Volume.Rename", &asked);
    }),
    ("backup", |host| {
        let asked = json!({"name": "data", "repository": repository(), "init": true});
        done(host, "Backup", &asked);
    }),
    ("restore", |host| {
        let options = &host.options;
        let asked =
            json!({"name": "back", "repository": repository(), "at": "latest", "options": options});
        done(host, "Restore", &asked);
    }),
    ("export", |host| {
        done(host, "Export", &json!({"name": "data", "path": ARCHIVE}));
    }),
    ("import", |host| {
        let asked = json!({"name": "new", "path": ARCHIVE, "options": host.options});
        done(host, "Import", &asked);
    }),
    ("rm", |host| host.remove("other")),
];

fn repository() -> Value {
    json!({"address": REPOSITORY, "secrets": SECRETS})
}

/// As a careful program writes: whole, and on the disk when it goes on.
fn save(host: &Host, text: &str) {
    host.in_place("data", |place| {
        let write = || {
            let mut file = File::create(place.join("f.new"))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(place.join("f.new"), place.join("f"))?;
            File::open(place)?.sync_all()
        };
        write().expect("saved");
    });
}

fn world(host: &Host) -> World {
    let listed = host.ok("/Wharfline.Volume.List", &json!({"usage": false}));
    let volumes = listed["volumes"].as_array().expect("volumes");
    let mut world: World = volumes
        .iter()
        .map(|volume| {
            let name = volume["name"].as_str().expect("a name").to_owned();
            let (file, uid, mode) = host.in_place(&name, |place| {
                let about = place.metadata().expect("a folder");
                let file = fs::read_to_string(place.join("f")).unwrap_or_default();
                (file, about.uid(), about.mode())
            });
            let got = host.ok("/VolumeDriver.Get", &json!({"Name": name}));
            let size = &got["Volume"]["Status"]["size"];
            let limit = limit(host, &got["Volume"]["Mountpoint"]);
            let snapshots = volume["snapshots"].as_array().into_iter().flatten();
            let snapshots: Vec<_> = snapshots.map(|one| &one["name"]).collect();
            let told =
                format!("{file:?} of {uid}, mode {mode:o}, {size} bytes{limit}, {snapshots:?}");
            (name, told)
        })
        .collect();
    if host.lab.path(ARCHIVE).exists() {
        world.insert("(archive)".to_owned(), String::new());
    }
    world.insert("(backups)".to_owned(), backups(host).to_string());
    world
}

/// What btrfs itself holds a volume to: its quota group's limit.
fn limit(host: &Host, place: &Value) -> String {
    let place = place.as_str().expect("a place");
    if host.lab.exec(&["stat", "-fc", "%T", DISK]).trim() != "btrfs" {
        return String::new();
    }
    let told = host
        .lab
        .exec(&["btrfs", "qgroup", "show", "-rf", "--raw", place]);
    let line = told.lines().last().unwrap_or_default();
    format!(", {:?} of btrfs", line.split_whitespace().last())
}

/// A repository that is not there, or not yet one, has none.
fn backups(host: &Host) -> usize {
    let asked = json!({"repository": repository()});
    let told = host.call("/Wharfline.Volume.Backups", &asked).stdout;
    let last: Value = serde_json::from_str(told.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{told}"));
    last["done"].as_array().map_or(0, Vec::len)
}

/// What was seen of a host's work: after each step, how many events its disk had, and the world.
struct Recorded {
    disk: Disk,
    after: Vec<(usize, World)>,
}

fn host_on(path: &str, options: &Value) -> Host {
    let lab = Lab::new();
    let script = "mkdir -p $2 && mount -o loop $1 $2";
    lab.exec(&["sh", "-ec", script, "sh", path, DISK]);
    fs::write(lab.path(SECRETS), secrets()).expect("the secrets");
    Host {
        lab,
        options: options.clone(),
    }
}

fn record(kind: &str, options: &Value) -> Recorded {
    let disk = Disk::new(BYTES);
    let made = Lab::new();
    let script = "at=$(losetup -f --show $2) && mkfs.$1 -q $at && sync $at && losetup -d $at";
    made.exec(&["sh", "-ec", script, "sh", kind, &disk.path()]);
    let host = host_on(&disk.path(), options);
    let mut after = vec![(disk.events(), world(&host))];
    // The root itself is there from here on.
    after[0].0 = disk.events();
    for (_, step) in STEPS {
        step(&host);
        after.push((disk.events(), world(&host)));
    }
    Recorded { disk, after }
}

impl Recorded {
    /// Cuts the power while step number `step` was on its way, and looks at what is there then.
    fn survives_cut(&self, step: usize, options: &Value, seed: &mut u64) {
        let (begin, end) = (self.after[step].0, self.after[step + 1].0);
        let at = begin + 1 + usize::try_from(next(seed)).unwrap_or(0) % (end - begin).max(1);
        let what = format!("{} cut at event {at} of {begin} to {end}", STEPS[step].0);
        tell(&what);
        let image = self.disk.cut(at, next(seed));
        let path = format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd());
        let host = host_on(&path, options);
        let found = world(&host);
        host.is_clean(&what);
        let (old, new) = (&self.after[step].1, &self.after[step + 1].1);
        assert!(
            found == *old || found == *new,
            "{what}: {found:#?} is neither {old:#?} nor {new:#?}"
        );
        // What comes next comes about, and what it is made of is whole.
        let next = if found == *new { step + 1 } else { step };
        if let Some((name, run)) = STEPS.get(next) {
            run(&host);
            assert_eq!(world(&host), self.after[next + 1].1, "{name} after {what}");
        }
        copies_are_whole(&host, &what);
    }
}

fn copies_are_whole(host: &Host, what: &str) {
    let found = world(host);
    if found["(backups)"] != "0" {
        let of = json!({"repository": repository()});
        assert_eq!(done(host, "Verify", &of)["damages"], json!([]), "{what}");
    }
    if found.contains_key("(archive)") {
        let asked = json!({"name": "probe", "path": ARCHIVE, "options": host.options});
        done(host, "Import", &asked);
        assert_eq!(host.read("probe"), "first", "{what}");
    }
    if found.get("data").is_some_and(|told| told.contains("s1")) {
        let asked = json!({"name": "data@s1", "new": "snapshot"});
        host.ok("/Wharfline.Volume.Clone", &asked);
        assert_eq!(host.read("snapshot"), "first", "{what}");
    }
}

/// A number of a sequence that looks random (xorshift64).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[expect(
    clippy::print_stderr,
    reason = "shown where a test fails: the seed repeats it"
)]
fn tell(what: &str) {
    eprintln!("{what}");
}

fn seed() -> u64 {
    let given = std::env::var("WHARFLINE_SEED").ok();
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seed = given.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(u64::try_from(clock.as_nanos()).unwrap_or(1)) | 1;
    tell(&format!("WHARFLINE_SEED={seed}"));
    seed
}

fn survives(kind: &str, options: &Value) {
    let recorded = record(kind, options);
    let mut seed = seed();
    let first = usize::try_from(next(&mut seed)).unwrap_or(0);
    let cuts = match std::env::var_os("WHARFLINE_LONG") {
        Some(_) => 100,
        None => 2,
    };
    // A prime walks over all steps.
    for turn in 0..cuts {
        recorded.survives_cut((first + 5 * turn) % STEPS.len(), options, &mut seed);
    }
}

#[test]
fn folders_on_ext4_survive_power_cuts() {
    survives("ext4", &json!({}));
}

#[test]
fn folders_on_xfs_survive_power_cuts() {
    survives("xfs", &json!({}));
}

#[test]
fn images_on_ext4_survive_power_cuts() {
    survives("ext4", &json!({"size": "64M"}));
}

#[test]
fn images_on_xfs_survive_power_cuts() {
    survives("xfs", &json!({"size": "64M"}));
}

#[test]
fn subvolumes_survive_power_cuts() {
    survives("btrfs", &json!({"size": "64M"}));
}
