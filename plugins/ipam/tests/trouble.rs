//! Bad directories, full disks, reboots and collections: a clear error with its code, and nothing lost.

mod common;

use std::fs;

use common::{Host, LEASES, addresses, conf, newest, one_subnet, two_families, with_valid};
use nix::errno::Errno;
use serde_json::json;
use wharfline_testkit::Verb;
use wharfline_testkit::fault::failing_at;

#[test]
fn a_full_disk_is_code_5_and_loses_nothing() {
    let host = Host::new();
    host.lab.mount_small("/var/lib/cni", 64 << 10);
    let conf = two_families();
    host.ok(Verb::Add, &conf, "c1");
    let before = host.leases();
    let ballast = host.lab.path("/var/lib/cni/ballast");
    let _ = fs::write(&ballast, vec![0; 1 << 20]);
    let words = host.refused(Verb::Add, &conf, "c2", 5);
    assert!(
        words.contains("write lease /var/lib/cni/networks/net/10.1.0.3")
            && words.contains("No space left"),
        "{words}"
    );
    assert_eq!(host.leases(), before);
    host.ok(Verb::Check, &conf, "c1");
    host.ok(Verb::Del, &conf, "c1");
    assert!(host.leases().is_empty());
    fs::remove_file(ballast).unwrap();
    host.ok(Verb::Add, &conf, "c2");
}

#[test]
fn an_unwritable_directory_is_code_5_and_loses_nothing() {
    let host = Host::new();
    host.lab.mount_small("/var/lib/cni", 1 << 20);
    let conf = one_subnet();
    host.ok(Verb::Add, &conf, "c1");
    let before = host.leases();
    host.lab.remount_read_only("/var/lib/cni");
    host.ok(Verb::Check, &conf, "c1");
    for (verb, container) in [(Verb::Add, "c2"), (Verb::Del, "c1")] {
        let words = host.refused(verb, &conf, container, 5);
        assert!(
            words.contains(LEASES) && words.contains("Read-only file system"),
            "{verb}: {words}"
        );
    }
    assert_eq!(host.leases(), before);
}

#[test]
fn a_corrupt_directory_is_code_5_and_named() {
    let host = Host::new();
    fs::create_dir_all(host.lab.path("/var/lib/cni/networks")).unwrap();
    fs::write(host.lab.path(LEASES), "").unwrap();
    for verb in [Verb::Add, Verb::Del] {
        let words = host.refused(verb, &one_subnet(), "c1", 5);
        assert!(words.contains(LEASES), "{words}");
    }
}

/// Each operation that could change something fails in turn: the verb succeeds without it, or says so
/// and leaves the world as it was.
#[test]
fn an_add_that_fails_at_any_operation_leaves_no_lease() {
    let conf = two_families();
    for nth in 1..200 {
        let host = Host::new();
        host.ok(Verb::Add, &conf, "keeper");
        let call = host.call(&host.ours, Verb::Add, &conf, "c1");
        let struck = failing_at(&host.lab, &call, nth, Errno::EIO);
        let at = struck.at.clone().unwrap_or_default();
        // An answer that nobody hears is followed by the runtime's DEL.
        let is_unheard = at.starts_with("write(0x1,");
        let expected = if struck.outcome.succeeded() || is_unheard {
            4
        } else {
            2
        };
        assert_eq!(host.leases().len(), expected, "{at}: {}", struck.outcome);
        host.ok(Verb::Del, &conf, "c1");
        assert_eq!(host.leases().len(), 2, "{at}: {:?}", host.leases());
        if struck.at.is_none() {
            return;
        }
    }
}

#[test]
fn a_wrong_configuration_keeps_no_del_from_releasing() {
    let host = Host::new();
    let mut conf = one_subnet();
    host.ok(Verb::Add, &conf, "c1");
    conf["ipam"]["ranges"] = json!("gone");
    host.refused(Verb::Add, &conf, "c2", 7);
    host.ok(Verb::Del, &conf, "c1");
    assert!(host.leases().is_empty());
}

