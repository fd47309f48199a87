//! What the tests on a real kernel share: the networks that they attach containers to, and the containers.
//!
//! Called by the files of `tests/`. It must say nothing about how the plugins work inside.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Lab, Namespace, Network, Outside, Plugins, World, wait_for};

pub mod docker;
pub mod docker_host;
pub mod groups;
pub mod machine;
mod segment;
pub mod ssh;

pub use segment::Segment;

/// Configuration lists as users write them.
pub mod lists {
    use super::{Value, json};

    /// A list of the version that the reference plugins of the distribution know, too.
    pub fn list(name: &str, plugins: Value) -> Value {
        json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
    }

    /// The same list as its owner writes it for a runtime that sends GC and STATUS, which came with version 1.1.0.
    pub fn current(mut list: Value) -> Value {
        list["cniVersion"] = json!("1.1.0");
        list
    }

    /// IPv4 by host-local out of one subnet, with a default route.
    pub fn host_local(subnet: &str) -> Value {
        json!({"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]})
    }

    /// Both families by host-local, with default routes.
    pub fn dual_stack_ipam() -> Value {
        json!({"type": "host-local",
            "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]})
    }

    /// The bridge plugin as a gateway, on bridge `cni0`.
    pub fn gateway(ipam: &Value) -> Value {
        json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": ipam})
    }

    /// The same, masquerading what leaves.
    pub fn masquerading(ipam: &Value) -> Value {
        with(&gateway(ipam), &json!({"ipMasq": true}))
    }

    /// The portmap plugin.
    pub fn portmap() -> Value {
        json!({"type": "portmap", "capabilities": {"portMappings": true}})
    }

    /// `base` with the members of `more` put over it.
    pub fn with(base: &Value, more: &Value) -> Value {
        let mut merged = base.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            merged[key] = value.clone();
        }
        merged
    }

    /// A plain IPv4 network: bridge as gateway, no NAT.
    pub fn plain() -> Value {
        list("plain", json!([gateway(&host_local("10.88.0.0/24"))]))
    }

    /// What most nodes run: bridge, masquerade, dual stack, published ports.
    pub fn published() -> Value {
        list("net", json!([masquerading(&dual_stack_ipam()), portmap()]))
    }

    /// One published port as a runtime hands it over.
    pub fn port(protocol: &str, host: u16, container: u16) -> Value {
        json!({"hostPort": host, "containerPort": container, "protocol": protocol})
    }

    /// The runtime's values for published ports.
    pub fn ports(mappings: &[Value]) -> Value {
        json!({"portMappings": mappings})
    }
}

/// A container on a network: its namespace, and what ADD said.
pub struct Pod {
    namespace: Namespace,
    /// What the runtime calls it by.
    pub attachment: Attachment,
    /// The result of ADD.
    pub result: Value,
}

impl Pod {
    /// Makes a namespace, brings its `lo` up as every runtime does, and attaches it.
    #[track_caller]
    pub fn on(network: &Network<'_>, name: &str) -> Pod {
        let namespace = network.lab().namespace(name);
        namespace.ip("link set lo up");
        let attachment = Attachment::of(&namespace);
        let result = network.add(&attachment);
        Pod {
            namespace,
            attachment,
            result,
        }
    }

    /// Its first IPv4 address.
    #[track_caller]
    pub fn v4(&self) -> IpAddr {
        self.address(IpAddr::is_ipv4)
    }

    /// Its first IPv6 address.
    #[track_caller]
    pub fn v6(&self) -> IpAddr {
        self.address(IpAddr::is_ipv6)
    }

    #[track_caller]
    fn address(&self, wanted: impl Fn(&IpAddr) -> bool) -> IpAddr {
        let mut found = addresses(&self.result).into_iter();
        found
            .find(wanted)
            .unwrap_or_else(|| panic!("no such address in {}", self.result))
    }

    /// The host's end of its veth pair.
    #[track_caller]
    pub fn host_end(&self) -> String {
        let interfaces = self.result["interfaces"].as_array().into_iter().flatten();
        let mut on_host =
            interfaces.filter(|i| i["sandbox"].as_str().unwrap_or_default().is_empty());
        let link = on_host
            .nth(1)
            .unwrap_or_else(|| panic!("no host end in {}", self.result));
        link["name"].as_str().expect("a link has a name").to_owned()
    }
}

impl Deref for Pod {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

/// The addresses of a result, without their prefixes.
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().into_iter().flatten();
    ips.map(|ip| ip["address"].as_str().expect("an address"))
        .map(|address| {
            address
                .split('/')
                .next()
                .and_then(|ip| ip.parse().ok())
                .expect("an IP address")
        })
        .collect()
}

/// Our plugins, with the reference's for types that we do not have.
pub fn ours() -> Plugins {
    Plugins::ours()
}

/// Declares a test twice: for our plugins, and for the reference plugins, which show that the claim is what runtimes
/// rely on and not our own idea.
#[macro_export]
macro_rules! conformance {
    ($($(#[$attribute:meta])* fn $name:ident($plugins:ident) $body:block)*) => {
        mod claims {
            use super::*;
            $(pub(super) fn $name($plugins: &wharfline_testkit::Plugins) $body)*
        }
        mod ours {
            $($(#[$attribute])* #[test] fn $name() { super::claims::$name(&$crate::ours()); })*
        }
        mod reference {
            $($(#[$attribute])* #[test] fn $name() {
                super::claims::$name(&wharfline_testkit::Plugins::reference());
            })*
        }
    };
}

/// What every bridge network does, over both families: `b` leaves by masquerade, whoever is outside reaches `a`'s port 80
/// by the host's 8080, where it must be published, and sees his own address kept; `b` reaches it by itself.
#[track_caller]
pub fn everything_flows(outside: &Outside, a: &Pod, b: &Pod) {
    let _near = [tcp(a.v4(), 80), tcp(a.v6(), 80)].map(|service| a.serves(service));
    let far = [tcp(Outside::FAR_V4, 80), tcp(Outside::FAR_V6, 80)];
    let _far = far.map(|service| outside.serves(service));
    let left = far.map(|service| b.reaches(service));
    left[0].from("outside").seen_as(Outside::HOST_V4);
    left[1].from("outside").seen_as(Outside::HOST_V6);
    let published = [tcp(Outside::HOST_V4, 8080), tcp(Outside::HOST_V6, 8080)];
    let came = published.map(|service| outside.reaches(service));
    came[0].from(a.name()).seen_as(Outside::V4);
    came[1].from(a.name()).seen_as(Outside::V6);
    b.reaches(tcp(a.v4(), 80)).from(a.name()).seen_as(b.v4());
    b.reaches(tcp(a.v6(), 80)).from(a.name()).seen_as(b.v6());
}

/// The world after one ADD and one DEL: what a cold host keeps for the network (its bridge, forwarding, lock files) is
/// there, so that the next ADD and DEL must leave exactly this.
pub fn warm_up(lab: &Lab, network: &Network<'_>) {
    let first = Pod::on(network, "first");
    network.del(&first.attachment);
    drop(first);
    lab.world();
}

/// What a reboot takes: links, rules, forwarding, /run; what it leaves: the disk. Namespaces are the caller's to drop.
pub fn power_cycle(lab: &Lab) {
    // Links of namespaces that have just gone would outlive the reboot for a moment, as on no real host.
    wait_for(
        "the links of dead namespaces to go",
        Duration::from_secs(10),
        || match lab.world().objects("host link wl").count() {
            0 => Ok(()),
            n => Err(format!("{n} are left")),
        },
    );
    lab.host().try_exec(&["ip", "link", "del", "cni0"], "");
    lab.exec(&["nft", "flush", "ruleset"]);
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        lab.host().set_sysctl(key, "0");
    }
    lab.forget_boot();
}

/// The world without what even a refused call may leave: directories, and files that tell nothing of an attachment.
pub fn lasting(world: World) -> World {
    let places = ["directory /var/lib/cni", "directory /run/wharfline"];
    let world = places
        .iter()
        .fold(world, |world, prefix| world.without(prefix));
    world
        .without_empty("file /run/wharfline/")
        .without_empty("file /var/lib/cni/")
}
