//! What configurations mean, and that each wrong one is refused by the name of its key.

use serde_json::{Value, json};
use wharfline_spec::cni::code;

use super::*;

fn conf(ipam: Value) -> NetConf {
    with(json!({ "ipam": ipam }))
}

fn with(mut doc: Value) -> NetConf {
    let defaults = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.2.0/24"}]]}});
    for (key, value) in defaults.as_object().unwrap() {
        if doc.get(key).is_none() {
            doc[key] = value.clone();
        }
    }
    NetConf::parse(doc.to_string().as_bytes()).unwrap()
}

fn texts(sets: &[RangeSet]) -> Vec<String> {
    sets.iter().map(RangeSet::to_string).collect()
}

fn refusal(conf: &NetConf, args: &str) -> (u32, String) {
    let error = Args::parse(args)
        .map_err(Error::from)
        .and_then(|args| Config::new(conf, &args));
    let error = error.expect_err("a refusal");
    (error.code(), error.to_string())
}

#[test]
fn an_empty_configuration_has_the_reference_s_defaults() {
    let config = Config::new(&with(json!({})), &Args::default()).unwrap();
    assert_eq!(
        config.place.folder().to_str(),
        Some("/var/lib/cni/networks/net")
    );
    assert_eq!(texts(&config.sets), ["10.1.2.1-10.1.2.254"]);
    assert_eq!(config.on_duplicate, OnDuplicate::Error);
    assert!(config.place.cooldown.is_zero() && config.requested.is_empty());
}

#[test]
fn ranges_come_from_the_capability_then_the_flat_keys_then_the_list() {
    let sets = sets(&with(json!({
        "runtimeConfig": {"IPRanges": [[{"Subnet": "10.3.0.0/24"}]]},
        "ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "rangestart": "10.1.0.9",
            "gateway": "10.1.0.254", "ranges": [[{"subnet": "10.2.0.0/24"}], [{"subnet": "fd00::/64"}]]},
    })))
    .unwrap();
    assert_eq!(
        texts(&sets),
        [
            "10.3.0.1-10.3.0.254",
            "10.1.0.9-10.1.0.254",
            "10.2.0.1-10.2.0.254",
            "fd00::1-fd00::ffff:ffff:ffff:ffff"
        ]
    );
    assert_eq!(sets[1].ranges()[0].gateway().to_string(), "10.1.0.254");
}

#[test]
fn flat_keys_without_a_subnet_are_ignored_as_the_reference_does() {
    let ipam =
        json!({"gateway": "10.9.0.1", "rangeStart": "", "ranges": [[{"subnet": "10.2.0.0/24"}]]});
    assert_eq!(texts(&sets(&conf(ipam)).unwrap()), ["10.2.0.1-10.2.0.254"]);
}

#[test]
fn requested_addresses_of_all_three_sources_add_up() {
    let conf = with(json!({
        "args": {"cni": {"ips": ["10.1.2.5/24", "fd00::5"]}},
        "runtimeConfig": {"ips": ["10.1.2.6", "10.1.2.5"]},
    }));
    let args = Args::parse("IP=10.1.2.7;MAC=02:00:00:00:00:01").unwrap();
    let requested = Config::new(&conf, &args).unwrap().requested;
    let texts: Vec<String> = requested.iter().map(Addr::to_string).collect();
    assert_eq!(texts, ["10.1.2.5", "10.1.2.6", "10.1.2.7", "fd00::5"]);
}

