//! dockerd 20.10 with our driver for networks on a parent: containers on the segment that the host is on, as its users know
//! them. The host's uplink is the parent, and what is beyond it their router.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use wharfline_netns_tests::ours;
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Outside, World, wait_for};

use wharfline_netns_tests::docker_host::{DockerHost, NOBODY, PAGE, PLUGINS, page};
use wharfline_netns_tests::machine::{IMAGE, fetches};

/// Subnet, router and range of both families on the host's uplink.
const LAN: [&str; 13] = [
    "--subnet",
    "198.18.0.0/24",
    "--gateway",
    "198.18.0.2",
    "--ip-range",
    "198.18.0.96/27",
    "--aux-address",
    "printer=198.18.0.97",
    "--ipv6",
    "--subnet",
    "2001:db8:18::/64",
    "--gateway",
    "2001:db8:18::2",
];

#[track_caller]
fn lan(host: &DockerHost, name: &str, options: &[&str]) {
    let parent = ["-o", "parent=uplink0"];
    host.on_parent(name, &[&LAN[..], &parent, options].concat());
}

/// The world once such a network has come and gone.
fn before(host: &DockerHost) -> World {
    lan(host, "warm", &[]);
    host.run("warm", "warm", &[]);
    host.remove(&["warm"], "warm");
    host.world()
}

