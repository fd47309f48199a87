use super::*;
use crate::cni::{Bandwidth, PortMapping, Protocol};
use serde_json::json;

fn parse(doc: &Value) -> Result<NetConf, CniError> {
    NetConf::parse(doc.to_string().as_bytes())
}

fn refusal(doc: &Value) -> (u32, String) {
    let error = parse(doc).unwrap_err();
    (error.code, error.msg)
}

#[test]
fn a_configuration_is_read_whole() {
    let conf = parse(&json!({
        "cniVersion": "1.0.0", "name": "lab", "type": "bridge", "bridge": "cni0",
        "capabilities": {"portMappings": true, "mac": false},
        "ipam": {"type": "host-local"},
        "args": {"cni": {"ips": ["10.1.0.5"]}},
        "dns": {"nameservers": ["10.0.0.53"]},
        "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}]},
    }))
    .unwrap();
    assert_eq!(conf.cni_version, Version::V1_0_0);
    assert_eq!(
        (conf.name.as_str(), conf.plugin_type.as_str()),
        ("lab", "bridge")
    );
    assert_eq!(conf.capabilities, ["portMappings"]);
    assert_eq!(conf.ipam_type(), Some("host-local"));
    assert_eq!(
        conf.cni_args().unwrap().unwrap().strings("ips").unwrap(),
        ["10.1.0.5"]
    );
    assert_eq!(conf.dns.nameservers, ["10.0.0.53"]);
    assert_eq!(conf.prev_result.as_ref().unwrap().ips.len(), 1);
    assert_eq!(conf.fields().str("bridge").unwrap(), Some("cni0"));
}

#[test]
fn a_version_unsaid_is_0_1_0_and_an_unreleased_one_is_code_1() {
    assert_eq!(
        parse(&json!({"name": "a"})).unwrap().cni_version,
        Version::V0_1_0
    );
    assert_eq!(
        parse(&json!({"name": "a", "cniVersion": ""}))
            .unwrap()
            .cni_version,
        Version::V0_1_0
    );
    let error = parse(&json!({"name": "a", "cniVersion": "2.0.0"})).unwrap_err();
    assert_eq!(
        (error.code, error.msg.as_str()),
        (1, "incompatible CNI versions")
    );
    assert!(
        error
            .details
            .contains("config is \"2.0.0\", plugin supports [\"0.1.0\""),
        "{error}"
    );
}

#[test]
fn refusals_have_the_code_and_name_the_key() {
    for broken in [
        "",
        "{",
        "[]",
        "\"x\"",
        "{\"name\":\"a\"",
        "{\"name\":\"a\"}x",
    ] {
        assert_eq!(
            NetConf::parse(broken.as_bytes()).unwrap_err().code,
            6,
            "{broken}"
        );
    }
    let cases = [
        (json!({}), "name: is missing"),
        (json!({"name": ""}), "name: is missing"),
        (
            json!({"name": "a/b"}),
            "name: network name \"a/b\": may hold only",
        ),
        (json!({"name": 5}), "name: expected a string, found 5"),
        (
            json!({"name": "a", "cniVersion": 1}),
            "cniVersion: expected a string",
        ),
        (
            json!({"name": "a", "ipam": "host-local"}),
            "ipam: expected an object",
        ),
        (
            json!({"name": "a", "ipam": {"type": 1}}),
            "ipam.type: expected a string",
        ),
        (
            json!({"name": "a", "capabilities": {"mac": 1}}),
            "capabilities.mac: expected true or false",
        ),
        (
            json!({"name": "a", "runtimeConfig": []}),
            "runtimeConfig: expected an object",
        ),
        (json!({"name": "a", "args": 1}), "args: expected an object"),
        (
            json!({"name": "a", "dns": {"search": "x"}}),
            "dns.search: expected a list",
        ),
        (json!({"name": "a", "type": {}}), "type: expected a string"),
    ];
    for (doc, expected) in cases {
        let (code, msg) = refusal(&doc);
        assert_eq!(code, 7, "{doc}");
        assert!(msg.starts_with(expected), "{doc}: {msg}");
    }
}

#[test]
fn a_del_goes_on_without_a_prev_result_that_cannot_be_read() {
    let doc = json!({"cniVersion": "1.0.0", "name": "a", "prevResult": {"cniVersion": "1.0.0", "ips": 5}});
    assert_eq!(
        refusal(&doc),
        (6, "prevResult.ips: expected a list, found 5".into())
    );
    let (conf, problem) = NetConf::parse_for_del(doc.to_string().as_bytes()).unwrap();
    assert!(conf.prev_result.is_none());
    assert_eq!(problem.unwrap().code, 6);
}

#[test]
fn an_empty_or_null_prev_result_is_none() {
    for prev in [json!(null), json!({})] {
        let conf = parse(&json!({"cniVersion": "1.0.0", "name": "a", "prevResult": prev})).unwrap();
        assert!(conf.prev_result.is_none());
    }
}

