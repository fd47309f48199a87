use super::ipam::{RequestAddress, RequestPool};
use super::network::{CreateEndpoint, CreateNetwork, EndpointCreated, EndpointInterface, Join};
use super::*;
use crate::cni::Protocol;

#[test]
fn what_go_writes_as_null_or_empty_is_absent() {
    let text = r#"{"NetworkID":"n1","Options":null,"IPv4Data":null,"IPv6Data":[]}"#;
    let network: CreateNetwork = serde_json::from_str(text).expect("read");
    assert!(network.options.is_empty() && network.ipv4.is_empty() && network.ipv6.is_empty());
    let text = r#"{"AddressSpace":"a","Pool":"","SubPool":"","Options":null,"V6":true}"#;
    let pool: RequestPool = serde_json::from_str(text).expect("read");
    assert!(pool.pool.is_none() && pool.sub_pool.is_none() && pool.v6);
    let text = r#"{"PoolID":"p","Address":"","Options":null}"#;
    let address: RequestAddress = serde_json::from_str(text).expect("read");
    assert_eq!(address.address, None);
}

#[test]
fn an_identifier_that_could_bend_a_path_is_refused_with_the_body() {
    for id in ["../etc", "", "a/b", ".", "a\\u0000b"] {
        let text = format!(r#"{{"NetworkID":"{id}","EndpointID":"e","SandboxKey":""}}"#);
        let error = serde_json::from_str::<Join>(&text).expect_err("refused");
        assert!(error.to_string().contains("network name"), "{id}: {error}");
    }
}

#[test]
fn ports_are_read_with_their_protocols_and_ranges() {
    let text = r#"[{"Proto":17,"IP":"","Port":81,"HostIP":"127.0.0.1","HostPort":8000,"HostPortEnd":8009},
                   {"Proto":132,"Port":9,"HostIP":"","HostPort":0,"HostPortEnd":0}]"#;
    let ports: Vec<PortBinding> = serde_json::from_str(text).expect("read");
    assert_eq!(ports[0].protocol, Protocol::Udp);
    assert_eq!(ports[0].host_ip, "127.0.0.1".parse().ok());
    assert_eq!((ports[0].host_port, ports[0].host_port_end), (8000, 8009));
    assert_eq!(
        (ports[1].protocol, ports[1].host_ip),
        (Protocol::Sctp, None)
    );
    let icmp = r#"[{"Proto":1,"Port":1}]"#;
    let error = serde_json::from_str::<Vec<PortBinding>>(icmp).expect_err("refused");
    assert!(error.to_string().contains("protocol 1"), "{error}");
}

#[test]
fn an_answer_holds_only_what_was_open() {
    let text = r#"{"NetworkID":"n","EndpointID":"e","Interface":{"Address":"10.0.0.2/24","AddressIPv6":"","MacAddress":""}}"#;
    let request: CreateEndpoint = serde_json::from_str(text).expect("read");
    assert_eq!(request.interface.address, "10.0.0.2/24");
    let settled = EndpointCreated {
        interface: EndpointInterface {
            mac: "0a:58:0a:00:00:02".into(),
            ..EndpointInterface::default()
        },
    };
    let text = serde_json::to_string(&settled).expect("written");
    assert_eq!(text, r#"{"Interface":{"MacAddress":"0a:58:0a:00:00:02"}}"#);
}

#[test]
fn a_failure_is_told_under_both_keys() {
    let text = serde_json::to_string(&Failure::new("no")).expect("written");
    assert_eq!(text, r#"{"Err":"no","Error":"no"}"#);
}
