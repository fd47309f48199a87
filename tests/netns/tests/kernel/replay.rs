//! The captured calls of containerd and podman, made again against our binaries on a real kernel: what succeeded with the
//! reference plugins succeeds with ours, with a result of the same shape, and nothing is left at the end.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_netns_tests::ours;
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Call, Lab, Namespace, Outside, Verb, wait_for};

const CONTAINERD_1_6: &str = include_str!("../../../../crates/cni/testdata/containerd-1.6.jsonl");
const CONTAINERD_2_4: &str = include_str!("../../../../crates/cni/testdata/containerd-2.4.jsonl");
const PODMAN_4_3: &str = include_str!("../../../../crates/cni/testdata/podman-4.3.jsonl");

/// The types that are ours; calls of the others are left out, their results handed on as they were captured.
const OURS: [&str; 3] = ["loopback", "bridge", "portmap"];

/// One runtime's session on a host of its own.
struct Session {
    lab: Lab,
    outside: Outside,
    /// Namespaces by the last part of the captured path.
    namespaces: HashMap<String, Namespace>,
    /// What our last plugin answered, by container and interface.
    results: HashMap<(String, String), Value>,
}

impl Session {
    fn new() -> Session {
        let lab = Lab::new();
        let outside = lab.outside();
        Session {
            lab,
            outside,
            namespaces: HashMap::new(),
            results: HashMap::new(),
        }
    }

    fn replay(&mut self, transcript: &str) -> usize {
        let calls = transcript
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a captured call"));
        let mine = calls.filter(|call| OURS.contains(&call["type"].as_str().unwrap_or_default()));
        mine.map(|captured| self.make(&captured)).count()
    }

    fn make(&mut self, captured: &Value) {
        let environment = &captured["env"];
        let text = |name: &str| environment[name].as_str().unwrap_or_default().to_owned();
        let verb = verb(&text("CNI_COMMAND"));
        let key = (text("CNI_CONTAINERID"), text("CNI_IFNAME"));
        let mut stdin = captured["stdin"].clone();
        if let Some(result) = self
            .results
            .get(&key)
            .filter(|_| !stdin["prevResult"].is_null())
        {
            stdin["prevResult"] = result.clone();
        }
        let kind = captured["type"].as_str().expect("a type");
        let mut call = Call::raw(&ours(), kind, verb, stdin.to_string());
        for (name, value) in environment.as_object().into_iter().flatten() {
            let value = match name.as_str() {
                "CNI_NETNS" => self.path_like(verb, value.as_str().unwrap_or_default()),
                "CNI_PATH" => ours().cni_path(),
                _ => value.as_str().unwrap_or_default().to_owned(),
            };
            call = call.env(name, &value);
        }
        let outcome = call.make(&self.lab);
        let answer = outcome.ok();
        if !is_empty(&captured["stdout"]) {
            same_shape(&captured["stdout"], &answer, &outcome.to_string());
        }
        if verb == Verb::Add {
            // Not every session was captured from its first call on: some containers were never attached here.
            if self.results.contains_key(&key) {
                self.try_published_ports(&stdin, &answer);
            }
            self.results.insert(key, answer);
        } else if verb == Verb::Del && kind == "bridge" {
            self.results.remove(&key);
        }
    }

    /// The namespace that stands for a captured path; a path that says nothing (none, or podman's `dummy`) stays.
    fn path_like(&mut self, verb: Verb, captured: &str) -> String {
        let Some((_, name)) = captured.rsplit_once('/') else {
            return captured.to_owned();
        };
        if verb == Verb::Add && !self.namespaces.contains_key(name) {
            self.namespaces
                .insert(name.to_owned(), self.lab.namespace(name));
        }
        format!("/run/netns/{name}")
    }