#[test]
fn a_reboot_frees_what_died_with_it_and_keeps_what_lives() {
    let host = Host::new();
    let conf = two_families();
    host.ok(Verb::Add, &conf, "dead");
    host.ok(Verb::Add, &conf, "alive");
    host.lab.forget_boot();
    // A container that was restored before its first ADD in this boot: its namespace is there.
    let alive = host.lab.namespace("alive");
    let results = host.lab.path("/var/lib/cni/results");
    fs::create_dir_all(&results).unwrap();
    for (container, netns) in [("dead", "/run/netns/dead"), ("alive", alive.path())] {
        let entry = json!({"kind": "cniCacheV1", "containerId": container, "ifName": "eth0",
            "networkName": "net", "result": {"interfaces": [{"name": "eth0", "sandbox": netns}]}});
        fs::write(
            results.join(format!("net-{container}-eth0")),
            entry.to_string(),
        )
        .unwrap();
    }
    host.ok(Verb::Add, &conf, "new");
    let holders: Vec<String> = host.leases().into_values().collect();
    assert!(!holders.contains(&"dead\r\neth0".to_owned()), "{holders:?}");
    assert_eq!(
        holders.iter().filter(|h| *h == "alive\r\neth0").count(),
        2,
        "{holders:?}"
    );
    // What lives may be added again: its lease is of an earlier boot.
    let first = host.ok(Verb::Add, &conf, "alive");
    assert_eq!(addresses(&first), ["10.1.0.3/24", "fd00:0:0:1::3/64"]);
    host.refused(Verb::Add, &conf, "alive", 100);
}

#[test]
fn networks_of_one_data_directory_collect_only_their_own() {
    let host = Host::new();
    let other = {
        let mut conf = one_subnet();
        conf["name"] = "other".into();
        conf
    };
    host.ok(Verb::Add, &one_subnet(), "c1");
    host.ok(Verb::Add, &other, "c2");
    host.ok(Verb::Gc, &with_valid(&other, &[]), "");
    assert_eq!(host.leases().len(), 1);
    let gone = host.lab.path("/var/lib/cni/networks/other/10.1.0.2");
    assert!(!gone.exists());
    host.ok(Verb::Gc, &with_valid(&one_subnet(), &["c1"]), "");
    assert_eq!(host.leases().len(), 1);
    // Without a list nothing is known to be invalid.
    host.refused(Verb::Gc, &newest(&one_subnet()), "", 7);
    assert_eq!(host.leases().len(), 1);
}

#[test]
fn status_says_when_a_range_is_exhausted() {
    let host = Host::new();
    let conf = newest(&conf(
        &json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/30"}]]),
    ));
    host.ok(Verb::Status, &conf, "");
    host.ok(Verb::Add, &conf, "c1");
    let words = host.refused(Verb::Status, &conf, "", 50);
    assert!(
        words.contains("range set 1") && words.contains("0 of 1 addresses free"),
        "{words}"
    );
    assert_eq!(
        host.refused(Verb::Add, &conf, "c2", 101)
            .matches("10.2.0.1-10.2.0.2")
            .count(),
        1
    );
}

#[test]
fn people_list_show_reserve_and_release() {
    let host = Host::new();
    host.ok(Verb::Add, &one_subnet(), "c1");
    let binary = host.ours.find("host-local");
    let run = |arguments: &[&str]| {
        let mut command = host.lab.command(&binary);
        command.args(arguments);
        let output = host.lab.run_command(command, b"");
        (output.status.code().unwrap(), output.stdout, output.stderr)
    };
    let (status, table, _) = run(&["ls"]);
    assert_eq!(status, 0);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["NETWORK", "ADDRESS", "CONTAINER", "INTERFACE", "AGE"]
    );
    assert_eq!(lines[1][..4], ["net", "10.1.0.2", "c1", "eth0"]);
    assert_eq!(run(&["reserve", "net", "10.1.0.3"]).0, 0);
    let (status, _, words) = run(&["reserve", "net", "10.1.0.2"]);
    assert!(
        status == 2 && words.contains("leased to c1 eth0"),
        "{words}"
    );
    assert_eq!(
        addresses(&host.ok(Verb::Add, &one_subnet(), "c2")),
        ["10.1.0.4/24"]
    );
    host.ok(Verb::Gc, &with_valid(&one_subnet(), &[]), "");
    assert_eq!(host.leases().len(), 1, "what was reserved stays");
    let (status, shown, _) = run(&["show", "10.1.0.3", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((status, &shown[0]["container"]), (0, &json!("(reserved)")));
    assert_eq!(run(&["release", "net", "10.1.0.3"]).0, 0);
    assert_eq!(
        run(&["release", "net", "10.1.0.3"]).0,
        1,
        "nothing is left to free"
    );
    assert!(run(&["--help"]).1.contains("host-local release pods"));
    assert_eq!(run(&["frobnicate"]).0, 2);
}
