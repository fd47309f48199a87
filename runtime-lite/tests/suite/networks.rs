//! `wharf network` and containers on networks, through the real plugins.

use std::time::Duration;

use serde_json::{Value, json};
use wharfline_testkit::wait_for;

use crate::support::{Host, ROOTFS};

const SERVE: &[&str] = &["httpd", "-f", "-h", "/www"];

fn create(host: &Host, words: &[&str]) -> Value {
    let words = [&["network", "create"], words].concat();
    let path = host.wharf(&words).ok();
    let text = std::fs::read_to_string(host.lab.path(path.trim())).expect("the conflist");
    serde_json::from_str(&text).expect("JSON")
}

fn fetch(host: &Host, url: &str) -> String {
    wait_for("the server to answer", Duration::from_secs(10), || {
        let output = host
            .lab
            .try_exec(&["busybox", "wget", "-q", "-O", "-", url], "");
        match output.succeeded() {
            true => Ok(output.stdout),
            false => Err(output.to_string()),
        }
    })
}

#[test]
fn a_created_network_is_a_conflist_that_any_runtime_can_use() {
    let host = Host::new();
    let list = create(
        &host,
        &[
            "web",
            "--subnet",
            "10.1.2.0/24",
            "--gateway",
            "10.1.2.254",
            "--mtu",
            "1400",
        ],
    );
    assert_eq!(list["name"], "web");
    assert_eq!(list["cniVersion"], "1.1.0");
    let bridge = &list["plugins"][0];
    assert_eq!(bridge["bridge"], "wl-web");
    assert_eq!(bridge["mtu"], 1400);
    let range = json!([[{"subnet": "10.1.2.0/24", "gateway": "10.1.2.254"}]]);
    assert_eq!(bridge["ipam"]["ranges"], range);
    assert_eq!(list["plugins"][1]["capabilities"]["portMappings"], true);
}

#[test]
fn networks_get_different_subnets_and_none_that_the_host_routes() {
    let host = Host::new();
    host.lab.host().ip("link add v0 type veth peer name v1\naddr add 10.90.0.7/25 dev v0\nlink set v0 up\nlink set v1 up");
    let subnet = |name: &str| {
        let list = create(&host, &[name]);
        list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"].clone()
    };
    assert_eq!(subnet("a"), "10.90.1.0/24");
    assert_eq!(subnet("b"), "10.90.2.0/24");
}

#[test]
fn wrong_wishes_are_refused_by_name() {
    let host = Host::new();
    create(&host, &["web"]);
    let refuse = |words: &[&str], complaint: &str| {
        let words = [&["network", "create"], words].concat();
        host.wharf(&words).refused(1, complaint);
    };
    refuse(&["web"], "network web exists already");
    refuse(
        &["x", "--subnet", "10.1.2.3/24"],
        "10.1.2.3/24: is an address in 10.1.2.0/24",
    );
    refuse(
        &["x", "--gateway", "10.9.9.9"],
        "10.9.9.9: the gateway is in none",
    );
    let wrong = host.wharf(&[
        "network",
        "create",
        "x",
        "--bridge",
        "a-name-that-is-too-long",
    ]);
    wrong.refused(2, "must not be longer than 15 bytes");
    host.wharf(&["network", "rm", "nowhere"])
        .refused(1, "there is no network \"nowhere\"");
}

#[test]
fn a_published_port_answers_and_everything_is_gone_afterwards() {
    let host = Host::new();
    create(&host, &["web"]);
    let before = host.warm("web");
    let server = host.start("server", &["--network", "web", "-p", "8080:80"], SERVE);
    for url in ["http://127.0.0.1:8080/", "http://10.90.0.1:8080/"] {
        assert_eq!(fetch(&host, url), "hello\n", "{url}");
    }
    let address = host.container("server").expect("listed")["addresses"][0].clone();
    let url = format!("http://{}/", address.as_str().expect("an address"));
    let client = host.run(&["--network", "web"], &["wget", "-q", "-O", "-", &url]);
    assert_eq!(client.ok(), "hello\n");
    end(&host, server);
    before.returns("the server to leave nothing", || host.world());
}

#[test]
fn inspect_and_ps_say_who_is_connected_to_what() {
    let host = Host::new();
    create(&host, &["web"]);
    let server = host.start("server", &["--network", "web", "-p", "8080:80"], SERVE);
    let seen = host.wharf(&["network", "inspect", "web", "--json"]).json();
    let connection = &seen["connections"][0];
    assert_eq!(connection["name"], "server");
    assert_eq!(connection["interface"], "eth0");
    assert_eq!(connection["hostSide"][0], "wl-web");
    assert_eq!(connection["ports"][0], "8080:80/tcp");
    let veth = connection["hostSide"][1].as_str().expect("the host's end");
    let links = host
        .lab
        .exec(&["ip", "-o", "link", "show", "master", "wl-web"]);
    assert!(links.contains(veth), "{veth} is not among {links}");
    let page = host.wharf(&["network", "inspect", "web"]).ok();
    assert!(page.contains("server") && page.contains(veth), "{page}");
    end(&host, server);
}