    /// What portmap has just published answers from outside.
    fn try_published_ports(&self, stdin: &Value, answer: &Value) {
        let address = wharfline_netns_tests::addresses(answer)
            .into_iter()
            .find(std::net::IpAddr::is_ipv4);
        let sandbox = answer["interfaces"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|i| i["sandbox"].as_str());
        let name = sandbox
            .and_then(|path| path.rsplit('/').next())
            .unwrap_or_default();
        let (Some(address), Some(namespace)) = (address, self.namespaces.get(name)) else {
            return;
        };
        let number = |mapping: &Value, names: [&str; 2]| {
            let value = names
                .iter()
                .find_map(|name| mapping[*name].as_u64())
                .unwrap_or_default();
            u16::try_from(value).expect("a port")
        };
        for mapping in stdin["runtimeConfig"]["portMappings"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let protocol = mapping["protocol"]
                .as_str()
                .or(mapping["Protocol"].as_str())
                .unwrap_or("tcp");
            let host = mapping["hostIP"]
                .as_str()
                .or(mapping["HostIP"].as_str())
                .unwrap_or_default();
            if protocol != "tcp" || !host.is_empty() {
                continue;
            }
            let inside = number(mapping, ["containerPort", "ContainerPort"]);
            let _server = namespace.serves(tcp(address, inside));
            let outer = number(mapping, ["hostPort", "HostPort"]);
            self.outside
                .reaches(tcp(Outside::HOST_V4, outer))
                .from(name);
        }
    }
}

fn verb(command: &str) -> Verb {
    let all = [
        Verb::Add,
        Verb::Del,
        Verb::Check,
        Verb::Gc,
        Verb::Status,
        Verb::Version,
    ];
    all.into_iter()
        .find(|verb| verb.as_str() == command)
        .expect("a known command")
}

/// The same keys where the reference has any, the same lengths of lists, the same words where they are not chance (link
/// names, addresses).
fn same_shape(expected: &Value, answer: &Value, call: &str) {
    match (expected, answer) {
        (Value::Object(expected), Value::Object(answer)) => {
            for (key, value) in expected.iter().filter(|(_, value)| !is_empty(value)) {
                let ours = answer
                    .get(key)
                    .unwrap_or_else(|| panic!("no {key} in {answer:?}: {call}"));
                same_shape(value, ours, call);
            }
        }
        (Value::Array(expected), Value::Array(answer)) => {
            // Of the versions that are supported, ours may be more.
            assert!(
                answer.len() >= expected.len(),
                "{answer:?} has fewer members than {expected:?}: {call}"
            );
            expected
                .iter()
                .zip(answer)
                .for_each(|(expected, answer)| same_shape(expected, answer, call));
        }
        (expected, answer) => {
            assert_eq!(
                std::mem::discriminant(expected),
                std::mem::discriminant(answer),
                "{call}"
            );
        }
    }
}

fn is_empty(value: &Value) -> bool {
    [json!({}), json!([]), json!(""), Value::Null].contains(value)
}

fn replays(transcript: &str, calls: usize) {
    let mut session = Session::new();
    assert_eq!(session.replay(transcript), calls);
    session.namespaces.clear();
    wait_for(
        "the links of the dead namespaces to go",
        Duration::from_secs(5),
        || match session
            .lab
            .world()
            .objects("host link wl")
            .collect::<Vec<_>>()
        {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        },
    );
    // Of some containers the capture has no DEL.
    let detached = |file: &&str| {
        !session
            .results
            .keys()
            .any(|(container, _)| file.contains(container))
    };
    let world = session.lab.world();
    let records: Vec<_> = world
        .objects("file /run/wharfline/")
        .filter(|file| file.contains('@'))
        .filter(detached)
        .collect();
    assert!(records.is_empty(), "{records:?}");
}

#[test]
fn containerd_1_6() {
    replays(CONTAINERD_1_6, 12);
}

#[test]
fn containerd_2_4() {
    replays(CONTAINERD_2_4, 20);
}

#[test]
fn podman_4_3() {
    replays(PODMAN_4_3, 26);
}
