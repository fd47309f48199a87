//! What containerd 1.6, containerd 2.4 and podman 4.3 really sent, and what the reference plugins
//! answered: each request is read, each result is read and written again as the reference wrote it.
//!
//! `testdata/*.jsonl`: one call per line, captured between the runtime and the reference plugin.

#![expect(clippy::unwrap_used, reason = "a test panics on what must not happen")]

use std::cell::RefCell;
use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::{Value, json};
use wharfline_cni::{Boundary, NetworkRequest, Plugin, Request};
use wharfline_spec::cni::{CniError, CniResult, NetConf, PortMapping};

const TRANSCRIPTS: [(&str, &str, usize); 3] = [
    (
        "containerd 1.6",
        include_str!("../testdata/containerd-1.6.jsonl"),
        12,
    ),
    (
        "containerd 2.4",
        include_str!("../testdata/containerd-2.4.jsonl"),
        23,
    ),
    (
        "podman 4.3",
        include_str!("../testdata/podman-4.3.jsonl"),
        40,
    ),
];

/// Answers ADD with what the reference answered, and notes the request as it arrived.
struct Replay {
    answer: Option<CniResult>,
    asked: RefCell<Option<NetConf>>,
}

impl Replay {
    fn note(&self, conf: &NetConf) {
        self.asked.replace(Some(conf.clone()));
    }
}

impl Plugin for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }
    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        assert!(request.args.ignore_unknown() && request.netns.is_some());
        self.note(&request.conf);
        Ok(self.answer.clone().unwrap())
    }
    fn del(&self, request: &Request) -> Result<(), CniError> {
        self.note(&request.conf);
        Ok(())
    }
    fn check(&self, request: &Request) -> Result<(), CniError> {
        self.note(&request.conf);
        Ok(())
    }
    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        self.note(&request.conf);
        Ok(())
    }
    fn status(&self, request: &NetworkRequest) -> Result<(), CniError> {
        self.note(&request.conf);
        Ok(())
    }
}

fn calls() -> impl Iterator<Item = Value> {
    let lines = TRANSCRIPTS.iter().flat_map(|(_, text, _)| text.lines());
    lines.map(|line| serde_json::from_str(line).unwrap())
}

fn replay(call: &Value) -> (Replay, Option<Value>) {
    let answer = call["stdout"]
        .is_object()
        .then(|| CniResult::from_json(&call["stdout"]));
    let plugin = Replay {
        answer: answer.and_then(Result::ok),
        asked: RefCell::default(),
    };
    let stdin = call["stdin"].to_string();
    let mut stdout = Vec::new();
    let code = Boundary {
        env: Box::new(|name| call["env"][name].as_str().map(OsString::from)),
        stdin: Box::new(stdin.as_bytes()),
        stdout: Box::new(&mut stdout),
    }
    .run(&plugin);
    assert_eq!(
        format!("{code:?}"),
        format!("{:?}", ExitCode::SUCCESS),
        "{call}\n{stdout:?}"
    );
    (
        plugin,
        (!stdout.is_empty()).then(|| serde_json::from_slice(&stdout).unwrap()),
    )
}

/// The reference leaves `dns` out when it is empty since 1.0.0, and writes `{}` before.
fn without_empty_dns(mut document: Value) -> Value {
    if document["dns"] == json!({}) {
        document.as_object_mut().unwrap().remove("dns");
    }
    document
}

/// The reference's loopback leaves out `ips[].version`, which 0.3.x and 0.4.0 require.
fn with_families(mut document: Value) -> Value {
    if document["cniVersion"].as_str() < Some("1") {
        for ip in document["ips"].as_array_mut().into_iter().flatten() {
            let family = if ip["address"].as_str().unwrap().contains(':') {
                "6"
            } else {
                "4"
            };
            ip["version"] = family.into();
        }
    }
    document
}

#[test]
fn the_transcripts_are_whole() {
    for (runtime, text, expected) in TRANSCRIPTS {
        assert!(
            text.lines().count() >= expected,
            "{runtime}: {}",
            text.lines().count()
        );
    }
}

#[test]
fn every_captured_call_is_served_and_its_result_written_as_the_reference_wrote_it() {
    for call in calls() {
        let (plugin, answer) = replay(&call);
        match call["env"]["CNI_COMMAND"].as_str().unwrap() {
            "ADD" => {
                let expected = with_families(without_empty_dns(call["stdout"].clone()));
                assert_eq!(answer.map(without_empty_dns), Some(expected), "{call}");
            }
            "VERSION" => assert_eq!(answer.unwrap()["cniVersion"], call["stdout"]["cniVersion"]),
            _ => assert_eq!((answer, &call["stdout"]), (None, &json!("")), "{call}"),
        }
        let asked = plugin.asked.into_inner();
        assert_eq!(asked.is_some(), call["env"]["CNI_COMMAND"] != "VERSION");
    }
}

#[test]
fn every_captured_previous_result_is_written_as_it_was_sent() {
    let mut seen = 0;
    for call in calls() {
        let Some(conf) = replay(&call).0.asked.into_inner() else {
            continue;
        };
        let sent = &call["stdin"]["prevResult"];
        let read = conf
            .prev_result
            .as_ref()
            .map(|r| r.to_json(conf.cni_version));
        assert_eq!(
            read.map(without_empty_dns),
            sent.is_object().then(|| without_empty_dns(sent.clone()))
        );
        seen += usize::from(sent.is_object());
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_captured_port_mapping_is_read_whatever_its_case() {
    let mut seen = 0;
    for call in calls() {
        let Some(conf) = replay(&call).0.asked.into_inner() else {
            continue;
        };
        let sent = call["stdin"]["runtimeConfig"]["portMappings"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let read: Vec<PortMapping> = conf.runtime_config.port_mappings().unwrap();
        assert_eq!(read.len(), sent.len());
        for (read, sent) in read.iter().zip(&sent) {
            let port = sent
                .get("HostPort")
                .or(sent.get("hostPort"))
                .and_then(Value::as_u64);
            assert_eq!(Some(u64::from(read.host_port)), port);
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn containerds_other_capability_arguments_are_read() {
    let is_all_capabilities =
        |call: &Value| call["stdin"]["runtimeConfig"]["bandwidth"].is_object();
    let call = calls().find(is_all_capabilities).unwrap();
    let conf = replay(&call).0.asked.into_inner().unwrap();
    let limits = conf.runtime_config.bandwidth().unwrap().unwrap();
    assert_eq!(
        (limits.ingress_rate, limits.egress_rate),
        (Some(1_000_000), Some(2_000_000))
    );
    let dns = conf.runtime_config.dns().unwrap().unwrap();
    assert_eq!(
        (dns.nameservers, dns.options),
        (vec!["10.96.0.10".into()], vec!["ndots:5".into()])
    );
}
