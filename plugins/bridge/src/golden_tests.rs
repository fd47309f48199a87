//! Plans as tables: each folder of testdata is a configuration, facts and a lease, and the plan that they make.
//! `WHARFLINE_UPDATE_GOLDENS=1 cargo test -p wharfline-bridge` writes plan.json and result.json anew; read the diff.
//! It must never need a kernel: `plan` is pure.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wharfline_cni::{Request, Verb};
use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::plan::Plan;
use wharfline_spec::cni::{Args, CniResult, NetConf};
use wharfline_spec::names::{ContainerId, IfName};

use crate::config::BridgeConfig;
use crate::driver::BridgeDriver;
use crate::plan::BridgeFacts;

struct Case {
    folder: PathBuf,
    request: Request,
    config: BridgeConfig,
    facts: BridgeFacts,
    lease: CniResult,
}

impl Case {
    fn load(folder: &Path) -> Self {
        let read = |name: &str| fs::read(folder.join(name)).expect("a file of the case");
        let mut conf = NetConf::parse(&read("conf.json")).expect("a configuration");
        let previous = fs::read(folder.join("prev.json")).ok();
        conf.prev_result = previous.map(|bytes| result_of(&bytes));
        Self {
            folder: folder.to_owned(),
            config: BridgeConfig::parse(&conf).expect("keys that make sense"),
            request: request(conf),
            facts: serde_json::from_slice(&read("facts.json")).expect("facts"),
            lease: result_of(&read("lease.json")),
        }
    }

    fn plan(&self, lease: &CniResult, previous: Option<&CniResult>) -> Plan {
        let key = AttachmentKey {
            network: self.request.conf.name.clone(),
            container: self.request.container.clone(),
            ifname: self.request.ifname.clone(),
        };
        let endpoint = Endpoint {
            key: &key,
            netns: self.request.netns.clone(),
            mac: wharfline_cni::mac::requested(&self.request).expect("a MAC or none"),
            lease,
            previous,
            salt: 0,
            contested: false,
        };
        BridgeDriver
            .plan(&self.config, &endpoint, &self.facts)
            .expect("a plan")
    }

    fn added(&self) -> Plan {
        self.plan(&self.lease, self.request.conf.prev_result.as_ref())
    }

    fn result(&self, plan: &Plan) -> Value {
        plan.result.to_json(self.request.conf.cni_version)
    }
}

fn result_of(bytes: &[u8]) -> CniResult {
    let value = serde_json::from_slice(bytes).expect("JSON");
    CniResult::from_json(&value).expect("a result")
}

fn request(conf: NetConf) -> Request {
    Request {
        verb: Verb::Add,
        conf,
        container: ContainerId::new("c1").expect("an id"),
        netns: Some("/run/netns/c1".into()),
        ifname: IfName::new("eth0").expect("a name"),
        args: Args::default(),
        args_text: String::new(),
        path: Vec::new(),
    }
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .expect("testdata")
        .map(|entry| entry.expect("a case").path())
        .collect();
    folders.sort();
    folders.iter().map(|folder| Case::load(folder)).collect()
}

fn plan_text(plan: &Plan) -> Value {
    json!({
        "operations": plan.all_operations(),
        "own": plan.own,
        "shared": plan.shared,
    })
}

/// Compares with the file, or writes it where that was asked for.
fn differs_from(golden: &Path, found: &Value) -> bool {
    let text = format!("{found:#}\n");
    if std::env::var_os("WHARFLINE_UPDATE_GOLDENS").is_some() {
        fs::write(golden, text).expect("a golden written");
        return false;
    }
    fs::read_to_string(golden).ok() != Some(text)
}

#[test]
fn every_case_makes_its_plan_and_its_result() {
    let mut different = Vec::new();
    for case in cases() {
        let plan = case.added();
        for (name, found) in [
            ("plan.json", plan_text(&plan)),
            ("result.json", case.result(&plan)),
        ] {
            let golden = case.folder.join(name);
            if differs_from(&golden, &found) {
                different.push(format!("{} is now\n{found:#}", golden.display()));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn what_add_answered_plans_the_same_again_for_check() {
    for case in cases()
        .iter()
        .filter(|case| case.request.conf.prev_result.is_none())
    {
        let added = case.added();
        let lease = CniResult {
            interfaces: Vec::new(),
            ..added.result.clone()
        };
        let again = case.plan(&lease, Some(&added.result));
        assert_eq!(
            again.all_operations(),
            added.all_operations(),
            "{}",
            case.folder.display()
        );
    }
}

#[test]
fn what_the_host_end_is_named_after_a_collision_is_what_del_looks_for() {
    let case = &cases()[0];
    let plan = case.added();
    let key = AttachmentKey {
        network: case.request.conf.name.clone(),
        container: case.request.container.clone(),
        ifname: case.request.ifname.clone(),
    };
    let targets = BridgeDriver.teardown(&case.config, &key, None);
    assert!(targets.contains(&plan.own[0]), "{targets:?}");
}

/// reference.json is what the reference's bridge (1.1.1, as Debian packs it) answered to the same configuration and
/// lease. The lease's dns has none: that release drops it, later ones answer it as we do.
#[test]
fn the_result_is_the_references_but_for_names_and_addresses_of_links() {
    for case in cases() {
        let Ok(bytes) = fs::read(case.folder.join("reference.json")) else {
            continue;
        };
        let mut theirs: Value = serde_json::from_slice(&bytes).expect("JSON");
        let mut ours = case.result(&case.added());
        for result in [&mut ours, &mut theirs] {
            mask(result);
        }
        assert_eq!(ours, theirs, "{}", case.folder.display());
    }
}

/// MACs, the derived name of the host's end and the sandbox's path are each side's own; Go writes an empty `dns`.
fn mask(result: &mut Value) {
    let whole = result.as_object_mut().expect("an object");
    whole.retain(|key, value| key != "dns" || *value != json!({}));
    let interfaces = result["interfaces"].as_array_mut().expect("interfaces");
    for (at, interface) in interfaces.iter_mut().enumerate() {
        interface["mac"] = Value::from("any");
        if at == 1 {
            interface["name"] = Value::from("any");
        }
        if interface["sandbox"].is_string() {
            interface["sandbox"] = Value::from("any");
        }
    }
}
