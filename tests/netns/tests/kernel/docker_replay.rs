//! The captured calls of dockerd 20.10 and of a 29 development build, made again against our plugins on a real kernel:
//! every one is understood, and what those daemons need to go on is in the answer.

use std::collections::HashMap;

use serde_json::{Value, json};
use wharfline_netns_tests::docker::Server;
use wharfline_testkit::{Lab, Namespace};

const NETWORK: &str = include_str!("../../../../crates/docker/testdata/network.jsonl");
const IPAM: &str = include_str!("../../../../crates/docker/testdata/ipam.jsonl");
const IPAM_WITH_MAC: &str = include_str!("../../../../crates/docker/testdata/ipam-with-mac.jsonl");
const GLOBAL: &str = include_str!("../../../../crates/docker/testdata/global.jsonl");
const ALL: &str = include_str!("../../../../crates/docker/testdata/all.jsonl");
const SPEC: &str = include_str!("../../../../crates/docker/testdata/spec.jsonl");

struct Captured {
    scenario: String,
    path: String,
    body: Value,
    /// Whether the captured plugin was told to fail it.
    failed: bool,
    response: Value,
}

fn captured(transcript: &str, protocol: &str) -> Vec<Captured> {
    let line = |line: &str| {
        let call: Value = serde_json::from_str(line).expect("a captured call");
        let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
        let refused = ["Err", "Error"]
            .iter()
            .any(|key| call["response"][key].is_string());
        Captured {
            scenario: text("scenario"),
            path: text("path"),
            body: serde_json::from_str(&text("body")).unwrap_or(Value::Null),
            failed: call["status"] != 200 || refused,
            response: call["response"].clone(),
        }
    };
    let mut calls: Vec<Captured> = transcript.lines().map(line).collect();
    calls.retain(|call| call.path.starts_with(protocol));
    calls
}

/// Replays the calls about networks; how many there were.
struct Networks<'a> {
    lab: &'a Lab,
    server: Server,
    sandboxes: HashMap<String, Namespace>,
    /// The sandbox of whoever joined with an address last.
    joined: HashMap<String, String>,
    /// The address of each endpoint.
    addresses: HashMap<String, String>,
}

impl Networks<'_> {
    fn replay(&mut self, transcript: &str) -> usize {
        let calls = captured(transcript, "/NetworkDriver.");
        let mut networks = Vec::new();
        for call in &calls {
            let body = self.ours(call);
            let answer = self.server.post(&call.path, &body.to_string());
            let told = format!("{} {} {body}: {}", call.scenario, call.path, answer.body);
            match (call.path.as_str(), call.failed) {
                // Of a network whose creation failed dockerd does not speak again.
                ("/NetworkDriver.CreateNetwork", true) => self.delete(&body["NetworkID"]),
                ("/NetworkDriver.CreateNetwork", false) => networks.push(body["NetworkID"].clone()),
                // The captured plugin gave an interface that dockerd refuses, to see what becomes of it.
                (_, true) => continue,
                _ => {}
            }
            assert_eq!(answer.status, 200, "{told}");
            self.has_what_dockerd_needs(call, &answer.body, &told);
        }
        networks.iter().for_each(|id| self.delete(id));
        calls.len()
    }

    /// The call without what was for the captured plugin alone, and with a namespace of the lab's.
    fn ours(&mut self, call: &Captured) -> Value {
        let mut body = call.body.clone();
        for options in ["/Options", "/Options/com.docker.network.generic"] {
            let options = body.pointer_mut(options).and_then(Value::as_object_mut);
            if let Some(options) = options {
                options.retain(|key, _| key.starts_with("com.docker.network."));
            }
        }
        let endpoint = body["EndpointID"].as_str().unwrap_or_default().to_owned();
        if let Some(address) = body.pointer("/Interface/Address").and_then(Value::as_str) {
            // Given out again: whoever had it is dead. That dockerd was killed, no call of the capture says.
            if let Some(dead) = self.joined.remove(address) {
                self.sandboxes.remove(&dead);
            }
            self.addresses.insert(endpoint.clone(), address.to_owned());
        }
        if let Some(path) = body.get("SandboxKey").and_then(Value::as_str) {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let lab = self.lab;
            let sandbox = self
                .sandboxes
                .entry(name.clone())
                .or_insert_with(|| lab.namespace(&name));
            body["SandboxKey"] = json!(sandbox.path());
            if let Some(address) = self.addresses.get(&endpoint).filter(|a| !a.is_empty()) {
                self.joined.insert(address.clone(), name);
            }
        }
        body
    }

    fn delete(&self, id: &Value) {
        self.server
            .call("/NetworkDriver.DeleteNetwork", &json!({ "NetworkID": id }));
    }

    fn has_what_dockerd_needs(&self, call: &Captured, answer: &Value, told: &str) {
        match call.path.as_str() {
            "/NetworkDriver.CreateEndpoint" => {
                let asked = call.body["Interface"]["MacAddress"]
                    .as_str()
                    .unwrap_or_default();
                let answered = answer["Interface"].get("MacAddress").is_some();
                assert_eq!(asked.is_empty(), answered, "{told}");
                assert_eq!(answer["Interface"].get("Address"), None, "{told}");
            }
            "/NetworkDriver.Join" => {
                let link = answer["InterfaceName"]["SrcName"].as_str().expect(told);
                self.lab.exec(&["ip", "link", "show", link]);
            }
            "/NetworkDriver.EndpointOperInfo" => assert!(answer["Value"].is_object(), "{told}"),
            _ => {}
        }
    }
}

