//! Volumes on what the tests' own kernel lacks: project quotas of ext4 and XFS, and file servers, living and dead.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wharfline_netns_tests::docker::Server;
use wharfline_testkit::{Feature, Lab, Process, wait_for};

use super::Case;

pub(super) const ROOT: &str = "/var/lib/wharfline/volume-local";

/// On Debian's kernel.
pub(super) const CASES: [Case; 4] = [
    Case {
        name: "volumes::a_quota_binds_on_ext4",
        needs: &[Feature::ProjectQuota],
        run: || a_quota_binds("ext4", "-O quota,project"),
    },
    Case {
        name: "volumes::a_quota_binds_on_xfs",
        needs: &[Feature::ProjectQuota],
        run: || a_quota_binds("xfs", "-f"),
    },
    Case {
        name: "volumes::an_image_of_ext4_grows_in_use",
        needs: &[Feature::ProjectQuota],
        run: an_image_grows_in_use,
    },
    Case {
        name: "volumes::a_dead_file_server_keeps_nobody_else",
        needs: &[Feature::Nfs],
        run: a_dead_server_keeps_nobody,
    },
];

pub(super) fn start(lab: &Lab) -> Server {
    Server::start_with(lab, "volume-local", &["--root", ROOT])
}

pub(super) fn create(server: &Server, name: &str, options: &Value) {
    server.call(
        "/VolumeDriver.Create",
        &json!({"Name": name, "Opts": options}),
    );
}

pub(super) fn mount(server: &Server, name: &str) -> String {
    let mounted = server.call("/VolumeDriver.Mount", &json!({"Name": name, "ID": "a"}));
    mounted["Mountpoint"].as_str().expect("a place").to_owned()
}

pub(super) fn unmount(server: &Server, name: &str) {
    server.call("/VolumeDriver.Unmount", &json!({"Name": name, "ID": "a"}));
}

pub(super) fn describe(server: &Server, name: &str) -> Value {
    let asked = json!({"name": name, "usage": true});
    server.call("/Wharfline.Volume.List", &asked)["volumes"][0].clone()
}

/// Writes as somebody else than root, whom ext4 does not bind; what dd said.
fn dd(lab: &Lab, place: &str, megabytes: u32) -> String {
    let script = "dd if=/dev/zero of=$0/filler bs=1M count=$1 conv=fsync 2>&1; rm -f $0/filler";
    let written = lab.try_exec(
        &[
            "setpriv",
            "--reuid",
            "1000",
            "--clear-groups",
            "sh",
            "-c",
            script,
            place,
            &megabytes.to_string(),
        ],
        "",
    );
    written.stdout
}

fn refused(told: &str) -> bool {
    told.contains("No space left") || told.contains("quota exceeded")
}

fn a_quota_binds(kind: &str, options: &str) {
    let lab = Lab::new();
    let script = "mkdir -p $3; truncate -s 600M /run/root.img; mkfs.$1 -q $2 /run/root.img; mount -o loop,prjquota /run/root.img $3; chmod 755 $3";
    lab.exec(&["sh", "-ec", script, "sh", kind, options, ROOT]);
    let server = start(&lab);
    let sized = json!({"size": "32M", "inodes": "64", "uid": "1000"});
    create(&server, "full", &sized);
    create(&server, "beside", &sized);
    assert_eq!(describe(&server, "full")["backend"], "quota");
    let (full, beside) = (mount(&server, "full"), mount(&server, "beside"));
    let told = dd(&lab, &full, 64);
    assert!(refused(&told), "{told}");
    let told = dd(&lab, &beside, 16);
    assert!(!refused(&told), "{told}");
    let many = "for n in $(seq 100); do : >$0/$n || exit 9; done";
    let made = lab.try_exec(
        &[
            "setpriv",
            "--reuid",
            "1000",
            "--clear-groups",
            "sh",
            "-c",
            many,
            &full,
        ],
        "",
    );
    assert!(!made.succeeded(), "{made}");
    let usage = describe(&server, "full")["usage"].clone();
    assert!(
        usage["free_inodes"].as_u64().is_some_and(|free| free < 5),
        "{usage}"
    );
    lab.exec(&["find", &full, "-type", "f", "-delete"]);
    // It grows, a clone has the limit of its own, and a rollback keeps it.
    server.call(
        "/Wharfline.Volume.Resize",
        &json!({"name": "full", "size": "48M"}),
    );
    let told = dd(&lab, &full, 40);
    assert!(!refused(&told), "{told}");
    unmount(&server, "full");
    fs::write(lab.path(format!("{full}/f")), "first").expect("written");
    work(
        &server,
        "Snapshot",
        &json!({"name": "full", "snapshot": "s1"}),
    );
    work(&server, "Clone", &json!({"name": "full", "new": "copy"}));
    work(
        &server,
        "Rollback",
        &json!({"name": "full", "snapshot": "s1"}),
    );
    for name in ["full", "copy"] {
        let place = mount(&server, name);
        assert_eq!(
            fs::read_to_string(lab.path(format!("{place}/f"))).expect("read"),
            "first"
        );
        let told = dd(&lab, &place, 64);
        assert!(refused(&told), "{name}: {told}");
        unmount(&server, name);
    }
    unmount(&server, "beside");
}

