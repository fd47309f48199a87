//! SIGKILL of `volume-local` and its children at every moment of what reads or writes a whole volume: backup, restore,
//! export and import. As in `volume_crash`, each volume is whole afterwards; so are the repository and the archive.

use std::fs;

use serde_json::{Value, json};

use crate::volume_crash::{Case, Host, new_is_a_copy_or_none, without_new};

const REPOSITORY: &str = "/run/repository";
pub(crate) const SECRETS: &str = "/run/secrets.json";
const ARCHIVE: &str = "/run/archive.tar";
/// Moments of one operation, unless all are asked for: each is looked at by several calls.
const MOMENTS: usize = 12;

/// What opens the repository.
pub(crate) fn secrets() -> String {
    json!({"password": "correct horse"}).to_string()
}

fn repository() -> Value {
    json!({"address": REPOSITORY, "secrets": SECRETS})
}

/// What an operation that answers line by line has done.
pub(crate) fn done(host: &Host, operation: &str, asked: &Value) -> Value {
    let last = host.ok(&format!("/Wharfline.Volume.{operation}"), asked);
    assert!(last.get("done").is_some(), "{operation}: {last}");
    last["done"].clone()
}

fn back_up(host: &Host) -> Value {
    done(
        host,
        "Backup",
        &json!({"name": "data", "repository": repository()}),
    )
}

/// A host whose volume has a backup and an export.
fn host(kind: &str, options: Value) -> Host {
    let host = Host::on(kind, options);
    fs::write(host.lab.path(SECRETS), secrets()).expect("the secrets");
    let first = json!({"name": "data", "repository": repository(), "init": true});
    done(&host, "Backup", &first);
    done(&host, "Export", &json!({"name": "data", "path": ARCHIVE}));
    let kept = ["cp", "-a", REPOSITORY, "/run/repository.first"];
    host.lab.exec(&kept);
    host
}

const BACKUP: Case = Case {
    path: "/Wharfline.Volume.Backup",
    body: |_, _| json!({"name": "data", "repository": repository()}),
    prepare: |host| {
        let script = "rm -rf $1 && cp -a $1.first $1";
        host.lab.exec(&["sh", "-ec", script, "sh", REPOSITORY]);
    },
    whole: |host, nth| {
        assert_eq!(host.read("data"), "first");
        let of = json!({"repository": repository()});
        let verified = done(host, "Verify", &of);
        assert_eq!(verified["damages"], json!([]));
        let before = verified["snapshots"].as_u64().expect("a number");
        assert!((1..=2).contains(&before), "{before} backups");
        back_up(host);
        let locks = fs::read_dir(host.lab.path(REPOSITORY).join("locks"));
        let locks = locks.expect("a folder").flatten();
        let whole: Vec<_> = locks.filter(|lock| lock.file_name().len() == 64).collect();
        assert!(
            whole.is_empty(),
            "{whole:?} of the one killed at stop {nth}"
        );
    },
};

/// The first one, which makes the repository as well.
const FIRST_BACKUP: Case = Case {
    body: |_, _| json!({"name": "data", "repository": repository(), "init": true}),
    prepare: |host| drop(host.lab.exec(&["rm", "-rf", REPOSITORY])),
    whole: |host, _| {
        assert_eq!(host.read("data"), "first");
        let again = json!({"name": "data", "repository": repository(), "init": true});
        done(host, "Backup", &again);
        let of = json!({"repository": repository()});
        assert_eq!(done(host, "Verify", &of)["damages"], json!([]));
    },
    ..BACKUP
};

const RESTORE: Case = Case {
    path: "/Wharfline.Volume.Restore",
    body: |host, _| {
        let options = &host.options;
        json!({"name": "new", "repository": repository(), "at": "latest", "options": options})
    },
    prepare: without_new,
    whole: new_is_a_copy_or_none,
};

const EXPORT: Case = Case {
    path: "/Wharfline.Volume.Export",
    body: |_, _| json!({"name": "data", "path": ARCHIVE}),
    prepare: |host| fs::write(host.lab.path(ARCHIVE), "an earlier one").expect("a file"),
    whole: |host, _| {
        assert_eq!(host.read("data"), "first");
        let archive = fs::read(host.lab.path(ARCHIVE)).expect("an archive");
        if archive != b"an earlier one" {
            imported(host);
        }
        done(host, "Export", &json!({"name": "data", "path": ARCHIVE}));
        imported(host);
        let part = host.lab.path(format!("{ARCHIVE}.part"));
        assert!(
            !part.exists(),
            "the next export left what a killed one had begun"
        );
    },
};

fn imported(host: &Host) {
    let asked = json!({"name": "probe", "path": ARCHIVE, "options": host.options});
    done(host, "Import", &asked);
    assert_eq!(host.read("probe"), "first");
    host.remove("probe");
}

const IMPORT: Case = Case {
    path: "/Wharfline.Volume.Import",
    body: |host, _| json!({"name": "new", "path": ARCHIVE, "options": host.options}),
    prepare: without_new,
    whole: new_is_a_copy_or_none,
};

/// Imports before exports: those put another archive there.
fn each(kind: &str, options: Value) {
    let host = host(kind, options);
    for case in [&RESTORE, &IMPORT, &EXPORT, &BACKUP] {
        host.survives(case, MOMENTS);
    }
}

#[test]
fn what_is_copied_from_and_into_folders_is_whole_after_a_kill_at_any_moment() {
    each("", json!({}));
}

#[test]
fn what_is_copied_from_and_into_subvolumes_is_whole_after_a_kill_at_any_moment() {
    each("btrfs", json!({"size": "64M"}));
}

#[test]
fn what_is_copied_from_and_into_images_is_whole_after_a_kill_at_any_moment() {
    each("", json!({"size": "64M"}));
}

#[test]
fn a_repository_can_be_made_after_a_kill_at_any_moment_of_its_making() {
    host("", json!({})).survives(&FIRST_BACKUP, MOMENTS);
}