#[test]
fn every_captured_call_about_networks_is_understood() {
    let lab = Lab::new();
    let server = Server::start(&lab, "bridge");
    let mut networks = Networks {
        lab: &lab,
        server,
        sandboxes: HashMap::new(),
        joined: HashMap::new(),
        addresses: HashMap::new(),
    };
    let calls: usize = [NETWORK, ALL, SPEC, GLOBAL]
        .iter()
        .map(|transcript| networks.replay(transcript))
        .sum();
    assert_eq!(calls, 345 + 14 + 13 + 5);
}

/// Replays the calls about addresses; how many there were.
fn replay_ipam(server: &Server, transcript: &str) -> usize {
    let calls = captured(transcript, "/IpamDriver.");
    // What the captured plugin called pools and addresses by, and what ours does.
    let mut pools: HashMap<String, String> = HashMap::new();
    let mut addresses: HashMap<(String, String), String> = HashMap::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for call in &calls {
        let mut body = call.body.clone();
        let theirs = (text(&body["PoolID"]), text(&body["Address"]));
        if let Some(ours) = pools.get(&theirs.0) {
            body["PoolID"] = json!(ours);
        }
        if call.path == "/IpamDriver.ReleaseAddress"
            && let Some(ours) = addresses.get(&theirs)
        {
            body["Address"] = json!(ours);
        }
        // Ours has no options of its own, and says so.
        let options = body.get("Options").and_then(Value::as_object);
        if call.path == "/IpamDriver.RequestPool" && options.is_some_and(|o| !o.is_empty()) {
            let told = server.refused(&call.path, &body);
            assert!(told.contains("ipam option"), "{told}");
            body["Options"] = json!({});
        }
        let answer = server.post(&call.path, &body.to_string());
        let told = format!("{} {} {body}: {}", call.scenario, call.path, answer.body);
        if call.failed {
            undo(server, &call.path, &answer.body, &body);
            continue;
        }
        assert_eq!(answer.status, 200, "{told}");
        match call.path.as_str() {
            "/IpamDriver.RequestPool" => {
                pools.insert(text(&call.response["PoolID"]), text(&answer.body["PoolID"]));
            }
            "/IpamDriver.RequestAddress" => {
                let bare = |address: &Value| {
                    text(address)
                        .split('/')
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                };
                let key = (theirs.0, bare(&call.response["Address"]));
                addresses.insert(key, bare(&answer.body["Address"]));
            }
            _ => {}
        }
    }
    calls.len()
}

/// What the captured plugin failed, ours has done: dockerd does not give it back.
fn undo(server: &Server, path: &str, answer: &Value, asked: &Value) {
    match path {
        "/IpamDriver.RequestPool" if answer["PoolID"].is_string() => {
            server.call(
                "/IpamDriver.ReleasePool",
                &json!({"PoolID": answer["PoolID"]}),
            );
        }
        "/IpamDriver.RequestAddress" if answer["Address"].is_string() => {
            let address = answer["Address"].as_str().and_then(|a| a.split('/').next());
            let body = json!({"PoolID": asked["PoolID"], "Address": address});
            server.call("/IpamDriver.ReleaseAddress", &body);
        }
        _ => {}
    }
}

#[test]
fn every_captured_call_about_addresses_is_understood() {
    let lab = Lab::new();
    let server = Server::start(&lab, "host-local");
    let calls: usize = [IPAM, IPAM_WITH_MAC, GLOBAL, ALL]
        .iter()
        .map(|transcript| replay_ipam(&server, transcript))
        .sum();
    assert_eq!(calls, 242 + 14 + 6 + 10);
}

#[test]
fn a_network_without_a_subnet_clashes_with_no_route_of_any_table() {
    let lab = Lab::new();
    let outside = lab.outside();
    let server = Server::start(&lab, "host-local");
    // A VPN with a table of its own, and one that refuses what it does not carry.
    lab.host()
        .ip("route add 10.192.0.0/16 via 198.18.0.2 table 51820
         route add unreachable 10.193.0.0/16
         route add 10.194.0.0/24 nexthop via 198.18.0.2 nexthop via 198.18.0.2 weight 2");
    let asked =
        json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {}, "V6": false});
    let pool = |server: &Server| server.call("/IpamDriver.RequestPool", &asked)["Pool"].clone();
    assert_eq!(pool(&server), "10.194.1.0/24");
    // Another one each time, also by a server that knows of the first from the disk alone.
    drop(server);
    let server = Server::start(&lab, "host-local");
    assert_eq!(pool(&server), "10.194.2.0/24");
    drop(outside);
}
