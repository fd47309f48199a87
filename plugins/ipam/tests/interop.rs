//! Beside the reference's host-local: the same files, each honouring, checking and releasing the other's.

mod common;

use std::collections::BTreeSet;

use common::{Host, addresses, conf, one_subnet, two_families};
use serde_json::{Value, json};
use wharfline_testkit::Verb;

#[test]
fn the_reference_checks_and_releases_our_leases() {
    let host = Host::new();
    let conf = two_families();
    let result = host.ok(Verb::Add, &conf, "c1");
    assert_eq!(addresses(&result), ["10.1.0.2/24", "fd00:0:0:1::2/64"]);
    host.reference_ok(Verb::Check, &conf, "c1");
    host.reference_ok(Verb::Del, &conf, "c1");
    assert!(host.leases().is_empty());
    assert_eq!(
        host.refused(Verb::Check, &conf, "c1", 103),
        "host-local: check lease of c1 eth0 on net: it has no address of range set 10.1.0.1-10.1.0.254: "
    );
}

#[test]
fn we_check_and_release_the_reference_s_leases() {
    let host = Host::new();
    let conf = two_families();
    host.reference_ok(Verb::Add, &conf, "c1");
    host.ok(Verb::Check, &conf, "c1");
    host.ok(Verb::Del, &conf, "c1");
    assert!(host.leases().is_empty());
    host.call(&host.reference, Verb::Check, &conf, "c1")
        .make(&host.lab)
        .failed();
}

/// The same calls against both must give the same results, files and order of addresses.
#[test]
fn a_history_comes_out_the_same_with_either() {
    for conf in [
        one_subnet(),
        two_families(),
        conf(
            &json!([[{"subnet": "10.1.0.0/29"}, {"subnet": "10.2.0.0/24", "rangeStart": "10.2.0.10",
            "rangeEnd": "10.2.0.12", "gateway": "10.2.0.11"}]]),
        ),
        conf(
            &json!([[{"subnet": "10.1.0.0/28", "rangeStart": "10.1.0.0", "rangeEnd": "10.1.0.3"}]]),
        ),
        conf(&json!([[{"subnet": "fd00::/120", "gateway": "fd00::3"}]])),
        json!({"cniVersion": "0.2.0", "name": "net", "type": "bridge", "ipam": {"type": "host-local",
            "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.5", "gateway": "10.1.0.254",
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.0.7"}]}}),
    ] {
        let with = |ours: bool| {
            let host = Host::new();
            let plugins = if ours {
                host.ours.clone()
            } else {
                host.reference.clone()
            };
            let call =
                |verb, container: &str| host.call(&plugins, verb, &conf, container).make(&host.lab);
            let mut results = Vec::new();
            for container in ["c1", "c2", "c3"] {
                results.push(canonical(call(Verb::Add, container).ok()));
            }
            call(Verb::Del, "c1").ok();
            for container in ["c4", "c5", "c6", "c7"] {
                let outcome = call(Verb::Add, container);
                results.push(if outcome.succeeded() {
                    canonical(outcome.ok())
                } else {
                    Value::Null
                });
            }
            call(Verb::Del, "c5").ok();
            call(Verb::Del, "c5").ok();
            (results, host.leases())
        };
        assert_eq!(with(true), with(false), "{conf}");
    }
}

/// The reference prints `dns: {}` where we leave it out, and nothing else differs.
fn canonical(mut result: Value) -> Value {
    if let Some(object) = result.as_object_mut() {
        object.retain(|_, value| !value.as_object().is_some_and(serde_json::Map::is_empty));
    }
    result
}

#[test]
fn requested_addresses_come_out_the_same_with_either() {
    let mut conf = two_families();
    conf["args"] = json!({"cni": {"ips": ["10.1.0.77"]}});
    conf["runtimeConfig"] = json!({"ips": ["fd00:0:0:1::77/64"]});
    let with = |ours: bool| {
        let host = Host::new();
        let plugins = if ours { &host.ours } else { &host.reference };
        let result = host
            .call(plugins, Verb::Add, &conf, "c1")
            .make(&host.lab)
            .ok();
        let again = host
            .call(plugins, Verb::Add, &conf, "c2")
            .make(&host.lab)
            .succeeded();
        let gateway = host
            .call(plugins, Verb::Add, &one_subnet(), "c3")
            .env("CNI_ARGS", "IP=10.1.0.1");
        let outside = host
            .call(plugins, Verb::Add, &one_subnet(), "c3")
            .env("CNI_ARGS", "IP=10.9.0.1");
        let refused = [gateway, outside].map(|call| call.make(&host.lab).succeeded());
        (canonical(result), again, refused, host.leases())
    };
    let ours = with(true);
    assert_eq!(ours, with(false));
    assert_eq!((ours.1, ours.2), (false, [false, false]));
}

#[test]
fn both_at_once_never_give_an_address_twice() {
    const WORKERS: usize = 6;
    const ROUNDS: usize = 12;
    let host = Host::new();
    let conf = one_subnet();
    let given: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (host, conf) = (&host, &conf);
                let plugins = if worker % 2 == 0 {
                    &host.ours
                } else {
                    &host.reference
                };
                let other = if worker % 2 == 0 {
                    &host.reference
                } else {
                    &host.ours
                };
                scope.spawn(move || {
                    let mut given = Vec::new();
                    for round in 0..ROUNDS {
                        let container = format!("w{worker}-{round}");
                        let result = host
                            .call(plugins, Verb::Add, conf, &container)
                            .make(&host.lab)
                            .ok();
                        if round % 3 == 0 {
                            host.call(other, Verb::Del, conf, &container)
                                .make(&host.lab)
                                .ok();
                        } else {
                            given.push(addresses(&result)[0].to_owned());
                        }
                    }
                    given
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    let unique: BTreeSet<&String> = given.iter().collect();
    assert_eq!(unique.len(), given.len(), "an address was given twice");
    let leases = host.leases();
    assert_eq!(leases.len(), given.len());
    for address in given {
        let name = address.trim_end_matches("/24");
        assert!(leases[name].starts_with('w'), "{name} is leased");
    }
}
