//! Docker's plugin protocol on a real kernel, call by call: what clients rely on, and what happens when they crash.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_netns_tests::docker::{Server, endpoint, join, network, of, ports};
use wharfline_testkit::{Lab, World};

fn bridge(lab: &Lab) -> Server {
    Server::start(lab, "bridge")
}

fn create(server: &Server, id: &str, subnet: &str) {
    server.call("/NetworkDriver.CreateNetwork", &network(id, subnet));
}

/// An endpoint in a container, as dockerd makes one; what Join answered.
fn run(server: &Server, at: (&str, &str), address: &str, sandbox: &str) -> Value {
    let (network, id) = at;
    server.call(
        "/NetworkDriver.CreateEndpoint",
        &endpoint(network, id, address),
    );
    server.call("/NetworkDriver.Join", &join(network, id, sandbox))
}

pub(crate) fn world(lab: &Lab) -> World {
    let files = ["file /run/wharfline/", "file /var/lib/wharfline/"];
    let all = [&["host "][..], &files].concat();
    wharfline_netns_tests::lasting(lab.world().only(&all)).without_empty("file /var/lib/wharfline/")
}

pub(crate) fn warm(lab: &Lab, server: &Server) -> World {
    let sandbox = lab.namespace("warm");
    create(server, "warm", "10.66.0.0/24");
    run(server, ("warm", "warm"), "10.66.0.2/24", sandbox.path());
    server.call(
        "/NetworkDriver.ProgramExternalConnectivity",
        &ports("warm", "warm", &[(9, 9)]),
    );
    server.call(
        "/NetworkDriver.RevokeExternalConnectivity",
        &of("warm", "warm"),
    );
    server.call("/NetworkDriver.Leave", &of("warm", "warm"));
    server.call("/NetworkDriver.DeleteEndpoint", &of("warm", "warm"));
    server.call(
        "/NetworkDriver.DeleteNetwork",
        &json!({"NetworkID": "warm"}),
    );
    world(lab)
}

