//! What shows containers: events, stats, top; and cp.

use crate::support::{Host, ROOTFS};

const NONE: &[&str] = &["--network", "none"];

#[test]
fn events_tell_a_containers_life() {
    let host = Host::new();
    host.leave("c", NONE, &["sh", "-c", "exit 3"]);
    host.wharf(&["wait", "c"]).ok();
    host.wharf(&["rm", "c"]).ok();
    let said = host
        .wharf(&["events", "--since", "1h", "--until", "0s", "--json"])
        .ok();
    let actions: Vec<String> = said
        .lines()
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            event["action"].as_str().expect("an action").to_owned()
        })
        .collect();
    assert_eq!(actions, ["create", "start", "die", "destroy"]);
    host.wharf(&["events", "--filter", "colour=red"])
        .refused(1, "is neither");
}

#[test]
fn stats_count_what_is_used() {
    let host = Host::new();
    host.leave("busy", NONE, &["sh", "-c", "while true; do :; done"]);
    host.leave("idle", NONE, &["sleep", "1000"]);
    let said = host
        .wharf(&[
            "stats",
            "--no-stream",
            "--format",
            "{{.Name}} {{.CPUPerc}} {{.PIDs}}",
        ])
        .ok();
    let percent = |name: &str| {
        let line = said
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a line");
        let word = line.split_whitespace().nth(1).expect("a number");
        word.trim_end_matches('%').parse::<f64>().expect("a number")
    };
    assert!(percent("busy") > 5.0, "{said}");
    assert!(percent("idle") < 5.0, "{said}");
    host.wharf(&["stats", "--no-stream", "nobody"])
        .refused(1, "there is no container");
}

#[test]
fn top_lists_the_processes_and_no_others() {
    let host = Host::new();
    host.leave("c", NONE, &["sh", "-c", "sleep 1000 & sleep 1001; true"]);
    wharfline_testkit::wait_for("both to sleep", std::time::Duration::from_secs(5), || {
        let listed = host.wharf(&["top", "c", "--json"]).json();
        let listed = listed.as_array().expect("a list");
        let mut commands: Vec<&str> = listed
            .iter()
            .map(|process| process["command"].as_str().expect("a command"))
            .collect();
        commands.sort_unstable();
        match commands.as_slice() {
            [_, "sleep 1000", "sleep 1001"] => Ok(()),
            _ => Err(format!("{commands:?}")),
        }
    });
    assert!(host.wharf(&["top", "c"]).ok().contains("COMMAND"));
}

#[test]
fn files_are_copied_both_ways_and_links_lead_nowhere() {
    let host = Host::new();
    host.leave("c", NONE, &["sleep", "1000"]);
    let dir = host.lab.path("/var/lib/there");
    std::fs::create_dir_all(dir.join("sub")).expect("made");
    std::fs::write(dir.join("sub/file"), "text\n").expect("written");
    host.wharf(&["cp", "/var/lib/there/sub", "c:/tmp"]).ok();
    assert_eq!(host.exec("c", "cat /tmp/sub/file").ok(), "text\n");
    host.exec("c", "echo changed > /tmp/sub/file; chmod 640 /tmp/sub/file")
        .ok();
    host.wharf(&["cp", "c:/tmp/sub/file", "/var/lib/there/back"])
        .ok();
    assert_eq!(
        std::fs::read_to_string(dir.join("back")).expect("copied"),
        "changed\n"
    );
    host.wharf(&["cp", "c:/nothing", "/var/lib/there"])
        .refused(1, "No such file");
    // A link in the container is the container's.
    std::fs::write(dir.join("target"), "of the host\n").expect("written");
    host.exec("c", "ln -s /var/lib/there /tmp/out").ok();
    host.wharf(&["cp", "/var/lib/there/sub/file", "c:/tmp/out/target"])
        .refused(1, "No such file");
    assert_eq!(
        std::fs::read_to_string(dir.join("target")).expect("read"),
        "of the host\n"
    );
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    host.wharf(&["cp", "c:/tmp/sub", "/var/lib/there/rested"])
        .ok();
    assert!(dir.join("rested").is_dir() || host.lab.path(ROOTFS).is_dir());
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let host = Host::new();
    let script = host.wharf(&["completions", "bash"]).ok();
    host.wharf(&["man", "/var/lib/man"]).ok();
    for command in [
        "run",
        "exec",
        "logs",
        "update",
        "network-connect",
        "volume-rm",
    ] {
        let page = host.lab.path(format!("/var/lib/man/wharf-{command}.1"));
        assert!(page.is_file(), "{command}");
        let last = command.rsplit('-').next().expect("a word");
        assert!(script.contains(last), "{last}");
    }
}