fn work(server: &Server, operation: &str, body: &Value) {
    let told = server.post_text(&format!("/Wharfline.Volume.{operation}"), &body.to_string());
    assert!(
        told.lines()
            .last()
            .is_some_and(|line| line.contains("\"done\":{")),
        "{operation}: {told}"
    );
}

fn an_image_grows_in_use() {
    let lab = Lab::new();
    let server = start(&lab);
    create(
        &server,
        "data",
        &json!({"size": "32M", "type": "loop", "uid": "1000"}),
    );
    let place = mount(&server, "data");
    assert!(refused(&dd(&lab, &place, 48)));
    server.call(
        "/Wharfline.Volume.Resize",
        &json!({"name": "data", "size": "96M"}),
    );
    let told = dd(&lab, &place, 48);
    assert!(!refused(&told), "{told}");
    unmount(&server, "data");
}

const GANESHA: &str = "NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; mount_path_pseudo = true; }
NFSv4 { Graceless = true; RecoveryRoot = /run/recovery; }
EXPORT { Export_Id = 1; Path = /run/exported; Pseudo = /exported; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
  FSAL { Name = VFS; } }
";

fn start_file_server(lab: &Lab) -> Process {
    for folder in ["/run/exported", "/run/recovery", "/run/ganesha"] {
        fs::create_dir_all(lab.path(folder)).expect("a folder");
    }
    fs::write(lab.path("/run/ganesha.conf"), GANESHA).expect("written");
    let mut command = lab.command("ganesha.nfsd");
    command.args([
        "-F",
        "-f",
        "/run/ganesha.conf",
        "-L",
        "/run/ganesha.log",
        "-p",
        "/run/ganesha/pid",
    ]);
    let server = Process::start(command);
    wait_for("the file server to listen", Duration::from_secs(15), || {
        let listening = lab.exec(&["ss", "-Hltn", "sport = :2049"]);
        let log = || fs::read_to_string(lab.path("/run/ganesha.log")).unwrap_or_default();
        (!listening.is_empty()).then_some(()).ok_or_else(log)
    });
    server
}

/// A second of the clock, however slow the machine is: who waited for the server would wait for longer each time, and who is
/// only slow is not so five times.
fn within_a_second(what: &str, calls: impl Fn()) {
    let spent = |_| {
        let begun = Instant::now();
        calls();
        begun.elapsed()
    };
    let tries: Vec<Duration> = (0..5).map(spent).collect();
    let best = tries.iter().min();
    assert!(
        best.is_some_and(|best| *best < Duration::from_secs(1)),
        "{what}: {tries:?}"
    );
}

fn a_dead_server_keeps_nobody() {
    let lab = Lab::new();
    lab.exec(&["ip", "link", "set", "lo", "up"]);
    let files = start_file_server(&lab);
    let server = start(&lab);
    create(
        &server,
        "far",
        &json!({"type": "nfs", "device": "127.0.0.1:/exported", "o": "soft,timeo=600"}),
    );
    create(&server, "near", &json!({}));
    let far = mount(&server, "far");
    fs::write(lab.path(format!("{far}/f")), "over the net").expect("written");
    assert_eq!(
        fs::read_to_string(lab.path("/run/exported/f")).expect("read"),
        "over the net"
    );
    // It says nothing any more, and closes nothing.
    lab.exec(&["kill", "-STOP", &files.id().to_string()]);
    within_a_second("asking for a volume of a dead server", || {
        server.call("/VolumeDriver.Get", &json!({"Name": "far"}));
        server.call("/VolumeDriver.List", &json!({}));
        server.call("/Wharfline.Volume.List", &json!({}));
    });
    within_a_second("others' volumes", || {
        let near = mount(&server, "near");
        assert!(Path::new(&near).is_absolute());
        unmount(&server, "near");
        create(&server, "more", &json!({}));
        server.call("/VolumeDriver.Remove", &json!({"Name": "more"}));
    });
    // How full it is, nobody can tell; of the others it is told.
    let listed = server.call("/Wharfline.Volume.List", &json!({"usage": true}));
    let has_usage = |name: &str| {
        listed["volumes"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|v| v["name"] == name && v["usage"].is_object())
    };
    assert!(has_usage("near") && !has_usage("far"), "{listed}");
    unmount(&server, "far");
    let mounts = lab.exec(&["cat", "/proc/self/mountinfo"]);
    assert!(!mounts.contains(ROOT), "{mounts}");
    server.call("/VolumeDriver.Remove", &json!({"Name": "far"}));
    lab.exec(&["kill", "-KILL", &files.id().to_string()]);
}
