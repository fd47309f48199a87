//! Backups of volumes through the driver: what was backed up comes back, as of one moment where the backend can, and what
//! can't be so is said.

use std::fs;

use serde_json::{Value, json};

use crate::volume_host::Host;

const REPOSITORY: &str = "/run/repository";
const SECRETS: &str = "/run/secrets.json";

/// The repository, with its secrets where the driver's process reads them.
fn repository(host: &Host) -> Value {
    let secrets = json!({"password": "correct horse"}).to_string();
    fs::write(host.lab.path(SECRETS), secrets).expect("the secrets");
    json!({"address": REPOSITORY, "secrets": SECRETS})
}

fn back_up(host: &Host, name: &str, live: bool) -> Result<Value, String> {
    let asked = json!({"name": name, "repository": repository(host), "init": true, "live": live});
    host.work("Backup", &asked)
}

fn restore(host: &Host, name: &str, options: &Value) -> Result<Value, String> {
    let asked =
        json!({"name": name, "repository": repository(host), "at": "latest", "options": options});
    host.work("Restore", &asked)
}

fn write(host: &Host, volume: &str, file: &str, contents: &str) {
    let place = host.mount(volume, "writer");
    fs::write(place.join(file), contents).expect("a file");
    host.unmount(volume, "writer");
}

fn read(host: &Host, volume: &str, file: &str) -> String {
    let place = host.mount(volume, "reader");
    let contents = fs::read_to_string(place.join(file)).expect("a file");
    host.unmount(volume, "reader");
    contents
}

#[test]
fn a_volume_of_each_kind_comes_back_and_restic_checks_its_repository() {
    for (root, options) in [("", "{}"), ("btrfs", "{}"), ("", r#"{"size": "64M"}"#)] {
        let host = Host::on(root);
        let options: Value = serde_json::from_str(options).expect("JSON");
        host.create("data", &options);
        write(&host, "data", "greeting", "hello");
        let before = host.mounts();
        let done = back_up(&host, "data", false).expect("backed up");
        assert!(
            done["consistency"]
                .as_str()
                .is_some_and(|told| told.starts_with("of one moment")),
            "{done}"
        );
        assert_eq!(host.mounts(), before, "something stayed mounted");
        restore(&host, "copy", &options).expect("restored");
        assert_eq!(read(&host, "copy", "greeting"), "hello");
        let of = json!({"repository": repository(&host)});
        assert_eq!(
            host.work("Verify", &of).expect("verified")["damages"],
            json!([])
        );
        let restic = [
            "sh",
            "-ec",
            "echo 'correct horse' >/run/pw; restic -q --no-cache -r $1 -p /run/pw check --read-data",
            "sh",
            REPOSITORY,
        ];
        host.lab.exec(&restic);
    }
}

#[test]
fn a_volume_in_use_is_backed_up_as_of_one_moment_or_said_not_to_be() {
    let host = Host::on("btrfs");
    host.create("data", &json!({}));
    write(&host, "data", "greeting", "hello");
    host.mount("data", "user");
    let done = back_up(&host, "data", false).expect("backed up");
    assert_eq!(done["consistency"], "of one moment, by a snapshot");
    let host = Host::new();
    host.create("data", &json!({}));
    write(&host, "data", "greeting", "hello");
    host.mount("data", "user");
    let refused = back_up(&host, "data", false).expect_err("in use");
    assert!(refused.contains("--live"), "{refused}");
    let done = back_up(&host, "data", true).expect("backed up");
    assert!(
        done["consistency"]
            .as_str()
            .is_some_and(|told| told.starts_with("not of one moment")),
        "{done}"
    );
}

#[test]
fn a_failed_restore_leaves_no_volume_and_a_forgotten_backup_is_gone() {
    let host = Host::new();
    host.create("data", &json!({}));
    write(&host, "data", "greeting", "hello");
    for _ in 0..3 {
        back_up(&host, "data", false).expect("backed up");
    }
    let asked = json!({"repository": repository(&host), "keep": {"last": 1}});
    let forgotten = host.work("Forget", &asked).expect("forgotten");
    assert_eq!(forgotten["removed"].as_array().map(Vec::len), Some(2));
    let listed = host
        .work("Backups", &json!({"repository": repository(&host)}))
        .expect("listed");
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let wrong = json!({"name": "copy", "repository": repository(&host), "at": "0000"});
    let refused = host.work("Restore", &wrong).expect_err("no such backup");
    assert!(refused.contains("has no snapshot 0000"), "{refused}");
    let listed = host.ask("List", &json!({"usage": false}));
    assert_eq!(
        listed["volumes"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
}
