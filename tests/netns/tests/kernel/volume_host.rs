//! A throwaway host with a server of volumes on a root, and what tests of volumes ask of it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_netns_tests::docker::Server;
use wharfline_testkit::{Lab, wait_for};

pub(crate) const ROOT: &str = "/var/lib/wharfline/volume-local";

/// A lab with a server on a root.
pub(crate) struct Host {
    pub(crate) lab: Lab,
    pub(crate) server: Server,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host::on("")
    }

    /// With the root on a file system of its own of that kind; none is the lab's own.
    pub(crate) fn on(kind: &str) -> Host {
        let lab = lab_with_root(kind);
        let server = Server::start_with(&lab, "volume-local", &["--root", ROOT]);
        Host { lab, server }
    }

    /// Kills the server; its end is waited for.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
        wait_for("the server to end", Duration::from_secs(10), || {
            self.server.ended().map(drop).ok_or("it runs".to_owned())
        });
    }

    pub(crate) fn restart(&mut self) {
        self.server = Server::start_with(&self.lab, "volume-local", &["--root", ROOT]);
    }

    #[track_caller]
    pub(crate) fn create(&self, name: &str, options: &Value) {
        self.server.call(
            "/VolumeDriver.Create",
            &json!({"Name": name, "Opts": options}),
        );
    }

    #[track_caller]
    pub(crate) fn mount(&self, name: &str, id: &str) -> PathBuf {
        let answer = self
            .server
            .call("/VolumeDriver.Mount", &json!({"Name": name, "ID": id}));
        self.lab
            .path(answer["Mountpoint"].as_str().expect("a place"))
    }

    #[track_caller]
    pub(crate) fn unmount(&self, name: &str, id: &str) {
        self.server
            .call("/VolumeDriver.Unmount", &json!({"Name": name, "ID": id}));
    }

    /// An operation of ours that answers at once.
    #[track_caller]
    pub(crate) fn ask(&self, operation: &str, body: &Value) -> Value {
        self.server
            .call(&format!("/Wharfline.Volume.{operation}"), body)
    }

    /// One that answers line by line; its result, or why it failed.
    #[track_caller]
    pub(crate) fn work(&self, operation: &str, body: &Value) -> Result<Value, String> {
        let text = self
            .server
            .post_text(&format!("/Wharfline.Volume.{operation}"), &body.to_string());
        let last: Value =
            serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON");
        match last.get("done") {
            Some(done) => Ok(done.clone()),
            None => {
                let told = last["failed"].as_str().or(last["Err"].as_str());
                Err(told.unwrap_or_else(|| panic!("{text}")).to_owned())
            }
        }
    }

    pub(crate) fn describe(&self, name: &str) -> Value {
        self.ask("List", &json!({"name": name, "usage": true}))["volumes"][0].clone()
    }

    /// What is mounted below the root.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let all = self.lab.exec(&["cat", "/proc/self/mountinfo"]);
        let place = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
        let below = format!("{ROOT}/");
        all.lines()
            .map(place)
            .filter(|place| place.starts_with(&below))
            .collect()
    }

    /// What a writer is told that fills the volume; the bytes that went in.
    pub(crate) fn fill(&self, name: &str) -> (String, u64) {
        let place = self.mount(name, "writer");
        let error = write_until_refused(&place.join("filler"));
        let used = fs::metadata(place.join("filler")).expect("written").len();
        fs::remove_file(place.join("filler")).expect("removed");
        self.unmount(name, "writer");
        (error, used)
    }
}

/// A lab whose root of volumes is on a file system of its own of that kind; of none, on the lab's.
pub(crate) fn lab_with_root(kind: &str) -> Lab {
    let lab = Lab::new();
    if !kind.is_empty() {
        let script = "mkdir -p $2 && truncate -s 3G /run/root.img && mkfs.$1 -q /run/root.img && mount -o loop /run/root.img $2";
        lab.exec(&["sh", "-ec", script, "sh", kind, ROOT]);
    }
    lab
}

/// What the file system says when there is no more room.
pub(crate) fn write_until_refused(path: &std::path::Path) -> String {
    let mut file = fs::File::create(path).expect("create");
    let piece = vec![7; 1 << 20];
    for _ in 0..2048 {
        if let Err(e) = file.write_all(&piece).and_then(|()| file.sync_data()) {
            return e.to_string();
        }
    }
    "nothing".to_owned()
}

/// Options of each backend that this kernel has, and whether its root must be btrfs.
pub(crate) const KINDS: [(&str, &str, &str); 5] = [
    ("directory", "", "{}"),
    ("btrfs", "btrfs", r#"{"size": "64M"}"#),
    ("loop", "", r#"{"size": "64M"}"#),
    ("loop", "", r#"{"size": "320M", "fs": "xfs"}"#),
    ("loop", "", r#"{"size": "300M", "fs": "btrfs"}"#),
];

/// The claim on each of them, after which nothing is mounted.
pub(crate) fn each_kind(claim: impl Fn(&Host, &Value)) {
    for (kind, root, options) in KINDS {
        let host = Host::on(root);
        let options = serde_json::from_str(options).expect("options");
        claim(&host, &options);
        host.create("probe", &options);
        assert_eq!(host.describe("probe")["backend"], kind);
        assert_eq!(host.mounts(), [""; 0], "{kind} {options}");
    }
}