/// What `docker run --mac-address` of dockerd's own release asks for; newer clients refuse to ask it of that dockerd.
fn create_with_mac(host: &DockerHost, name: &str, mac: &str, v4: &str, v6: &str) {
    let addresses = json!({"IPv4Address": v4, "IPv6Address": v6});
    let body = json!({"Image": IMAGE, "MacAddress": mac, "HostConfig": {"NetworkMode": "lan"},
        "NetworkingConfig": {"EndpointsConfig": {"lan": {"IPAMConfig": addresses}}}});
    let url = format!("http://docker/v1.41/containers/create?name={name}");
    let body = body.to_string();
    let socket = [
        "--unix-socket",
        "/run/docker.sock",
        "-H",
        "Content-Type: application/json",
    ];
    let post = [&["curl", "-sS"], &socket[..], &["-d", &body, &url]].concat();
    let told = host.machine.run(&post);
    assert!(told.contains("\"Id\""), "{told}");
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn containers_are_on_the_hosts_segment_with_the_addresses_asked_for() {
    let host = DockerHost::boot();
    let before = before(&host);
    lan(&host, "lan", &[]);
    create_with_mac(
        &host,
        "web",
        "02:00:00:00:00:77",
        "198.18.0.100",
        "2001:db8:18::100",
    );
    host.docker(&["start", "web"]);
    host.run("client", "lan", &[]);
    let told = host.docker(&["exec", "web", "busybox", "ip", "addr", "show", "eth0"]);
    for expected in [
        "198.18.0.100/24",
        "2001:db8:18::100/64",
        "02:00:00:00:00:77",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    // In the range, and neither the aux address nor what is taken.
    let client = host.v4("client", "lan");
    assert_eq!(client, "198.18.0.96");
    host.serves(ip("198.18.0.100"));
    host.serves(ip("2001:db8:18::100"));
    host.reaches("client", &page("198.18.0.100"));
    host.reaches("client", &page("2001:db8:18::100"));
    let named = host.docker(&["exec", "client", "busybox", "nslookup", "web"]);
    assert!(named.contains("198.18.0.100"), "{named}");
    let _far = host.outside.serves(tcp(Outside::FAR_V4, 80));
    assert!(
        host.gets_anything("client", &page(&Outside::FAR_V4.to_string())),
        "by their router"
    );
    host.machine
        .lab
        .host()
        .does_not_reach(tcp(ip("198.18.0.100"), 80));

    let wharf = ours().directory().join("wharf").display().to_string();
    let shown = host.machine.run(&[&wharf, "network", "inspect", "lan"]);
    for expected in [
        "wharf-macvlan (Docker)",
        "uplink0",
        "198.18.0.100/24",
        "web",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }

    host.docker(&["restart", "-t", "1", "web"]);
    host.serves(ip("198.18.0.100"));
    host.docker(&["stop", "-t", "1", "web"]);
    host.docker(&["start", "web"]);
    host.serves(ip("198.18.0.100"));
    host.remove(&["web", "client"], "lan");
    before.returns("the host is as before", || host.world());
}

#[test]
fn an_address_that_somebody_else_has_fails_with_his_mac() {
    let host = DockerHost::boot();
    host.outside.ip("addr add 198.18.0.110/24 dev eth0");
    lan(&host, "lan", &[]);
    let before = host.world();
    let taken = [
        "run",
        "-d",
        "--network",
        "lan",
        "--ip",
        "198.18.0.110",
        IMAGE,
    ];
    let told = host.fails(&taken);
    assert!(
        told.contains("198.18.0.110 is in use on the segment by 02:00:00:00:00:02"),
        "{told}"
    );
    before.returns("the host is as before", || host.world());
    host.run("free", "lan", &["--ip", "198.18.0.111"]);
    host.serves(ip("198.18.0.111"));
}

#[test]
fn neighbours_hear_of_a_container_that_has_come_up() {
    let host = DockerHost::boot();
    let before = before(&host);
    lan(&host, "lan", &[]);
    let silent = ["-o", "com.docker.network.advertise_addr_nmsgs=0"];
    let on_uplink = ["--subnet", "10.79.0.0/24", "-o", "parent=uplink0"];
    host.on_parent("quiet", &[&on_uplink[..], &silent].concat());
    let [v4, v6, quiet] = ["198.18.0.100", "2001:db8:18::100", "10.79.0.9"];
    for address in [v4, v6, quiet] {
        host.misremembers(address);
    }
    host.run("quiet", "quiet", &["--ip", quiet]);
    host.run("web", "lan", &["--ip", v4, "--ip6", v6]);
    let mac = host.address("web", "lan", "MacAddress");
    let told = |address: &str| {
        wait_for("a neighbour to be told", Duration::from_secs(10), || {
            let remembered = host.remembered(address);
            (remembered == mac).then_some(()).ok_or(remembered)
        });
    };
    told(v4);
    told(v6);
    assert_eq!(host.remembered(quiet), NOBODY);
    // One that joins while it runs is told of as well.
    host.docker(&["network", "connect", "quiet", "web"]);
    host.docker(&["network", "disconnect", "lan", "web"]);
    host.misremembers(v4);
    host.docker(&["network", "connect", "--ip", v4, "lan", "web"]);
    told(v4);
    let many = ["-o", "com.docker.network.advertise_addr_nmsgs=4"];
    let create = ["network", "create", "-d", "wharf-macvlan"];
    let refused = host.fails(&[&create[..], &on_uplink[2..], &many, &["bad"]].concat());
    assert!(
        refused.contains("4\" is no number from 0 to 3"),
        "{refused}"
    );
    host.docker(&["rm", "-f", "web", "quiet"]);
    host.docker(&["network", "rm", "lan", "quiet"]);
    before.returns("the host is as before", || host.world());
}

#[test]
fn options_of_a_network_do_what_they_say() {
    let host = DockerHost::boot();
    let before = before(&host);
    // Without a parent: each other, and nothing else.
    host.on_parent("lone", &["--subnet", "10.78.0.0/24"]);
    host.run("lone1", "lone", &[]);
    host.run("lone2", "lone", &[]);
    host.reaches("lone2", &page(&host.v4("lone1", "lone")));
    let _far = host.outside.serves(tcp(Outside::FAR_V4, 80));
    let far = |container: &str| host.gets_anything(container, &page(&Outside::FAR_V4.to_string()));
    assert!(!far("lone1"), "there is no way out");
    // Internal: on the segment, without a way out of it.
    host.on_parent(
        "inner",
        &[
            "--internal",
            "--subnet",
            "10.79.0.0/24",
            "-o",
            "parent=uplink0",
        ],
    );
    host.run("inner1", "inner", &[]);
    host.run("inner2", "inner", &[]);
    host.reaches("inner2", &page(&host.v4("inner1", "inner")));
    assert!(!far("inner1"), "no route leads out");
    // Several networks on one parent, of one kind.
    lan(
        &host,
        "lan",
        &[
            "-o",
            "host_access=true",
            "-o",
            "com.docker.network.driver.mtu=1400",
        ],
    );
    host.run("web", "lan", &[]);
    host.run("private", "inner", &[]);
    let web = ip(&host.v4("web", "lan"));
    host.serves(web);
    assert!(
        fetches(host.machine.lab.host(), tcp(web, 80)).contains(PAGE),
        "host_access"
    );
    let link = host.docker(&["exec", "web", "busybox", "ip", "link", "show", "eth0"]);
    assert!(link.contains("mtu 1400"), "{link}");
    for (option, word) in [
        ("macvlan_mode=passthru", "network"),
        ("macvlan_mode=hub", "macvlan_mode"),
        ("colour=red", "option colour is not known"),
        ("parent=eth9", "eth9"),
    ] {
        let create = [
            "network",
            "create",
            "-d",
            "wharf-macvlan",
            "-o",
            "parent=uplink0",
            "-o",
            option,
            "bad",
        ];
        let told = host.fails(&create);
        assert!(told.contains(word), "{told}");
    }
    host.remove(&["lone1", "lone2"], "lone");
    host.remove(&["inner1", "inner2", "private"], "inner");
    host.remove(&["web"], "lan");
    before.returns("the host is as before", || host.world());
}

#[test]
fn a_running_container_joins_and_leaves() {
    let host = DockerHost::boot();
    let before = before(&host);
    lan(&host, "lan", &[]);
    host.run("web", "lan", &[]);
    host.run("other", "bridge", &[]);
    let web = page(&host.v4("web", "lan"));
    host.docker(&["network", "connect", "lan", "other"]);
    host.reaches("other", &web);
    host.reaches("web", &page(&host.v4("other", "lan")));
    host.docker(&["network", "disconnect", "lan", "other"]);
    host.remove(&["web", "other"], "lan");
    before.returns("the host is as before", || host.world());
}

#[test]
fn what_is_killed_comes_back_with_all_that_it_had() {
    let mut host = DockerHost::boot();
    let before = before(&host);
    lan(&host, "lan", &[]);
    host.run(
        "web",
        "lan",
        &["--ip", "198.18.0.100", "--restart", "always"],
    );
    host.run("brief", "lan", &[]);
    host.serves(ip("198.18.0.100"));
    let brief = host.v4("brief", "lan");

    // The plugins alone: nothing of what runs is touched, and the next call finds all that there was.
    host.kill(&PLUGINS);
    host.serves(ip("198.18.0.100"));
    host.start_plugins();
    host.run("second", "lan", &[]);
    assert_ne!(host.v4("second", "lan"), "198.18.0.100");
    host.reaches("second", &page("198.18.0.100"));
    host.docker(&["rm", "-f", "second"]);

    // dockerd and the plugins at once: what should run runs again, and a dead one's address is given out again.
    host.kill_all_and_restart("web");
    host.serves(ip("198.18.0.100"));
    host.docker(&["rm", "-f", "brief"]);
    host.run("heir", "lan", &["--ip", &brief]);
    host.serves(ip(&brief));
    host.remove(&["web", "heir"], "lan");
    before.returns("the host is as before", || host.world());
}

#[test]
fn with_live_restore_containers_run_on_while_dockerd_and_plugins_restart() {
    let mut host = DockerHost::with(&["--live-restore"]);
    let before = before(&host);
    lan(&host, "lan", &[]);
    host.run("web", "lan", &["--ip", "198.18.0.100"]);
    let started = host.docker(&["inspect", "-f", "{{.State.StartedAt}}", "web"]);
    host.machine.signal("TERM", &["dockerd"]);
    host.kill(&PLUGINS);
    host.docker_is_gone();
    host.serves(ip("198.18.0.100"));
    host.start_plugins();
    host.start_dockerd();
    host.serves(ip("198.18.0.100"));
    assert_eq!(
        host.docker(&["inspect", "-f", "{{.State.StartedAt}}", "web"]),
        started
    );
    let told = host.fails(&[
        "run",
        "-d",
        "--network",
        "lan",
        "--ip",
        "198.18.0.100",
        IMAGE,
    ]);
    assert!(
        told.contains("198.18.0.100") || told.contains("already in use"),
        "{told}"
    );
    host.docker(&["rm", "-f", "web"]);
    host.docker(&["network", "rm", "lan"]);
    // dockerd itself puts its jumps in another order when it starts again.
    let ours = |world: World| world.without("host nft ip filter chain FORWARD rule");
    ours(before).returns("the host is as before", || ours(host.world()));
}
