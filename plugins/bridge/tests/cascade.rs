//! The binary `bridge` on a real kernel where the bridge has as many ports as it takes but one: what holds on one bridge holds on two.
//! Each test has a host of its own. Needs root, nftables, iproute2, iptables, and built binaries (`./build`).

use std::fmt::Write as _;

use serde_json::{Value, json};
use wharfline_testkit::{Attachment, Lab, Namespace, Network, Plugins};

/// Foreign ports that leave room for the first container and for one more.
const FOREIGN: usize = 248;

/// Four containers: the first on the first bridge, the others on the second.
struct Crowd<'lab> {
    network: Network<'lab>,
    containers: Vec<Namespace>,
}

impl<'lab> Crowd<'lab> {
    fn new(lab: &'lab Lab, keys: Value) -> Self {
        let mut plugin = json!({"type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]}});
        let fields = plugin.as_object_mut().expect("an object");
        fields.extend(keys.as_object().expect("keys").clone());
        let list = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [plugin]});
        let mut crowd = Self {
            network: Network::new(lab, &Plugins::ours(), list),
            containers: Vec::new(),
        };
        crowd.join("first");
        fill(lab);
        for name in ["second", "third", "fourth"] {
            crowd.join(name);
        }
        crowd
    }

    fn join(&mut self, name: &str) {
        let container = self.network.lab().namespace(name);
        self.network.add(&Attachment::of(&container));
        self.containers.push(container);
    }

    /// Whether container number `from` reaches container number `to`; number 0 has 10.88.0.2.
    fn reaches(&self, from: usize, to: usize) -> bool {
        self.pings(from, &format!("10.88.0.{}", to + 2))
    }

    fn pings(&self, from: usize, address: &str) -> bool {
        let ping = ["ping", "-c", "1", "-W", "1", address];
        self.containers[from].try_exec(&ping, "").succeeded()
    }

    fn leave(&self) {
        for container in &self.containers {
            self.network.del(&Attachment::of(container));
        }
    }
}

fn fill(lab: &Lab) {
    let mut batch = String::new();
    for number in 0..FOREIGN {
        let _ = writeln!(batch, "link add f{number} type veth peer name g{number}");
        let _ = writeln!(batch, "link set f{number} master cni0");
    }
    lab.host().ip(&batch);
}

fn members(lab: &Lab) -> usize {
    lab.world().objects("host link wb").count()
}

#[test]
fn isolated_ports_on_two_bridges_reach_the_gateway_and_not_each_other() {
    let lab = Lab::new();
    let crowd = Crowd::new(&lab, json!({"portIsolation": true}));
    assert_eq!(members(&lab), 1);
    for container in 0..4 {
        assert!(crowd.pings(container, "10.88.0.1"), "{container}");
    }
    for (from, to) in [(0, 1), (0, 3), (3, 0), (2, 3)] {
        assert!(!crowd.reaches(from, to), "{from} reaches {to}");
    }
    crowd.leave();
    assert_eq!(members(&lab), 0);
}

#[test]
fn beside_a_firewall_that_drops_bridged_packets_too_two_bridges_are_one_network() {
    let lab = Lab::new();
    lab.exec(&["iptables", "-P", "FORWARD", "DROP"]);
    lab.host()
        .set_sysctl("net/bridge/bridge-nf-call-iptables", "1");
    let crowd = Crowd::new(&lab, json!({}));
    for (from, to) in [(0, 1), (0, 3), (3, 0), (2, 3)] {
        assert!(crowd.reaches(from, to), "{from} does not reach {to}");
    }
    crowd.leave();
    assert_eq!(members(&lab), 0);
}
