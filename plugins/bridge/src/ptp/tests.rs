//! Plans of ptp as tables: configuration and lease in, operations and result out.

use serde_json::{Value, json};
use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::plan::Plan;
use wharfline_spec::cni::{CniResult, NetConf, Version};
use wharfline_spec::names::{ContainerId, IfName, NetworkName};

use super::config::PtpConfig;
use super::driver::{PtpDriver, PtpFacts};

fn parse(keys: &Value) -> Result<PtpConfig, String> {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "ptp", "ipam": {"type": "host-local"}});
    for (key, value) in keys.as_object().expect("keys") {
        conf[key] = value.clone();
    }
    let conf = NetConf::parse(conf.to_string().as_bytes()).expect("a configuration");
    PtpConfig::parse(&conf).map_err(|e| e.msg)
}

fn plan(keys: &Value, ips: Value) -> Result<Plan, String> {
    let config = parse(keys).expect("keys that make sense");
    let lease = json!({"cniVersion": "1.1.0", "ips": ips, "routes": [{"dst": "0.0.0.0/0"}]});
    let lease = CniResult::from_json(&lease).expect("a lease");
    let key = AttachmentKey {
        network: NetworkName::new("net").expect("a name"),
        container: ContainerId::new("c1").expect("an id"),
        ifname: IfName::new("eth0").expect("a name"),
    };
    let endpoint = Endpoint {
        key: &key,
        netns: Some("/run/netns/c1".into()),
        mac: None,
        lease: &lease,
        previous: None,
        salt: 0,
        contested: false,
    };
    let facts = PtpFacts {
        egress_mtu: Some(1450),
        is_first: true,
    };
    PtpDriver
        .plan(&config, &endpoint, &facts)
        .map_err(|e| e.to_string())
}

fn one() -> Value {
    json!([{"address": "10.1.2.5/24", "gateway": "10.1.2.1"}])
}

/// The operations of one kind, without their kind.
fn operations(plan: &Plan, kind: &str) -> Vec<Value> {
    let all = plan.all_operations();
    let values = all
        .iter()
        .map(|(ns, op)| json!({"ns": ns, "op": serde_json::to_value(op).expect("JSON")}));
    values
        .filter(|value| value["op"]["op"] == kind)
        .map(|mut value| {
            value["op"]
                .as_object_mut()
                .expect("an operation")
                .remove("op");
            value
        })
        .collect()
}

#[test]
fn the_host_has_the_gateway_and_a_route_to_the_container_alone() {
    let plan = plan(&json!({}), one()).expect("planned");
    let found = &operations(&plan, "create_veth")[0]["op"];
    assert_eq!(found["mtu"], 1450);
    assert!(found.get("bridge").is_none(), "{found}");
    let link = &found["host_end"];
    assert_eq!(
        operations(&plan, "create_route"),
        [
            json!({"ns": "host", "op": {"link": link, "route": {"to": "10.1.2.5/32", "source": "10.1.2.1"}}})
        ]
    );
    assert_eq!(
        operations(&plan, "add_address"),
        [
            json!({"ns": "host", "op": {"link": link, "network": "10.1.2.1/32", "detect_duplicates": false}}),
            json!({"ns": "container", "op": {"link": "eth0", "network": "10.1.2.5/24", "detect_duplicates": false,
                "alone": true}}),
        ]
    );
}

#[test]
fn the_container_reaches_its_subnet_through_the_gateway() {
    let plan = plan(&json!({}), one()).expect("planned");
    let routes: Vec<Value> = operations(&plan, "add_route")
        .iter()
        .map(|route| route["op"]["route"].clone())
        .collect();
    assert_eq!(
        routes,
        [
            json!({"to": "10.1.2.1/32", "source": "10.1.2.5"}),
            json!({"to": "10.1.2.0/24", "via": "10.1.2.1", "source": "10.1.2.5"}),
            json!({"to": "0.0.0.0/0", "via": "10.1.2.1"}),
        ]
    );
}

#[test]
fn an_address_alone_has_no_subnet_and_two_may_share_a_gateway() {
    let ips = json!([
        {"address": "10.1.2.5/32", "gateway": "169.254.1.1"},
        {"address": "10.9.2.5/32", "gateway": "169.254.1.1"},
    ]);
    let plan = plan(&json!({"ipMasq": true}), ips).expect("planned");
    assert_eq!(operations(&plan, "add_address").len(), 3);
    assert_eq!(operations(&plan, "add_route").len(), 2);
    assert_eq!(
        operations(&plan, "ensure_elements")[0]["op"]["elements"],
        json!([])
    );
}

#[test]
fn masquerading_is_an_element_for_the_container_and_one_for_its_subnet() {
    assert_eq!(
        operations(
            &plan(&json!({}), one()).expect("planned"),
            "create_elements"
        )
        .len(),
        0
    );
    let plan = plan(&json!({"ipMasq": true}), one()).expect("planned");
    let of = |kind: &str| operations(&plan, kind)[0]["op"]["elements"].clone();
    assert_eq!(
        of("ensure_elements"),
        json!([{"within": {"subnet": "10.1.2.0/24"}}])
    );
    assert_eq!(
        of("create_elements")[1]["masquerade_host"]["address"],
        "10.1.2.5"
    );
}

#[test]
fn the_result_lists_host_end_and_container_end() {
    let plan = plan(
        &json!({"mtu": 1400, "dns": {"nameservers": ["192.0.2.53"]}}),
        one(),
    );
    let result = plan.expect("planned").result.to_json(Version::V1_1_0);
    assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(2));
    assert_eq!(result["interfaces"][1]["name"], "eth0");
    assert_eq!(result["interfaces"][1]["mtu"], 1400);
    assert_eq!(result["ips"][0]["interface"], 1);
    assert_eq!(result["dns"]["nameservers"], json!(["192.0.2.53"]));
}

#[test]
fn what_makes_no_link_is_refused_by_name() {
    for (keys, word) in [
        (json!({"mtu": 10}), "mtu"),
        (json!({"ipMasq": "yes"}), "ipMasq"),
        (json!({"ipMasqBackend": "pf"}), "ipMasqBackend"),
        (json!({"ipam": {}}), "ipam"),
    ] {
        let told = parse(&keys).expect_err(word);
        assert!(told.contains(word), "{told}");
    }
    for ips in [
        json!([]),
        json!([{"address": "10.1.2.5/24"}]),
        json!([{"address": "10.1.2.1/24", "gateway": "10.1.2.1"}]),
        json!([{"address": "10.1.2.5/24", "gateway": "fd00::1"}]),
    ] {
        let told = plan(&json!({}), ips.clone()).expect_err("refused");
        assert!(told.contains("ipam"), "{ips}: {told}");
    }
}