#[test]
fn every_wrong_value_is_code_7_and_names_its_key() {
    let range = |range: Value| json!({ "ranges": [[range]] });
    for (ipam, key) in [
        (json!({}), "ipam.ranges"),
        (json!({"ranges": 5}), "ipam.ranges"),
        (json!({"ranges": []}), "ipam.ranges"),
        (json!({"ranges": [5]}), "ipam.ranges[0]"),
        (json!({"ranges": [[]]}), "ipam.ranges[0]"),
        (json!({"ranges": [[5]]}), "ipam.ranges[0][0]"),
        (json!({"ranges": {"subnet": "10.1.0.0/24"}}), "ipam.ranges"),
        (range(json!({})), "ipam.ranges[0][0].subnet"),
        (range(json!({"subnet": 5})), "ipam.ranges[0][0].subnet"),
        (
            range(json!({"subnet": "10.1.0.0"})),
            "ipam.ranges[0][0].subnet",
        ),
        (
            range(json!({"subnet": "10.1.0.0/33"})),
            "ipam.ranges[0][0].subnet",
        ),
        (
            range(json!({"subnet": "10.1.0.7/24"})),
            "ipam.ranges[0][0].subnet",
        ),
        (
            range(json!({"subnet": "10.1.0.0/31"})),
            "ipam.ranges[0][0].subnet",
        ),
        (
            range(json!({"subnet": "10.1.0.0/24", "rangeStart": 9})),
            "ipam.ranges[0][0].rangeStart",
        ),
        (
            range(json!({"subnet": "10.1.0.0/24", "rangeStart": "x"})),
            "ipam.ranges[0][0].rangeStart",
        ),
        (
            range(json!({"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"})),
            "ipam.ranges[0][0].rangeStart",
        ),
        (
            range(json!({"subnet": "10.1.0.0/24", "rangeEnd": "10.2.0.1"})),
            "ipam.ranges[0][0].rangeEnd",
        ),
        (
            range(
                json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}),
            ),
            "ipam.ranges[0][0].rangeEnd",
        ),
        (
            range(json!({"subnet": "10.1.0.0/24", "gateway": "fd00::1"})),
            "ipam.ranges[0][0].gateway",
        ),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]}),
            "ipam.ranges[0]",
        ),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/25"}]]}),
            "ipam.ranges[0]",
        ),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.1.0.0/25"}]]}),
            "ipam.ranges[1]",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "ranges": [[{"subnet": "10.1.0.0/25"}]]}),
            "ipam.ranges[0]",
        ),
        (json!({"subnet": "10.1.0.9/24"}), "ipam.subnet"),
        (
            json!({"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}),
            "ipam.rangeStart",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "rangeEnd": []}),
            "ipam.rangeEnd",
        ),
        (
            json!({"gateway": "nowhere", "ranges": [[{"subnet": "10.1.0.0/24"}]]}),
            "ipam.gateway",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "dataDir": 5}),
            "ipam.dataDir",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "resolvConf": {}}),
            "ipam.resolvConf",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "cooldown": -1}),
            "ipam.cooldown",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "cooldown": "5s"}),
            "ipam.cooldown",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "cooldown": 5_000_000_000u64}),
            "ipam.cooldown",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "onDuplicate": "maybe"}),
            "ipam.onDuplicate",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "onDuplicate": true}),
            "ipam.onDuplicate",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "routes": {}}),
            "ipam.routes",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "routes": ["10.0.0.0/8"]}),
            "ipam.routes[0]",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "routes": [{"dst": "x"}]}),
            "ipam.routes[0].dst",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "routes": [{"gw": "10.1.0.1"}]}),
            "ipam.routes[0].dst",
        ),
        (
            json!({"subnet": "10.1.0.0/24", "routes": [{"dst": "10.0.0.0/8", "gw": "x"}]}),
            "ipam.routes[0].gw",
        ),
    ] {
        let (code, text) = refusal(&conf(ipam.clone()), "");
        assert_eq!(code, code::INVALID_CONFIG, "{ipam}: {text}");
        assert!(text.starts_with(&format!("{key}: ")), "{ipam}: {text}");
    }
}

#[test]
fn wrong_capabilities_and_arguments_are_refused_by_name() {
    for (doc, key) in [
        (
            json!({"runtimeConfig": {"ipRanges": 5}}),
            "runtimeConfig.ipRanges",
        ),
        (
            json!({"runtimeConfig": {"ipRanges": [[{"subnet": "10.3.0.1/24"}]]}}),
            "runtimeConfig.ipRanges[0][0].subnet",
        ),
        (
            json!({"runtimeConfig": {"ipRanges": [[{"subnet": "10.1.2.0/28"}]]}}),
            "ipam.ranges[0]",
        ),
        (
            json!({"runtimeConfig": {"ips": "10.1.2.3"}}),
            "runtimeConfig.ips",
        ),
        (
            json!({"runtimeConfig": {"ips": ["10.1.2"]}}),
            "runtimeConfig.ips[0]",
        ),
        (json!({"args": {"cni": {"ips": [5]}}}), "args.cni.ips[0]"),
        (
            json!({"args": {"cni": {"ips": ["10.1.2.3/99"]}}}),
            "args.cni.ips[0]",
        ),
    ] {
        let (code, text) = refusal(&with(doc.clone()), "");
        assert_eq!(code, code::INVALID_CONFIG, "{doc}: {text}");
        assert!(text.starts_with(&format!("{key}: ")), "{doc}: {text}");
    }
    for args in ["IP=nowhere", "IP=10.1.2.3;COLOUR=red", "IP"] {
        assert_eq!(
            refusal(&with(json!({})), args).0,
            code::INVALID_ENVIRONMENT,
            "{args}"
        );
    }
}

#[test]
fn old_versions_have_one_address_of_a_family() {
    let ranges = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]);
    let doc = |version: &str| with(json!({"cniVersion": version, "ipam": {"ranges": ranges}}));
    assert!(sets(&doc("0.3.0")).is_ok());
    assert_eq!(sets(&doc("0.2.0")).unwrap_err().key, "ipam.ranges");
}

#[test]
fn a_release_needs_no_ranges() {
    let broken = conf(json!({"dataDir": "/tmp/x", "ranges": "gone", "cooldown": 7}));
    let place = place(&broken).unwrap();
    assert_eq!(
        (place.folder().to_str(), place.cooldown.as_secs()),
        (Some("/tmp/x/net"), 7)
    );
}