#[test]
fn check_names_what_was_taken_away_behind_our_back() {
    let host = Host::new();
    create(&host, &["web"]);
    let server = host.start("server", &["--network", "web"], &["sleep", "1000"]);
    host.wharf(&["network", "check"]).ok();
    host.wharf(&["network", "status", "web"]).ok();
    let netns = host.container("server").expect("listed")["netns"].clone();
    let netns = netns
        .as_str()
        .expect("a path")
        .trim_start_matches("/run/netns/")
        .to_owned();
    host.lab
        .exec(&["ip", "-n", &netns, "route", "del", "default"]);
    let checked = host.wharf(&["network", "check", "server", "--json"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let answers: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    let answer = answers
        .as_array()
        .expect("a list")
        .iter()
        .find(|answer| answer["network"] == "web");
    let complaint = answer.expect("of web")["complaint"]
        .as_str()
        .expect("a complaint");
    assert!(complaint.contains("0.0.0.0/0"), "{complaint}");
    end(&host, server);
}

#[test]
fn a_network_in_use_stays_and_an_unused_one_goes_with_its_bridge() {
    let host = Host::new();
    create(&host, &["web"]);
    let server = host.start("server", &["--network", "web"], &["sleep", "1000"]);
    host.wharf(&["network", "rm", "web"])
        .refused(1, "network web is used by server");
    end(&host, server);
    host.wharf(&["network", "rm", "web"]).ok();
    let links = host.lab.exec(&["ip", "-o", "link"]);
    assert!(!links.contains("wl-web"), "{links}");
    host.wharf(&["network", "inspect", "web"])
        .refused(1, "there is no network");
}

#[test]
fn without_a_network_option_the_default_network_is_made() {
    let host = Host::new();
    let seen = host
        .wharf(&["run", "--rm", ROOTFS, "ip", "-o", "-4", "addr"])
        .ok();
    assert!(seen.contains("eth0    inet 10.90.0.2/24"), "{seen}");
    let networks = host.wharf(&["network", "ls", "--json"]).json();
    assert_eq!(networks[0]["name"], "wharf");
}

#[test]
fn a_failed_attachment_leaves_nothing_and_says_why() {
    let host = Host::new();
    let list = json!({"cniVersion": "1.1.0", "name": "tiny", "plugins": [
        {"type": "bridge", "bridge": "wl-tiny", "isGateway": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.7.0.0/30"}]]}}]});
    std::fs::write(host.lab.path("/run/tiny.conflist"), list.to_string()).expect("written");
    host.wharf(&["network", "create", "--from", "/run/tiny.conflist"])
        .ok();
    let before = host.warm("tiny");
    let only = host.start("only", &["--network", "tiny"], &["sleep", "1000"]);
    let during = host.world();
    host.run(&["--network", "tiny"], &["true"])
        .refused(125, "plugin bridge of network tiny failed (ADD)");
    during.returns("the refused one to leave nothing", || host.world());
    end(&host, only);
    before.returns("the first to leave nothing", || host.world());
}

#[test]
fn networks_of_the_configuration_folder_are_used_as_they_are_and_never_removed() {
    let host = Host::new();
    let list = json!({"cniVersion": "1.0.0", "name": "theirs", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.8.0.0/24"}]]}}]});
    std::fs::create_dir_all(host.lab.path("/etc/cni/net.d")).expect("made");
    std::fs::write(
        host.lab.path("/etc/cni/net.d/10-theirs.conflist"),
        list.to_string(),
    )
    .expect("written");
    let seen = host
        .run(&["--network", "theirs"], &["ip", "-o", "-4", "addr"])
        .ok();
    assert!(seen.contains("10.8.0.2/24"), "{seen}");
    host.wharf(&["network", "rm", "theirs"])
        .refused(1, "not wharf's to remove");
}

/// Ends a container by ending its command, and waits for the `wharf run` that made it.
pub(crate) fn end(host: &Host, mut process: wharfline_testkit::Process) {
    let all = host.wharf(&["ps", "--json"]).json();
    for about in all.as_array().expect("a list") {
        if let Some(pid) = about["pid"].as_i64() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
            // It may have ended by itself.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
    crate::run::exit_code(&mut process);
}

#[test]
fn namespaces_of_others_made_meanwhile_do_not_keep_ours_from_being_removed() {
    let host = Host::new();
    host.leave("c", &["--network", "none"], &["sleep", "1000"]);
    // The first of its boot: ip-netns(8) sees to the folder's mount.
    host.lab.exec(&["ip", "netns", "add", "theirs"]);
    host.wharf(&["rm", "-f", "c"]).ok();
    let left = host.lab.exec(&["ls", "/run/netns"]);
    assert_eq!(left, "theirs\n");
}
