//! Networks of containers: several at once, given addresses, shared namespaces, hot attach, names.

use std::time::Duration;

use wharfline_testkit::{Outside, Process, wait_for};

use crate::support::{Host, ROOTFS};

const SLEEP: &[&str] = &["sleep", "1000"];

fn network(host: &Host, name: &str, subnet: &str) {
    host.wharf(&["network", "create", name, "--subnet", subnet])
        .ok();
}

#[test]
fn several_networks_become_several_interfaces_in_their_order() {
    let host = Host::new();
    network(&host, "a", "10.1.0.0/24");
    network(&host, "b", "10.2.0.0/24");
    let options = [
        "--network",
        "a:ip=10.1.0.9,mac=02:00:00:00:00:09",
        "--network",
        "b:ifname=lan0",
    ];
    let said = host.run(&options, &["ip", "-o", "addr"]).ok();
    assert!(said.contains("eth0    inet 10.1.0.9/24"), "{said}");
    assert!(said.contains("lan0    inet 10.2.0.2/24"), "{said}");
    let said = host.run(&options, &["ip", "-o", "link"]).ok();
    assert!(said.contains("02:00:00:00:00:09"), "{said}");
    host.run(&["--network", "a", "--network", "a"], &["true"])
        .refused(125, "named twice");
    host.run(&["--network", "a:ip=nonsense"], &["true"])
        .refused(125, "no address");
    host.run(&["--network", "a:colour=red"], &["true"])
        .refused(125, "other than ip, mac, ifname");
    host.run(&["--network", "a:gw-priority=high"], &["true"])
        .refused(125, "gw-priority that is not");
    host.run(&["--network", "a", "--network", "host"], &["true"])
        .refused(125, "can't be combined");
}

#[test]
fn a_running_container_is_connected_and_disconnected() {
    let host = Host::new();
    network(&host, "a", "10.1.0.0/24");
    network(&host, "b", "10.2.0.0/24");
    host.leave("warm", &["--network", "a"], &["true"]);
    host.wharf(&["wait", "warm"]).ok();
    host.leave("c", &["--network", "a"], SLEEP);
    let before = host.exec("c", "ip -o -4 addr; cat /etc/hosts").ok();
    host.wharf(&["network", "connect", "b:ip=10.2.0.7", "c"])
        .ok();
    let during = host.exec("c", "ip -o -4 addr; cat /etc/hosts").ok();
    assert!(during.contains("eth1    inet 10.2.0.7/24"), "{during}");
    assert!(during.contains("10.2.0.7\t"), "{during}");
    host.wharf(&["network", "connect", "b", "c"])
        .refused(1, "named twice");
    host.wharf(&["network", "rm", "b"])
        .refused(1, "is used by c");
    host.wharf(&["network", "disconnect", "b", "c"]).ok();
    assert_eq!(host.exec("c", "ip -o -4 addr; cat /etc/hosts").ok(), before);
    host.wharf(&["network", "disconnect", "b", "c"])
        .refused(1, "is not connected");
    host.wharf(&["network", "connect", "nowhere", "c"])
        .refused(1, "there is no network");
    // One that rests is connected at its next start.
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    host.wharf(&["network", "connect", "b", "c"]).ok();
    host.wharf(&["start", "c"]).ok();
    assert!(
        host.exec("c", "ip -o -4 addr")
            .ok()
            .contains("eth1    inet 10.2.0.")
    );
}

/// By which interface a container's packets leave its networks, of either family.
fn ways_out(host: &Host) -> (String, String) {
    let by = |far: std::net::IpAddr| {
        let said = host.exec("c", &format!("ip route get {far}")).ok();
        let words: Vec<&str> = said.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "dev");
        words[at.expect("an interface") + 1].to_owned()
    };
    (by(Outside::FAR_V4), by(Outside::FAR_V6))
}

/// Packets that a network's bridge has taken in.
fn taken(host: &Host, network: &str) -> u64 {
    let bridge = format!("wl-{network}");
    let said = host.lab.exec(&["ip", "-s", "-j", "link", "show", &bridge]);
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    told[0]["stats64"]["rx"]["packets"]
        .as_u64()
        .expect("a number")
}

/// A far server answers the container, by the way of this network alone.
#[track_caller]
fn leaves_by(host: &Host, network: &str, ifname: &str, others: &[&str]) {
    assert_eq!(ways_out(host), (ifname.to_owned(), ifname.to_owned()));
    let before: Vec<u64> = others.iter().map(|other| taken(host, other)).collect();
    let own = taken(host, network);
    let url = format!("http://{}:8000/", Outside::FAR_V4);
    assert_eq!(host.exec("c", &format!("wget -q -O - {url}")).ok(), "far\n");
    // Request, acknowledgements, end: no fewer than five.
    assert!(taken(host, network) >= own + 5);
    for (other, before) in others.iter().zip(before) {
        // Its neighbour discovery may go on.
        assert!(taken(host, other) < before + 5, "{other}");
    }
}

