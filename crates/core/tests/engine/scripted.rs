//! A driver whose plan is written out: one veth on a bridge, with all kinds of undo, and a place to break it.

use std::path::PathBuf;

use macaddr::MacAddr6;
use wharfline_core::attachment::{AttachmentKey, bridge_mac};
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::engine::{Attach, Engine};
use wharfline_core::error::Result;
use wharfline_core::ipam::NO_IPAM;
use wharfline_core::plan::{Bridge, NsRef, Op, Overflow, Plan, PortOf, Target, Veth};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::nft::Element;
use wharfline_kernel::route::IpRoute;
use wharfline_spec::cni::CniResult;
use wharfline_spec::names::{ContainerId, IfName, NetworkName};
use wharfline_testkit::{Lab, Namespace};

/// The container's MAC, whatever its address.
const MAC: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 7);

/// A parameter that no kernel has: the operation that fails.
pub(crate) const BROKEN: &str = "net/ipv4/no_such_parameter";

pub(crate) fn name(text: &str) -> IfName {
    IfName::new(text).expect("an interface name")
}

/// What is planned, whoever asks.
#[derive(Default)]
pub(crate) struct Scripted {
    /// The operation before which one that fails is put.
    pub(crate) broken_at: Option<usize>,
}

impl Scripted {
    pub(crate) fn operations(endpoint: &Endpoint<'_>) -> Vec<(NsRef, Op)> {
        let mut ops: Vec<(NsRef, Op)> = Self::on_host(endpoint)
            .into_iter()
            .map(|op| (NsRef::Host, op))
            .collect();
        let inside = Self::in_container(endpoint.key.ifname.clone());
        ops.extend(inside.into_iter().map(|op| (NsRef::Container, op)));
        ops
    }

    fn on_host(endpoint: &Endpoint<'_>) -> Vec<Op> {
        let port = endpoint.key.host_end(endpoint.salt);
        vec![
            Op::EnsureBridge(Bridge {
                name: name("net0"),
                mac: bridge_mac(&name("net0")),
                mtu: 1500,
                vlan_filtering: false,
                promiscuous: false,
                pinned: true,
            }),
            Op::CreateVeth(Veth {
                host_end: port.clone(),
                host_mac: endpoint.key.host_mac(),
                container_end: endpoint.key.ifname.clone(),
                born_in: NsRef::Container,
                container_mac: MAC,
                mtu: 1500,
                port_of: Some(PortOf {
                    bridge: name("net0"),
                    overflow: Overflow::Cascade,
                }),
            }),
            Op::RaisePort {
                link: port.clone(),
                alias: endpoint.key.alias(),
            },
            Op::CreateElements {
                elements: vec![guarded(&port)],
            },
            Op::SetNeighbour {
                link: name("net0"),
                ip: "10.1.0.2".parse().expect("an address"),
                mac: MAC,
            },
        ]
    }

    fn in_container(link: IfName) -> Vec<Op> {
        let gateway = "10.1.0.1".parse().expect("an address");
        let default = "0.0.0.0/0".parse().expect("a network");
        vec![
            Op::AddAddress {
                link: link.clone(),
                network: "10.1.0.2/24".parse().expect("an address"),
                detect_duplicates: false,
                alone: false,
            },
            Op::SetUp { link: link.clone() },
            Op::AddRoute {
                link,
                route: IpRoute::unicast(default, Some(gateway)),
            },
        ]
    }
}

fn guarded(port: &IfName) -> Element {
    Element::Guarded {
        ifname: port.to_string(),
    }
}

fn broken() -> (NsRef, Op) {
    let op = Op::Sysctl {
        key: BROKEN.to_owned(),
        value: "1".to_owned(),
        optional: false,
    };
    (NsRef::Host, op)
}

impl Driver for Scripted {
    type Config = ();
    type Facts = ();

    fn name(&self) -> &'static str {
        "scripted"
    }

    fn observe(&self, (): &(), _: &Endpoint<'_>, _: &Session) -> Result<()> {
        Ok(())
    }

    fn plan(&self, (): &(), endpoint: &Endpoint<'_>, (): &()) -> Result<Plan> {
        let mut ops = Self::operations(endpoint);
        if let Some(at) = self.broken_at {
            ops.insert(at, broken());
        }
        let port = endpoint.key.host_end(endpoint.salt);
        Ok(Plan {
            ops,
            own: vec![
                Target::Link {
                    name: port.clone(),
                    mac: endpoint.key.host_mac(),
                },
                Target::Elements {
                    elements: vec![guarded(&port)],
                },
            ],
            shared: vec![Target::Bridge { name: name("net0") }],
            ..Plan::default()
        })
    }

    fn teardown(&self, (): &(), key: &AttachmentKey, record: Option<&Record>) -> Vec<Target> {
        let marks = || {
            vec![
                Target::Link {
                    name: key.host_end(0),
                    mac: key.host_mac(),
                },
                Target::MarkedElements { tag: key.tag() },
            ]
        };
        record.map_or_else(marks, |record| record.own.clone())
    }

    fn makes_link(&self) -> bool {
        true
    }

    fn owns(&self, element: &Element) -> bool {
        matches!(element, Element::Guarded { .. })
    }

    fn require(&self, (): &(), _: &Session) -> Result<()> {
        Ok(())
    }
}

/// One attachment of the tests.
pub(crate) struct Attached {
    pub(crate) key: AttachmentKey,
    netns: PathBuf,
}

impl Attached {
    pub(crate) fn new(network: &str, container: &str, pod: &Namespace) -> Self {
        Self {
            key: AttachmentKey {
                network: NetworkName::new(network).expect("a name"),
                container: ContainerId::new(container).expect("an id"),
                ifname: name("eth0"),
            },
            netns: pod.path().into(),
        }
    }

    /// Runs `verb` on the lab's host; the failure in words.
    fn call(
        &self,
        lab: &Lab,
        driver: &Scripted,
        verb: impl FnOnce(&Engine<'_, Scripted>, &Attach<'_>) -> Result<()> + Send,
    ) -> std::result::Result<(), String> {
        let broken_at = driver.broken_at;
        lab.enter(|| {
            let driver = Scripted { broken_at };
            let answered = CniResult::default();
            let attach = Attach {
                key: self.key.clone(),
                netns: Some(self.netns.clone()),
                mac: None,
                previous: Some(&answered),
                labels: serde_json::Map::default(),
            };
            let engine = Engine::new(&driver, &(), &NO_IPAM);
            verb(&engine, &attach).map_err(|failure| failure.to_string())
        })
    }

    pub(crate) fn add(&self, lab: &Lab, driver: &Scripted) -> std::result::Result<(), String> {
        self.call(lab, driver, |engine, attach| engine.add(attach).map(drop))
    }

    pub(crate) fn del(&self, lab: &Lab) -> std::result::Result<(), String> {
        self.call(lab, &Scripted::default(), |engine, attach| {
            engine.del(attach)
        })
    }

    pub(crate) fn check(&self, lab: &Lab) -> std::result::Result<(), String> {
        self.call(lab, &Scripted::default(), |engine, attach| {
            engine.check(attach)
        })
    }
}
