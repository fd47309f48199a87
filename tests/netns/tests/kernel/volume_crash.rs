//! SIGKILL of `volume-local` and its children at every moment of an operation: each volume is whole in its old or in its
//! new state, nothing half made or mounted is left, and the next call finds it so.
//!
//! Some moments of each in `./test`, spread over the run; with WHARFLINE_LONG=1 every one, or 500 where there are more.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_netns_tests::ours;
use wharfline_testkit::fault::{self, Stops};
use wharfline_testkit::{Lab, Output, wait_for};

use crate::volume_host::{ROOT, lab_with_root};

/// Moments of one operation, unless all are asked for.
const MOMENTS: usize = 40;
/// Moments of one operation where all are asked for.
const MOST_MOMENTS: usize = 500;

/// A root that no server has: each call is a process of its own.
pub(crate) struct Host {
    pub(crate) lab: Lab,
    pub(crate) options: Value,
}

/// What is done, and how the world becomes what it was before.
pub(crate) struct Case {
    pub(crate) path: &'static str,
    pub(crate) body: fn(&Host, usize) -> Value,
    /// Puts the world into its first state, whatever there is.
    pub(crate) prepare: fn(&Host),
    /// Asserts that it is in its first or its last state.
    pub(crate) whole: fn(&Host, usize),
}

impl Host {
    pub(crate) fn on(kind: &str, options: Value) -> Host {
        let lab = lab_with_root(kind);
        let host = Host { lab, options };
        host.create("data");
        host.write("data", "first");
        host.ok(
            "/Wharfline.Volume.Snapshot",
            &json!({"name": "data", "snapshot": "s1"}),
        );
        host
    }

    pub(crate) fn command(&self, path: &str) -> std::process::Command {
        let mut command = self.lab.command(ours().find("volume-local"));
        command.args(["call", path, "--root", ROOT]);
        command
    }

    pub(crate) fn call(&self, path: &str, body: &Value) -> Output {
        self.lab
            .run_command(self.command(path), body.to_string().as_bytes())
    }

    #[track_caller]
    pub(crate) fn ok(&self, path: &str, body: &Value) -> Value {
        let output = self.call(path, body);
        assert!(output.succeeded(), "{path} {body}: {output}");
        let last = output.stdout.lines().last().unwrap_or_default().to_owned();
        serde_json::from_str(&last).unwrap_or(Value::Null)
    }

    pub(crate) fn create(&self, name: &str) {
        self.ok(
            "/VolumeDriver.Create",
            &json!({"Name": name, "Opts": self.options}),
        );
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let listed = self.ok("/VolumeDriver.List", &json!({}));
        let volumes = listed["Volumes"].as_array().expect("a list").iter();
        volumes
            .map(|volume| volume["Name"].as_str().expect("a name").to_owned())
            .collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().iter().any(|known| known == name)
    }

    pub(crate) fn in_place<T>(&self, name: &str, work: impl FnOnce(&std::path::Path) -> T) -> T {
        let mounted = self.ok("/VolumeDriver.Mount", &json!({"Name": name, "ID": "test"}));
        let result = work(
            &self
                .lab
                .path(mounted["Mountpoint"].as_str().expect("a place")),
        );
        self.ok(
            "/VolumeDriver.Unmount",
            &json!({"Name": name, "ID": "test"}),
        );
        result
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.in_place(name, |place| {
            fs::write(place.join("f"), text).expect("written")
        });
    }

    pub(crate) fn read(&self, name: &str) -> String {
        self.in_place(name, |place| {
            fs::read_to_string(place.join("f")).unwrap_or_default()
        })
    }

    pub(crate) fn remove(&self, name: &str) {
        self.ok("/VolumeDriver.Remove", &json!({"Name": name}));
    }

    /// Nothing but whole volumes is there, and nothing is mounted or shown by a loop device.
    #[track_caller]
    pub(crate) fn is_clean(&self, after: &str) {
        let left = self.lab.exec(&[
            "find",
            &format!("{ROOT}/staging"),
            &format!("{ROOT}/trash"),
            "-mindepth",
            "1",
        ]);
        assert_eq!(left, "", "after {after}");
        let mounts = self.lab.exec(&["cat", "/proc/self/mountinfo"]);
        assert!(
            !mounts.contains(&format!("{ROOT}/")),
            "after {after}: {mounts}"
        );
        // Devices are the whole machine's; those of our images alone count. The kernel clears them a moment after.
        let images = [
            "find", ROOT, "-name", "image", "-exec", "losetup", "-j", "{}", ";",
        ];
        wait_for("no device to be left", Duration::from_secs(5), || {
            let left = self.lab.exec(&images);
            left.is_empty()
                .then_some(())
                .ok_or(format!("{left} after {after}"))
        });
    }

    /// Kills the case at so many moments of its run, or at those that WHARFLINE_LONG asks for.
    pub(crate) fn survives(&self, case: &Case, wanted: usize) {
        let kill = |nth| {
            (case.prepare)(self);
            let body = (case.body)(self, nth).to_string();
            fault::command_killed_at(
                self.command(case.path),
                body.as_bytes(),
                nth,
                Stops::EveryChange,
            )
        };
        let all = kill(usize::MAX);
        assert!(all.output.succeeded(), "{}: {}", case.path, all.output);
        assert!(all.stops >= 8, "{}: {} stops", case.path, all.stops);
        for nth in moments(all.stops, wanted) {
            let struck = kill(nth);
            // The next call, whatever it is, finds all settled.
            self.names();
            self.is_clean(&format!("{} killed at {:?}", case.path, struck.at));
            (case.whole)(self, nth);
        }
        (case.prepare)(self);
    }
}

