//! Restart policies, restoring after a crash and a reboot, health checks.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharfline_testkit::wait_for;

use crate::support::{Host, ROOTFS};

const SLEEP: &[&str] = &["sleep", "1000"];

fn options(policy: &str) -> [&str; 4] {
    ["--network", "none", "--restart", policy]
}

fn restarts(host: &Host, name: &str) -> u64 {
    let about = host.wharf(&["inspect", name]).json();
    about[0]["state"]["restartCount"].as_u64().expect("a count")
}

#[test]
fn a_failing_container_is_started_again_so_often_and_waits_longer_each_time() {
    let host = Host::new();
    let begun = std::time::Instant::now();
    host.leave(
        "c",
        &options("on-failure:2"),
        &["sh", "-c", "echo run; exit 3"],
    );
    host.await_state("c", "exited");
    assert_eq!(restarts(&host, "c"), 2);
    assert_eq!(host.wharf(&["logs", "c"]).ok(), "run\nrun\nrun\n");
    // 100 and 200 milliseconds.
    assert!(begun.elapsed() >= Duration::from_millis(300));
    host.leave("fine", &options("on-failure"), &["true"]);
    host.await_state("fine", "exited");
    assert_eq!(restarts(&host, "fine"), 0);
}

#[test]
fn always_starts_again_until_it_is_stopped() {
    let host = Host::new();
    host.leave("c", &options("always"), &["sleep", "0.05"]);
    wait_for("two restarts", Duration::from_secs(10), || {
        match restarts(&host, "c") {
            0 | 1 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    });
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    host.await_state("c", "exited");
    host.wharf(&["restore"]).ok();
    host.await_state("c", "exited");
    host.wharf(&["run", "--rm", "--restart", "always", ROOTFS, "true"])
        .refused(125, "can't be combined");
    host.wharf(&["run", "-d", "--restart", "sometimes", ROOTFS, "true"])
        .refused(125, "is none of");
}

#[test]
fn a_restarted_container_keeps_its_addresses() {
    let host = Host::new();
    host.wharf(&["network", "create", "web"]).ok();
    let script = "ip -o -4 addr show eth0; sleep 0.1; exit 1";
    host.leave(
        "c",
        &["--network", "web", "--restart", "on-failure:2"],
        &["sh", "-c", script],
    );
    host.await_state("c", "exited");
    let said = host.wharf(&["logs", "c"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines.iter().all(|line| line.contains("10.90.0.2/24")),
        "{said}"
    );
}

#[test]
fn a_crash_of_the_shim_is_mended_by_restore() {
    let host = Host::new();
    for (name, policy) in [("back", "unless-stopped"), ("gone", "no")] {
        host.leave(name, &options(policy), SLEEP);
        let about = host.wharf(&["inspect", name]).json();
        let pid = about[0]["state"]["pid"].as_i64().expect("a pid");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("running");
        let rest = stat.rsplit_once(')').expect("a name").1;
        let shim = rest.split_whitespace().nth(1).expect("a parent");
        kill(Pid::from_raw(shim.parse().expect("a pid")), Signal::SIGKILL).expect("killed");
        host.await_state(name, "dead");
    }
    assert_eq!(host.wharf(&["restore"]).ok(), "back\n");
    host.await_state("back", "running");
    host.await_state("gone", "exited");
}

#[test]
fn after_a_reboot_what_was_not_stopped_comes_back() {
    let host = Host::new();
    for (name, policy, stopped) in [
        ("always", "always", true),
        ("running", "unless-stopped", false),
        ("stopped", "unless-stopped", true),
        ("never", "no", false),
    ] {
        host.leave(name, &options(policy), SLEEP);
        if stopped {
            host.wharf(&["stop", "-t", "0", name]).ok();
        }
    }
    // As a reboot would: everything in the kernel is gone, nobody saw the end, and the boot is another.
    for name in ["running", "never"] {
        let about = host.wharf(&["inspect", name]).json();
        let status = host
            .lab
            .path(about[0]["folder"].as_str().expect("a folder"))
            .join("status.json");
        let before = std::fs::read_to_string(&status).expect("a status");
        host.wharf(&["stop", "-t", "0", name]).ok();
        std::fs::write(&status, before).expect("written");
    }
    for name in ["always", "running", "stopped", "never"] {
        let about = host.wharf(&["inspect", name]).json();
        let status = host
            .lab
            .path(about[0]["folder"].as_str().expect("a folder"))
            .join("status.json");
        let text = std::fs::read_to_string(&status).expect("a status");
        let mut document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        document["boot_id"] = "another".into();
        std::fs::write(&status, document.to_string()).expect("written");
    }
    let started = host.wharf(&["restore"]).ok();
    let mut started: Vec<&str> = started.lines().collect();
    started.sort_unstable();
    assert_eq!(started, ["always", "running"]);
    host.await_state("never", "exited");
    host.await_state("stopped", "exited");
}

#[test]
fn a_container_says_whether_it_is_well() {
    let host = Host::new();
    let probe = [
        "--network",
        "none",
        "--health-cmd",
        "echo asked; test -e /tmp/well",
        "--health-interval",
        "50ms",
        "--health-retries",
        "2",
    ];
    host.leave("c", &probe, SLEEP);
    let health = |wanted: &str| {
        wait_for(
            &format!("it to be {wanted}"),
            Duration::from_secs(10),
            || {
                let about = host.wharf(&["inspect", "c"]).json();
                let health = about[0]["state"]["health"].clone();
                if health["state"] == wanted {
                    Ok(health)
                } else {
                    Err(health.to_string())
                }
            },
        )
    };
    let sick = health("unhealthy");
    assert_eq!(sick["output"], "asked\n");
    host.exec("c", "touch /tmp/well").ok();
    health("healthy");
    let listed = host.wharf(&["ps", "--format", "{{.Status}}"]).ok();
    assert!(listed.contains("(healthy)"), "{listed}");
    let events = host
        .wharf(&[
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "--filter",
            "event=health_status",
        ])
        .ok();
    assert_eq!(events.lines().count(), 2, "{events}");
}

#[test]
fn a_probe_that_hangs_counts_as_a_failure_and_leaves_no_process() {
    hanging_probes_are_gone("50ms");
}

/// On a slow host the time is up while the probe is still being made.
#[test]
fn a_probe_whose_time_is_up_before_it_begins_leaves_no_process() {
    hanging_probes_are_gone("1ms");
}

fn hanging_probes_are_gone(timeout: &str) {
    let host = Host::new();
    let probe = [
        "--network",
        "none",
        "--health-cmd",
        "sleep 1000",
        "--health-interval",
        "20ms",
        "--health-timeout",
        timeout,
        "--health-retries",
        "3",
    ];
    host.leave("c", &probe, SLEEP);
    wait_for("many probes to fail", Duration::from_secs(20), || {
        let about = host.wharf(&["inspect", "c"]).json();
        let health = &about[0]["state"]["health"];
        match (health["state"].as_str(), health["failures"].as_u64()) {
            (Some("unhealthy"), Some(20..)) => Ok(()),
            _ => Err(health.to_string()),
        }
    });
    // The container's own, and those of a probe that is on its way or being killed. Of those that are left there are more.
    wait_for("probes to be gone", Duration::from_secs(10), || {
        let processes = host.wharf(&["top", "c", "--json"]).json();
        match processes.as_array().map_or(0, Vec::len) {
            0..=4 => Ok(()),
            _ => Err(format!("{processes:#}")),
        }
    });
}
