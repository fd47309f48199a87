//! What people see of the plugins that serve Docker: metrics as Prometheus' own library reads them, one line of log for
//! each call, and `wharf network` for networks of which no dockerd tells the name.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use wharfline_netns_tests::docker::{Server, endpoint, join, network, ports};
use wharfline_netns_tests::ours;
use wharfline_testkit::Lab;

/// Reads the text on stdin with the client library of Prometheus, which refuses what is not of the format, and prints
/// each sample: name, labels, value; and checks the histograms.
const READER: &str = r#"
import json, sys
from prometheus_client.parser import text_string_to_metric_families
samples = []
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.type in ("counter", "gauge", "histogram"), family
    assert family.documentation, family
    last = {}
    for sample in family.samples:
        samples.append([sample.name, sample.labels, sample.value])
        if sample.name.endswith("_bucket"):
            call = sample.labels["call"]
            assert sample.value >= last.get(call, 0), sample
            last[call] = sample.value
        if sample.name.endswith("_count"):
            assert sample.value == last[sample.labels["call"]], sample
assert len({(name, tuple(sorted(labels.items()))) for name, labels, _ in samples}) == len(samples)
json.dump(samples, sys.stdout)
"#;

const METRICS: &str = "/run/metrics.sock";

fn get(lab: &Lab, request: &str) -> String {
    let mut stream = UnixStream::connect(lab.path(METRICS)).expect("connect");
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The samples by name, each with its labels and value.
fn samples(lab: &Lab) -> Vec<(String, Value, f64)> {
    let answer = get(lab, "GET /metrics");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let read = lab.try_exec(&["/usr/bin/python3", "-c", READER], body);
    assert!(read.succeeded(), "{read}\n{body}");
    let read: Vec<(String, Value, f64)> = serde_json::from_str(&read.stdout).expect("JSON");
    read
}

#[track_caller]
fn value(samples: &[(String, Value, f64)], name: &str, labels: Value) -> f64 {
    let has = |own: &Value| {
        let wanted = labels.as_object().expect("labels");
        wanted.iter().all(|(key, value)| own[key] == *value)
    };
    let found = samples
        .iter()
        .find(|(own, with, _)| own == name && has(with));
    found
        .unwrap_or_else(|| panic!("no {name}{labels} in {samples:?}"))
        .2
}

#[test]
fn metrics_are_of_prometheus_format_and_count_what_happened() {
    let lab = Lab::new();
    let server = Server::start_with(&lab, "bridge", &["--metrics-socket", METRICS]);
    let container = lab.namespace("c1");
    server.call(
        "/NetworkDriver.CreateNetwork",
        &network("n1", "10.66.1.0/24"),
    );
    let body = endpoint("n1", "e1", "10.66.1.2/24");
    server.call("/NetworkDriver.CreateEndpoint", &body);
    server.call("/NetworkDriver.Join", &join("n1", "e1", container.path()));
    let body = ports("n1", "e1", &[(8080, 80), (8081, 81)]);
    server.call("/NetworkDriver.ProgramExternalConnectivity", &body);
    server.refused(
        "/NetworkDriver.Join",
        &join("n1", "other", container.path()),
    );
    for nonsense in ["/a", "/b\"{}", "/c\n"] {
        server.post(&nonsense.replace(['\n', '{', '}', '"'], "%"), "{}");
    }

    let samples = samples(&lab);
    let calls = |call: &str, outcome: &str| {
        let labels = json!({"call": call, "outcome": outcome});
        value(&samples, "wharfline_docker_calls_total", labels)
    };
    assert_eq!(calls("NetworkDriver.Join", "done"), 1.0);
    assert_eq!(calls("NetworkDriver.Join", "refused"), 1.0);
    assert_eq!(calls("unknown", "refused"), 3.0);
    let spent = |call: &str| {
        value(
            &samples,
            "wharfline_docker_call_seconds_sum",
            json!({"call": call}),
        )
    };
    assert!(spent("NetworkDriver.CreateEndpoint") > 0.0);
    let of_network = json!({"network": "n1", "bridge": "wh-n1"});
    assert_eq!(value(&samples, "wharfline_docker_networks", json!({})), 1.0);
    assert_eq!(
        value(&samples, "wharfline_docker_endpoints", of_network.clone()),
        1.0
    );
    assert_eq!(
        value(&samples, "wharfline_docker_published_ports", of_network),
        2.0
    );
    // It can be read and nothing else.
    for (request, status) in [("POST /NetworkDriver.DeleteNetwork", 405), ("GET /", 404)] {
        assert!(
            get(&lab, request).contains(&format!(" {status} ")),
            "{request}"
        );
    }
    assert!(!server.stop());
    assert!(!lab.path(METRICS).exists(), "it goes with the server");
}

#[test]
fn pools_tell_how_many_addresses_are_free() {
    let lab = Lab::new();
    let server = Server::start_with(&lab, "host-local", &["--metrics-socket", METRICS]);
    let pool = |request: Value| server.call("/IpamDriver.RequestPool", &request)["PoolID"].clone();
    let four = pool(json!({"AddressSpace": "wharf-local", "Pool": "10.66.1.0/24"}));
    let six = pool(json!({"AddressSpace": "wharf-local", "Pool": "fd00:66::/64", "V6": true}));
    for pool in [&four, &four, &six] {
        server.call("/IpamDriver.RequestAddress", &json!({"PoolID": pool}));
    }
    let samples = samples(&lab);
    let addresses = |pool: &Value, state: &str| {
        let labels = json!({"pool": pool, "state": state});
        value(&samples, "wharfline_ipam_addresses", labels)
    };
    assert_eq!(
        (addresses(&four, "used"), addresses(&four, "free")),
        (2.0, 252.0)
    );
    assert_eq!(addresses(&six, "used"), 1.0);
    assert!(addresses(&six, "free") > 1.8e19);
}

#[test]
fn metrics_are_served_over_tcp_too_and_a_bad_place_is_refused_by_name() {
    let lab = Lab::new();
    let at = "127.0.0.1:9300";
    let _server = Server::start_with(&lab, "bridge", &["--metrics-socket", at]);
    let read = lab.exec(&["curl", "-sS", "http://127.0.0.1:9300/metrics"]);
    assert!(read.contains("wharfline_docker_networks 0"), "{read}");
    let bridge = ours().find("bridge").display().to_string();
    for place in ["nowhere", at, "/dev/null"] {
        let words = [
            &*bridge,
            "serve",
            "--socket",
            "/run/other.sock",
            "--metrics-socket",
            place,
        ];
        let told = lab.try_exec(&words, "");
        assert!(!told.succeeded() && told.stderr.contains(place), "{told}");
        assert!(!lab.path("/run/other.sock").exists());
    }
}

#[test]
fn every_call_of_either_server_is_one_line_with_time_steps_and_outcome() {
    let lab = Lab::new();
    let bridge = Server::start(&lab, "bridge");
    bridge.call(
        "/NetworkDriver.CreateNetwork",
        &network("n1", "10.66.1.0/24"),
    );
    bridge.refused("/NetworkDriver.Join", &join("n1", "e1", "/x"));
    let ipam = Server::start(&lab, "host-local");
    ipam.call(
        "/IpamDriver.RequestPool",
        &json!({"AddressSpace": "a", "Pool": "10.66.1.0/24"}),
    );
    ipam.refused("/IpamDriver.RequestAddress", &json!({"PoolID": "none"}));
    for (log, lines) in [
        (
            "bridge",
            [
                [
                    "call=\"/NetworkDriver.CreateNetwork\"",
                    "network=\"n1\"",
                    "outcome=done",
                ],
                [
                    "call=\"/NetworkDriver.Join\"",
                    "endpoint=\"e1\"",
                    "outcome=refused error=",
                ],
            ],
        ),
        (
            "host-local",
            [
                [
                    "call=\"/IpamDriver.RequestPool\"",
                    "subnet=\"10.66.1.0/24\"",
                    "outcome=done",
                ],
                [
                    "call=\"/IpamDriver.RequestAddress\"",
                    "pool=\"none\"",
                    "outcome=refused error=",
                ],
            ],
        ),
    ] {
        let text = std::fs::read_to_string(lab.path(format!("/run/{log}.log"))).expect("a log");
        for words in lines {
            let whole = |line: &&str| words.iter().all(|word| line.contains(word));
            let found: Vec<&str> = text.lines().filter(whole).collect();
            assert_eq!(found.len(), 1, "{words:?} in {text}");
            let (ms, steps) = (found[0].contains(" ms="), found[0].contains(" steps="));
            assert!(ms && steps, "{}", found[0]);
        }
    }
}

#[test]
fn wharf_shows_a_network_without_dockerd_by_its_identifier() {
    let lab = Lab::new();
    let server = Server::start(&lab, "bridge");
    let container = lab.namespace("c1");
    let id = "0123456789abcdef0123456789abcdef";
    server.call("/NetworkDriver.CreateNetwork", &network(id, "10.66.1.0/24"));
    let body = endpoint(id, "e1", "10.66.1.2/24");
    server.call("/NetworkDriver.CreateEndpoint", &body);
    server.call("/NetworkDriver.Join", &join(id, "e1", container.path()));
    let body = ports(id, "e1", &[(8080, 80)]);
    server.call("/NetworkDriver.ProgramExternalConnectivity", &body);

    let wharf = ours().directory().join("wharf").display().to_string();
    let wharf = |words: &[&str]| lab.exec(&[&[&*wharf, "network"], words].concat());
    let listed = wharf(&["ls"]);
    assert!(
        listed.contains("0123456789ab") && listed.contains("10.66.1.0/24"),
        "{listed}"
    );
    let shown: Value =
        serde_json::from_str(&wharf(&["inspect", "012345", "--json"])).expect("JSON");
    assert_eq!(shown["bridge"], "wh-0123456789ab");
    let one = &shown["connections"][0];
    assert_eq!(one["container"], "e1");
    assert_eq!(one["netns"], container.path());
    assert_eq!(one["mac"], "0a:58:0a:42:01:02");
    assert_eq!(one["addresses"], json!(["10.66.1.2/24"]));
    assert_eq!(one["ports"], json!(["8080:80/tcp"]));
    assert_eq!(one["hostSide"][0], "wh-0123456789ab");
    let veth = one["hostSide"][1].as_str().expect("a link");
    assert!(
        lab.exec(&["ip", "link", "show", veth])
            .contains("master wh-0123456789ab")
    );
    let page = wharf(&["inspect", "0123456789ab"]);
    for part in ["wharf-bridge (Docker)", veth, "10.66.1.2/24", "8080:80/tcp"] {
        assert!(page.contains(part), "no {part} in {page}");
    }
}