#[test]
fn valid_attachments_come_under_either_key_and_absence_is_not_emptiness() {
    let one = json!([{"containerID": "c1", "ifname": "eth0"}]);
    for key in VALID_ATTACHMENTS {
        let conf = parse(&json!({"cniVersion": "1.1.0", "name": "a", key: one})).unwrap();
        assert_eq!(conf.valid_attachments[0].container.as_str(), "c1");
        assert_eq!(conf.valid_attachments[0].ifname.as_str(), "eth0");
    }
    let empty = parse(&json!({"name": "a", "cni.dev/valid-attachments": null})).unwrap();
    assert!(empty.lists_valid_attachments() && empty.valid_attachments.is_empty());
    assert!(
        !parse(&json!({"name": "a"}))
            .unwrap()
            .lists_valid_attachments()
    );
    let (code, msg) =
        refusal(&json!({"name": "a", "cni.dev/valid-attachments": [{"containerID": "c1"}]}));
    assert_eq!(
        (code, msg.as_str()),
        (7, "cni.dev/valid-attachments[0].ifname: is missing")
    );
}

#[test]
fn capability_arguments_are_read_in_go_case() {
    let conf = parse(&json!({"name": "a", "runtimeConfig": {
        "PortMappings": [
            {"HostPort": 8880, "ContainerPort": 80, "Protocol": "TCP", "HostIP": ""},
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1"},
            {"hostPort": 1, "containerPort": 2},
        ],
        "bandwidth": {"IngressRate": 1_000_000, "IngressBurst": 4_294_967_295_u64, "EgressRate": 0},
        "dns": {"Servers": ["10.96.0.10"], "Searches": ["svc"], "Options": ["ndots:5"]},
        "ips": ["fd00::3", "10.25.0.3/24"],
        "mac": "02:11:22:33:44:55",
        "ipRanges": [[{"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.3", "gateway": "10.1.2.254"}]],
        "aliases": {"a": ["web"], "b": ["other"]},
    }}))
    .unwrap();
    let runtime = &conf.runtime_config;
    let web = PortMapping {
        host_port: 8880,
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: None,
    };
    let mappings = runtime.port_mappings().unwrap();
    assert_eq!(mappings[0], web);
    assert_eq!(mappings[1].host_ip, "192.0.2.1".parse().ok());
    assert_eq!(
        (mappings[1].protocol, mappings[2].protocol),
        (Protocol::Udp, Protocol::Tcp)
    );
    let limits = Bandwidth {
        ingress_rate: Some(1_000_000),
        ingress_burst: Some(4_294_967_295),
        ..Bandwidth::default()
    };
    assert_eq!(runtime.bandwidth().unwrap(), Some(limits));
    assert_eq!(runtime.dns().unwrap().unwrap().search, ["svc"]);
    assert_eq!(runtime.ips().unwrap(), ["fd00::3", "10.25.0.3/24"]);
    assert_eq!(runtime.mac().unwrap().as_deref(), Some("02:11:22:33:44:55"));
    let range = &runtime.ip_ranges().unwrap()[0][0];
    assert_eq!(
        (range.range_start, range.range_end),
        ("10.1.2.3".parse().ok(), None)
    );
    assert_eq!(runtime.aliases("a").unwrap(), ["web"]);
}

#[test]
fn capability_arguments_that_cannot_be_used_are_named() {
    let cases = [
        (
            json!({"hostPort": 0, "containerPort": 1}),
            "hostPort: must be between 1 and 65535",
        ),
        (
            json!({"hostPort": 1}),
            "containerPort: must be between 1 and 65535",
        ),
        (
            json!({"hostPort": 65_536, "containerPort": 1}),
            "hostPort: 65536 is too large",
        ),
        (
            json!({"hostPort": 1, "containerPort": 1, "protocol": "icmp"}),
            "protocol: \"icmp\": is none of tcp, udp and sctp",
        ),
        (
            json!({"hostPort": 1, "containerPort": 1, "hostIP": "x"}),
            "hostIP: \"x\": invalid IP address syntax",
        ),
    ];
    for (mapping, expected) in cases {
        let conf =
            parse(&json!({"name": "a", "runtimeConfig": {"portMappings": [mapping]}})).unwrap();
        let error = conf.runtime_config.port_mappings().unwrap_err().to_string();
        assert_eq!(error, format!("runtimeConfig.portMappings[0].{expected}"));
    }
}

#[test]
fn a_port_mapping_written_reads_back() {
    let mapping = PortMapping {
        host_port: 53,
        container_port: 5353,
        protocol: Protocol::Sctp,
        host_ip: "::1".parse().ok(),
    };
    let conf = parse(&json!({"name": "a", "runtimeConfig": {"portMappings": [mapping.to_json()]}}))
        .unwrap();
    assert_eq!(conf.runtime_config.port_mappings().unwrap(), [mapping]);
}
