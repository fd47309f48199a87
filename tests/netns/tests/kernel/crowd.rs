//! Many at once: two hundred runtimes that call at the same moment, and more endpoints than one bridge has ports.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use wharfline_netns_tests::lists::{self, gateway, list, port, ports, with};
use wharfline_netns_tests::{Pod, Segment, addresses, conformance, ours, warm_up};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Lab, Network, Outside, wait_for};

/// Runs `work` for each item on a thread of its own, all at the same time.
fn all_at_once<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(|| work(item)))
            .collect();
        let joined = threads.into_iter().map(|t| {
            t.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.collect()
    })
}

fn many_adds_and_dels(network: &Network<'_>, lab: &Lab, count: usize) {
    warm_up(lab, network);
    let warm = lab.world();
    let namespaces: Vec<_> = (0..count)
        .map(|n| lab.namespace(&format!("c{n}")))
        .collect();
    let results = all_at_once(&namespaces, |namespace| {
        network.add(&Attachment::of(namespace))
    });
    let distinct: BTreeSet<_> = results.iter().flat_map(addresses).collect();
    assert_eq!(
        distinct.len(),
        results.iter().map(|r| addresses(r).len()).sum::<usize>(),
        "an address was given twice"
    );
    all_at_once(&namespaces, |namespace| {
        network.del(&Attachment::of(namespace))
    });
    drop(namespaces);
    warm.returns("the warm world after the crowd", || lab.world());
}

conformance! {
    fn twenty_at_once(plugins) {
        let lab = Lab::new();
        many_adds_and_dels(&Network::new(&lab, plugins, lists::plain()), &lab, 20);
    }
}

#[test]
fn two_hundred_at_once_with_masquerade_and_ports() {
    let lab = Lab::new();
    let ipam = json!({"type": "host-local",
        "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
    let conflist = list("net", json!([lists::masquerading(&ipam), lists::portmap()]));
    let network = Network::new(&lab, &ours(), conflist);
    many_adds_and_dels(&network, &lab, 200);
}

#[test]
fn two_hundred_at_once_on_links_of_their_own() {
    let lab = Lab::new();
    let ipam = json!({"type": "host-local",
        "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
    let ptp = json!({"type": "ptp", "ipMasq": true, "ipam": ipam});
    let network = Network::new(&lab, &ours(), list("net", json!([ptp, lists::portmap()])));
    many_adds_and_dels(&network, &lab, 200);
}

#[test]
fn two_hundred_at_once_on_one_parent_that_the_host_reaches() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "192.0.0.0/16", "gateway": "192.0.2.1"}]]});
    let macvlan =
        json!({"type": "macvlan", "master": Segment::LINK, "hostAccess": true, "ipam": ipam});
    let network = Network::new(&lab, &ours(), list("net", json!([macvlan])));
    many_adds_and_dels(&network, &lab, 200);
}

#[test]
fn two_hundred_at_once_publish_two_hundred_ports() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = Network::new(&lab, &ours(), lists::published());
    let namespaces: Vec<_> = (0..200u16)
        .map(|n| (n, lab.namespace(&format!("c{n}"))))
        .collect();
    let results = all_at_once(&namespaces, |(n, namespace)| {
        network
            .with_runtime(ports(&[port("tcp", 20_000 + n, 80)]))
            .add(&Attachment::of(namespace))
    });
    for ((n, namespace), result) in namespaces.iter().zip(&results) {
        let _web = namespace.serves(tcp(addresses(result)[0], 80));
        outside
            .reaches(tcp(Outside::HOST_V4, 20_000 + n))
            .from(namespace.name());
    }
}

/// A sequence without repetition in sight, the same in every run (Knuth's multiplicative generator).
fn pairs(count: usize, of: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default() % of
    };
    std::iter::repeat_with(move || (next(), next()))
        .filter(|(a, b)| a != b)
        .take(count)
}

#[test]
fn twelve_hundred_endpoints_on_one_network_reach_each_other() {
    const ENDPOINTS: usize = 1200;
    let lab = Lab::new();
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]});
    let network = Network::new(&lab, &ours(), list("big", json!([gateway(&ipam)])));
    warm_up(&lab, &network);
    let warm = lab.world();
    let pods: Vec<_> = (0..ENDPOINTS)
        .map(|n| Pod::on(&network, &format!("c{n}")))
        .collect();
    let listeners: Vec<_> = pods
        .iter()
        .map(|pod| pod.listens(tcp(pod.v4(), 80)))
        .collect();
    let within = Duration::from_secs(5);
    lab.enter(|| {
        for pod in &pods {
            tcp(pod.v4(), 80)
                .connects(within)
                .unwrap_or_else(|e| panic!("host to {}: {e}", pod.v4()));
        }
    });
    for (a, b) in pairs(500, ENDPOINTS) {
        let service = tcp(pods[b].v4(), 80);
        // Twelve hundred newborn interfaces solicit routers, each heard by all: a first ARP request may be lost in that.
        let what = format!("{} to reach {}", pods[a].v4(), pods[b].v4());
        wait_for(&what, 6 * within, || {
            pods[a]
                .run(|| service.connects(within))
                .map_err(|e| e.to_string())
        });
    }
    for interface in pods.iter().map(|pod| &pod.result["interfaces"][0]) {
        assert_eq!(
            interface["name"], "cni0",
            "the result names the first bridge"
        );
    }
    drop(listeners);
    for chunk in pods.chunks(100) {
        all_at_once(chunk, |pod| network.del(&pod.attachment));
    }
    drop(pods);
    // Which bridges and cascade links a network that once was big keeps is its own affair; containers leave nothing.
    let difference = warm.difference(&lab.world());
    assert!(!difference.mentions("/networks/big/10.88"), "{difference}");
}

#[test]
fn a_full_bridge_that_may_not_overflow_refuses_and_says_so() {
    let lab = Lab::new();
    lab.host().ip("link add cni0 type bridge\nlink set cni0 up");
    // Ports of other people fill it: both ends of veth pairs.
    let pair = |n| {
        format!(
            "link add x{n} type veth peer name y{n}\nlink set x{n} master cni0\nlink set y{n} master cni0\n"
        )
    };
    lab.host().ip(&(0..511).map(pair).collect::<String>());
    lab.host()
        .ip("link add x type veth peer name y\nlink set x master cni0");
    let bridge = with(
        &gateway(&lists::host_local("10.88.0.0/16")),
        &json!({"overflow": "none"}),
    );
    let network = Network::new(&lab, &ours(), list("full", json!([bridge])));
    let before = lab.world();
    let pod = lab.namespace("pod");
    let failed = network
        .try_add(&Attachment::of(&pod))
        .expect_err("ADD to a full bridge");
    let told = failed.failed();
    assert!(told.contains("cni0") && told.contains("1023"), "{told}");
    let left = before.difference(&lab.world());
    assert!(
        !left.mentions("10.88.0.2") && !left.mentions("+ host link"),
        "{left}"
    );
}