/// So many of the stops of a run, spread over it, or as many as WHARFLINE_LONG asks for.
pub(crate) fn moments(stops: usize, wanted: usize) -> impl Iterator<Item = usize> {
    let wanted = match std::env::var_os("WHARFLINE_LONG") {
        Some(_) => MOST_MOMENTS,
        None => wanted,
    };
    (1..=stops).step_by(stops.div_ceil(wanted).max(1))
}

pub(crate) fn without_new(host: &Host) {
    host.remove("new");
}

pub(crate) fn new_is_a_copy_or_none(host: &Host, _: usize) {
    assert_eq!(host.read("data"), "first");
    if host.has("new") {
        assert_eq!(host.read("new"), "first");
    }
}

const CREATE: Case = Case {
    path: "/VolumeDriver.Create",
    body: |host, _| json!({"Name": "new", "Opts": host.options}),
    prepare: without_new,
    whole: |host, _| {
        if host.has("new") {
            host.write("new", "fresh");
            assert_eq!(host.read("new"), "fresh");
        }
    },
};

const SNAPSHOT: Case = Case {
    path: "/Wharfline.Volume.Snapshot",
    body: |_, _| json!({"name": "data", "snapshot": "s2"}),
    prepare: |host| {
        drop(host.call(
            "/Wharfline.Volume.RemoveSnapshot",
            &json!({"name": "data", "snapshot": "s2"}),
        ))
    },
    whole: |host, _| {
        let cloned = host.call(
            "/Wharfline.Volume.Clone",
            &json!({"name": "data@s2", "new": "probe"}),
        );
        if cloned.succeeded() {
            assert_eq!(host.read("probe"), "first");
            host.remove("probe");
        }
        assert_eq!(host.read("data"), "first");
    },
};

const CLONE: Case = Case {
    path: "/Wharfline.Volume.Clone",
    body: |_, _| json!({"name": "data", "new": "new"}),
    prepare: without_new,
    whole: new_is_a_copy_or_none,
};

const REMOVE: Case = Case {
    path: "/VolumeDriver.Remove",
    body: |_, _| json!({"Name": "new"}),
    prepare: |host| {
        if !host.has("new") {
            host.ok(
                "/Wharfline.Volume.Clone",
                &json!({"name": "data", "new": "new"}),
            );
        }
    },
    whole: new_is_a_copy_or_none,
};

const RENAME: Case = Case {
    path: "/Wharfline.Volume.Rename",
    body: |_, _| json!({"name": "data", "new": "other"}),
    prepare: |host| {
        host.remove("new");
        if !host.has("data") {
            host.ok(
                "/Wharfline.Volume.Rename",
                &json!({"name": "other", "new": "data"}),
            );
        }
    },
    whole: |host, _| {
        let names = host.names();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(host.read(&names[0]), "first");
    },
};

const ROLLBACK: Case = Case {
    path: "/Wharfline.Volume.Rollback",
    body: |_, _| json!({"name": "data", "snapshot": "s1"}),
    prepare: |host| host.write("data", "changed"),
    whole: |host, _| {
        let text = host.read("data");
        assert!(text == "first" || text == "changed", "{text:?}");
    },
};

const RESIZE: Case = Case {
    path: "/Wharfline.Volume.Resize",
    body: |_, nth| json!({"name": "data", "size": format!("{}M", 64 + nth.min(2000))}),
    prepare: |_| {},
    whole: |host, _| {
        let got = host.ok("/VolumeDriver.Get", &json!({"Name": "data"}));
        assert!(got["Volume"]["Status"]["size"].as_u64().expect("a size") >= 64 << 20);
        assert_eq!(host.read("data"), "first");
    },
};

fn each(kind: &str, options: &Value, cases: &[&Case]) {
    let host = Host::on(kind, options.clone());
    for case in cases {
        host.survives(case, MOMENTS);
    }
}

#[test]
fn folders_are_whole_after_a_kill_at_any_moment() {
    each(
        "",
        &json!({}),
        &[&CREATE, &SNAPSHOT, &CLONE, &REMOVE, &RENAME, &ROLLBACK],
    );
}

#[test]
fn subvolumes_are_whole_after_a_kill_at_any_moment() {
    each(
        "btrfs",
        &json!({"size": "64M"}),
        &[&CREATE, &SNAPSHOT, &CLONE, &REMOVE, &RENAME, &ROLLBACK],
    );
    let growing = Case {
        body: |_, nth| json!({"name": "data", "size": format!("{}M", 3000 + nth)}),
        ..RESIZE
    };
    let host = Host::on("btrfs", json!({"size": "64M"}));
    host.survives_growing(&growing);
}

#[test]
fn images_are_whole_after_a_kill_at_any_moment() {
    each(
        "",
        &json!({"size": "64M"}),
        &[&CREATE, &SNAPSHOT, &CLONE, &REMOVE, &RENAME, &ROLLBACK],
    );
    let host = Host::on("", json!({"size": "64M"}));
    host.survives_growing(&RESIZE);
}

impl Host {
    /// Of what cannot be taken back: each time a little more.
    fn survives_growing(&self, case: &Case) {
        for nth in 1.. {
            let body = (case.body)(self, nth).to_string();
            let struck = fault::command_killed_at(
                self.command(case.path),
                body.as_bytes(),
                nth,
                Stops::EveryChange,
            );
            self.names();
            self.is_clean(&format!("{} killed at {:?}", case.path, struck.at));
            (case.whole)(self, nth);
            if struck.at.is_none() {
                assert!(
                    struck.output.succeeded() && nth > 5,
                    "{nth}: {}",
                    struck.output
                );
                return;
            }
        }
    }
}