#[test]
fn what_is_refused_says_why_under_both_keys() {
    let lab = Lab::new();
    let server = bridge(&lab);
    for (path, status) in [
        ("/NetworkDriver.Nothing", 404),
        ("/IpamDriver.RequestPool", 404),
        ("/", 404),
    ] {
        assert_eq!(server.post(path, "{}").status, status, "{path}");
    }
    for body in ["", "{", "[]", "null", r#"{"NetworkID":"../../x"}"#] {
        let answer = server.post("/NetworkDriver.CreateNetwork", body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!(
            answer.body["Err"]
                .as_str()
                .is_some_and(|told| told.contains("body"))
        );
    }
    let told = server.refused("/NetworkDriver.Join", &join("nowhere", "e1", "/x"));
    assert!(told.contains("network nowhere is not known"), "{told}");
    create(&server, "n1", "10.66.1.0/24");
    let told = server.refused("/NetworkDriver.Join", &join("n1", "e1", "/x"));
    assert!(told.contains("endpoint e1 is not known"), "{told}");
    let mut unknown = endpoint("n1", "e1", "10.66.1.2/24");
    unknown["Options"] = json!({"colour": "red"});
    let told = server.refused("/NetworkDriver.CreateEndpoint", &unknown);
    assert!(told.contains("option colour"), "{told}");
    let told = server.refused(
        "/NetworkDriver.CreateNetwork",
        &network("n2", "10.66.1.0/24"),
    );
    assert!(told.contains("10.66.1.0/24"), "{told}");
    // What is deleted twice, or never was, is deleted.
    for _ in 0..2 {
        server.call("/NetworkDriver.DeleteEndpoint", &of("n1", "e1"));
        server.call("/NetworkDriver.DeleteNetwork", &json!({"NetworkID": "n1"}));
    }
}

#[test]
fn answers_hold_what_dockerd_left_open_and_nothing_else() {
    let lab = Lab::new();
    let server = bridge(&lab);
    let sandbox = lab.namespace("c1");
    create(&server, "n1", "10.66.1.0/24");
    let answer = server.call(
        "/NetworkDriver.CreateEndpoint",
        &endpoint("n1", "e1", "10.66.1.2/24"),
    );
    assert_eq!(
        answer,
        json!({"Interface": {"MacAddress": "0a:58:0a:42:01:02"}})
    );
    let mut with_mac = endpoint("n1", "e2", "10.66.1.3/24");
    with_mac["Interface"]["MacAddress"] = json!("02:aa:bb:cc:dd:ee");
    let answer = server.call("/NetworkDriver.CreateEndpoint", &with_mac);
    assert_eq!(answer, json!({"Interface": {}}));
    let joined = server.call("/NetworkDriver.Join", &join("n1", "e2", sandbox.path()));
    let link = joined["InterfaceName"]["SrcName"].as_str().expect("a link");
    assert!(
        lab.exec(&["ip", "link", "show", link])
            .contains("02:aa:bb:cc:dd:ee")
    );
    assert_eq!(joined["Gateway"], "10.66.1.1");
    assert_eq!(joined["DisableGatewayService"], false);
    assert_eq!(joined["InterfaceName"]["DstPrefix"], "eth");

    let mut internal = network("n2", "10.66.2.0/24");
    internal["Options"]["com.docker.network.internal"] = json!(true);
    server.call("/NetworkDriver.CreateNetwork", &internal);
    let joined = run(&server, ("n2", "e3"), "10.66.2.2/24", sandbox.path());
    assert_eq!(
        joined.get("Gateway"),
        None,
        "a gateway would become a default route"
    );
    assert_eq!(
        joined["DisableGatewayService"], true,
        "nor is dockerd to add one of its own"
    );

    let six = json!({"NetworkID": "n3", "Options": {"com.docker.network.enable_ipv4": false}, "IPv4Data": [],
        "IPv6Data": [{"AddressSpace": "s", "Pool": "fd00:66::/64", "Gateway": "fd00:66::1/64"}]});
    server.call("/NetworkDriver.CreateNetwork", &six);
    let mut alone = of("n3", "e4");
    alone["Interface"] = json!({"AddressIPv6": "fd00:66::2/64"});
    server.call("/NetworkDriver.CreateEndpoint", &alone);
    let joined = server.call("/NetworkDriver.Join", &join("n3", "e4", sandbox.path()));
    assert_eq!(joined["GatewayIPv6"], "fd00:66::1");
}

#[test]
fn ports_are_programmed_again_and_otherwise_without_a_revoke() {
    let lab = Lab::new();
    let server = bridge(&lab);
    let sandbox = lab.namespace("c1");
    create(&server, "n1", "10.66.1.0/24");
    run(&server, ("n1", "e1"), "10.66.1.2/24", sandbox.path());
    let program = |wanted: &[(u16, u16)]| {
        server.call(
            "/NetworkDriver.ProgramExternalConnectivity",
            &ports("n1", "e1", wanted),
        );
        let listed = lab.exec(&["nft", "list", "map", "inet", "wharfline", "published4_any"]);
        listed.matches("10.66.1.2").count()
    };
    assert_eq!(program(&[(8080, 80), (8081, 80)]), 2);
    // The order of the list says nothing.
    assert_eq!(program(&[(8081, 80), (8080, 80)]), 2);
    assert_eq!(program(&[(8082, 80)]), 1);
    // Whose port it is, is told.
    let other = lab.namespace("c2");
    run(&server, ("n1", "e2"), "10.66.1.3/24", other.path());
    let told = server.refused(
        "/NetworkDriver.ProgramExternalConnectivity",
        &ports("n1", "e2", &[(8082, 80)]),
    );
    assert!(
        told.contains("8082") && told.contains("container e1"),
        "{told}"
    );
    for _ in 0..2 {
        server.call("/NetworkDriver.RevokeExternalConnectivity", &of("n1", "e1"));
    }
    server.call(
        "/NetworkDriver.ProgramExternalConnectivity",
        &ports("n1", "e2", &[(8082, 80)]),
    );
}

#[test]
fn ports_of_a_container_move_between_its_networks_as_dockerd_29_moves_them() {
    let lab = Lab::new();
    let server = bridge(&lab);
    let sandbox = lab.namespace("c1");
    for (id, subnet, address) in [
        ("n1", "10.66.1.0/24", "10.66.1.2/24"),
        ("n2", "10.66.2.0/24", "10.66.2.2/24"),
    ] {
        create(&server, id, subnet);
        run(&server, (id, "e1"), address, sandbox.path());
    }
    let leads_to = || {
        let listed = lab.exec(&["nft", "list", "map", "inet", "wharfline", "published4_any"]);
        ["10.66.1.2", "10.66.2.2"].map(|address| listed.matches(address).count())
    };
    let program = |network: &str| {
        let body = ports(network, "e1", &[(8080, 80)]);
        server.call("/NetworkDriver.ProgramExternalConnectivity", &body);
    };
    program("n1");
    assert_eq!(leads_to(), [1, 0]);
    // The second network becomes the way out: both are programmed, and nothing is revoked.
    program("n1");
    program("n2");
    assert_eq!(leads_to(), [0, 1]);
    // It is left again, and the first is programmed with what it had.
    server.call("/NetworkDriver.RevokeExternalConnectivity", &of("n2", "e1"));
    program("n1");
    assert_eq!(leads_to(), [1, 0]);
}

#[test]
fn an_address_that_is_given_out_again_evicts_the_dead_and_refuses_the_living() {
    let lab = Lab::new();
    let server = bridge(&lab);
    let before = warm(&lab, &server);
    create(&server, "n1", "10.66.1.0/24");
    let first = lab.namespace("c1");
    run(&server, ("n1", "e1"), "10.66.1.2/24", first.path());
    server.call(
        "/NetworkDriver.ProgramExternalConnectivity",
        &ports("n1", "e1", &[(8080, 80)]),
    );
    let told = server.refused(
        "/NetworkDriver.CreateEndpoint",
        &endpoint("n1", "e2", "10.66.1.2/24"),
    );
    assert!(told.contains("endpoint e1"), "{told}");
    // dockerd was killed: no Revoke, no Leave, no DeleteEndpoint; and the plugin has been killed with it.
    drop(first);
    drop(server);
    let server = bridge(&lab);
    let second = lab.namespace("c2");
    run(&server, ("n1", "e2"), "10.66.1.2/24", second.path());
    server.call(
        "/NetworkDriver.ProgramExternalConnectivity",
        &ports("n1", "e2", &[(8080, 80)]),
    );
    let records = world(&lab)
        .objects("file /run/wharfline/")
        .filter(|file| file.contains("e1@"))
        .count();
    assert_eq!(records, 0);
    server.call("/NetworkDriver.Leave", &of("n1", "e2"));
    server.call("/NetworkDriver.DeleteEndpoint", &of("n1", "e2"));
    server.call("/NetworkDriver.DeleteNetwork", &json!({"NetworkID": "n1"}));
    before.returns("the host is as before", || world(&lab));
}

#[test]
fn a_network_is_there_again_after_a_reboot() {
    let lab = Lab::new();
    let server = bridge(&lab);
    create(&server, "n1", "10.66.1.0/24");
    drop(server);
    lab.exec(&["ip", "link", "del", "wh-n1"]);
    lab.exec(&["nft", "flush", "ruleset"]);
    lab.forget_boot();
    let _server = bridge(&lab);
    assert!(
        lab.exec(&["ip", "addr", "show", "wh-n1"])
            .contains("10.66.1.1/24")
    );
}

#[test]
fn our_socket_goes_with_us_and_an_inherited_one_stays() {
    let lab = Lab::new();
    assert!(!bridge(&lab).stop());
    let server = Server::inheriting(&lab, "bridge");
    let answer = server.call("/Plugin.Activate", &json!({}));
    assert_eq!(answer, json!({"Implements": ["NetworkDriver"]}));
    assert!(server.stop());
}

#[test]
fn a_bridge_that_was_there_before_stays() {
    let lab = Lab::new();
    let server = bridge(&lab);
    lab.exec(&["ip", "link", "add", "mine", "type", "bridge"]);
    let mut adopting = network("n1", "10.66.1.0/24");
    adopting["Options"]["com.docker.network.generic"]["com.docker.network.bridge.name"] =
        json!("mine");
    server.call("/NetworkDriver.CreateNetwork", &adopting);
    server.call("/NetworkDriver.DeleteNetwork", &json!({"NetworkID": "n1"}));
    lab.exec(&["ip", "link", "show", "mine"]);
}

/// Rounds of the test below; each kills the server at another moment of an endpoint's life.
const KILLS: u64 = 50;

#[test]
fn a_server_that_is_killed_at_any_moment_leaves_nothing_behind() {
    let lab = Lab::new();
    let server = bridge(&lab);
    let before = warm(&lab, &server);
    create(&server, "n1", "10.66.1.0/24");
    drop(server);
    for round in 0..KILLS {
        let server = bridge(&lab);
        let sandbox = lab.namespace(&format!("c{round}"));
        let id = format!("e{round}");
        thread::scope(|scope| {
            let life = scope.spawn(|| live_and_die(&server, &id, sandbox.path()));
            // From before the first call to after the last: some 60 ms in all.
            thread::park_timeout(Duration::from_micros(round * 1_300));
            server.kill();
            life.join()
                .expect("calls of a dead server are errors, no panics");
        });
    }
    let server = bridge(&lab);
    run(
        &server,
        ("n1", "last"),
        "10.66.1.2/24",
        lab.namespace("last").path(),
    );
    server.call(
        "/NetworkDriver.ProgramExternalConnectivity",
        &ports("n1", "last", &[(8080, 80)]),
    );
    server.call("/NetworkDriver.DeleteNetwork", &json!({"NetworkID": "n1"}));
    before.returns("the host is as before", || world(&lab));
}

/// The life of an endpoint, always with the same address and port, as far as the server lives.
fn live_and_die(server: &Server, id: &str, sandbox: &str) {
    let calls = [
        ("CreateEndpoint", endpoint("n1", id, "10.66.1.2/24")),
        ("Join", join("n1", id, sandbox)),
        (
            "ProgramExternalConnectivity",
            ports("n1", id, &[(8080, 80)]),
        ),
        ("RevokeExternalConnectivity", of("n1", id)),
        ("Leave", of("n1", id)),
        ("DeleteEndpoint", of("n1", id)),
    ];
    for (call, body) in calls {
        let path = format!("/NetworkDriver.{call}");
        match server.try_post(&path, &body.to_string()) {
            Ok(answer) => assert_eq!(answer.status, 200, "{call}: {}", answer.body),
            Err(_) => return,
        }
    }
}