#[test]
fn the_network_of_the_highest_priority_is_the_way_out() {
    let host = Host::new();
    let outside = host.lab.outside();
    let page = tempfile::tempdir().expect("a folder");
    std::fs::write(page.path().join("index.html"), "far\n").expect("written");
    let mut server = outside.command("busybox");
    server
        .args(["httpd", "-f", "-p", "8000", "-h"])
        .arg(page.path());
    let _server = Process::start(server);
    for name in ["a", "b", "d"] {
        host.wharf(&["network", "create", name, "--ipv6"]).ok();
    }
    let options = [
        "--network",
        "a",
        "--network",
        "b:gw-priority=5",
        "--network",
        "d",
    ];
    host.leave("c", &options, SLEEP);
    wait_for("the far server", Duration::from_secs(10), || {
        let url = format!("http://{}:8000/", Outside::FAR_V4);
        let tried = host.exec("c", &format!("wget -q -O - {url}"));
        (tried.code == Some(0)).then_some(()).ok_or(tried.stderr)
    });
    leaves_by(&host, "b", "eth1", &["a", "d"]);
    host.wharf(&["network", "check"]).ok();
    // The next best takes over: of equals the one that came first.
    host.wharf(&["network", "disconnect", "b", "c"]).ok();
    leaves_by(&host, "a", "eth0", &["d"]);
    host.wharf(&["network", "connect", "b:gw-priority=-1", "c"])
        .ok();
    leaves_by(&host, "a", "eth0", &["b", "d"]);
    host.wharf(&["network", "disconnect", "b", "c"]).ok();
    host.wharf(&["network", "connect", "b:gw-priority=1000", "c"])
        .ok();
    leaves_by(&host, "b", "eth1", &["a", "d"]);
    // Nor does a new start change it, in which all are made at once.
    for _ in 0..5 {
        host.wharf(&["restart", "-t", "0", "c"]).ok();
        assert_eq!(ways_out(&host), ("eth1".to_owned(), "eth1".to_owned()));
    }
    leaves_by(&host, "b", "eth1", &["a", "d"]);
}

#[test]
fn a_shared_namespace_lives_as_long_as_anybody_in_it() {
    let host = Host::new();
    network(&host, "a", "10.1.0.0/24");
    host.leave("owner", &["--network", "a"], SLEEP);
    host.leave("guest", &["--network", "container:owner"], SLEEP);
    let addresses = |name: &str| host.exec(name, "ip -o -4 addr show eth0").ok();
    assert_eq!(addresses("owner"), addresses("guest"));
    host.run(&["--network", "container:owner", "-p", "1:1"], &["true"])
        .refused(125, "publishing a port needs a network");
    let own = addresses("guest");
    host.wharf(&["stop", "-t", "0", "owner"]).ok();
    host.wharf(&["gc"]).ok();
    assert_eq!(addresses("guest"), own);
    host.wharf(&["start", "owner"]).ok();
    assert_eq!(addresses("owner"), own);
    host.wharf(&["stop", "-t", "0", "owner", "guest"]).ok();
    let left = host.lab.exec(&["ip", "-o", "link"]);
    assert!(!left.contains("wl-a"), "{left}");
    host.wharf(&["start", "guest"])
        .refused(125, "has no network namespace");
}

#[test]
fn exposed_ports_are_published_and_listed() {
    let host = Host::new();
    network(&host, "a", "10.1.0.0/24");
    host.leave(
        "c",
        &["--network", "a", "-P", "--expose", "80"],
        &["httpd", "-f", "-h", "/www"],
    );
    let said = host.wharf(&["port", "c"]).ok();
    let (inside, outside) = said.trim().split_once(" -> ").expect("a mapping");
    assert_eq!(inside, "80/tcp");
    let url = format!("http://{}/", outside.replace("0.0.0.0", "127.0.0.1"));
    let fetched =
        wharfline_testkit::wait_for("the server", std::time::Duration::from_secs(10), || {
            let got = host
                .lab
                .try_exec(&["busybox", "wget", "-q", "-O", "-", &url], "");
            if got.succeeded() {
                Ok(got.stdout)
            } else {
                Err(got.to_string())
            }
        });
    assert_eq!(fetched, "hello\n");
}

#[test]
fn a_link_is_true_also_after_the_others_restart() {
    let host = Host::new();
    network(&host, "a", "10.1.0.0/24");
    host.leave("db", &["--network", "a"], SLEEP);
    host.leave(
        "app",
        &[
            "--network",
            "a",
            "--link",
            "db:base",
            "--add-host",
            "up:192.0.2.1",
        ],
        SLEEP,
    );
    let hosts = || host.exec("app", "cat /etc/hosts").ok();
    assert!(hosts().contains("10.1.0.2\tbase db"), "{}", hosts());
    assert!(hosts().contains("192.0.2.1\tup"), "{}", hosts());
    host.wharf(&["stop", "-t", "0", "db"]).ok();
    host.leave("other", &["--network", "a:ip=10.1.0.2"], SLEEP);
    host.wharf(&["start", "db"]).ok();
    assert!(!hosts().contains("10.1.0.2\tbase"), "{}", hosts());
    assert!(hosts().contains("\tbase db"), "{}", hosts());
}

#[test]
fn name_servers_are_the_ones_that_are_given() {
    let host = Host::new();
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--dns",
        "192.0.2.53",
        ROOTFS,
        "cat",
        "/etc/resolv.conf",
    ];
    assert_eq!(host.wharf(&words).ok(), "nameserver 192.0.2.53\n");
}
