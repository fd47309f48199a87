//! The runtime's side over scripted plugins: what each is asked, in which order, and what is kept.

#![expect(clippy::unwrap_used, reason = "a test panics on what must not happen")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use wharfline_cni::Verb;
use wharfline_cni::client::{self, Attach, Client, ClientError};
use wharfline_spec::cni::{Attachment, ConfList, Version};
use wharfline_spec::{ContainerId, IfName};

/// A folder with scripted plugins `first` and `second`, and a runtime that finds them there.
struct Stage {
    dir: TempDir,
    client: Client,
}

/// One noted call.
#[derive(Debug)]
struct Call {
    plugin: String,
    verb: String,
    env: Vec<String>,
    stdin: Value,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/scripted-plugin");
        for name in ["first", "second"] {
            symlink(&script, dir.path().join(name)).unwrap();
        }
        let client = Client::new(
            vec!["/nowhere".into(), dir.path().into()],
            dir.path().join("cache"),
        );
        Stage { dir, client }
    }

    fn script(&self, file: &str, answer: &Value) {
        fs::write(self.dir.path().join(file), answer.to_string()).unwrap();
    }

    /// The calls since the last look.
    fn calls(&self) -> Vec<Call> {
        let file = self.dir.path().join("calls");
        let noted = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        let call = |line: &str| {
            let mut parts = line.splitn(8, '|').map(str::to_owned);
            let (plugin, verb) = (parts.next().unwrap(), parts.next().unwrap());
            let mut env: Vec<String> = parts.collect();
            let stdin = serde_json::from_str(&env.pop().unwrap()).unwrap();
            Call {
                plugin,
                verb,
                env,
                stdin,
            }
        };
        noted.lines().map(call).collect()
    }

    fn order(&self) -> Vec<String> {
        self.calls()
            .iter()
            .map(|c| format!("{} {}", c.plugin, c.verb))
            .collect()
    }

    fn cache_file(&self) -> PathBuf {
        self.dir.path().join("cache/results/lab-c1-eth0")
    }
}

fn list(version: &str, more: Value) -> ConfList {
    let mut doc = json!({
        "cniVersion": version, "name": "lab",
        "plugins": [
            {"type": "first", "key": 1},
            {"type": "second", "name": "not this", "capabilities": {"portMappings": true, "mac": false}},
        ],
    });
    doc.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    ConfList::parse(doc.to_string().as_bytes()).unwrap()
}

fn attach() -> Attach {
    let mut attach = Attach::new(
        ContainerId::new("c1").unwrap(),
        Some("/run/netns/c1".into()),
        IfName::new("eth0").unwrap(),
    );
    attach.args = vec![
        ("IgnoreUnknown".into(), "1".into()),
        ("IP".into(), "10.0.0.9".into()),
    ];
    attach
        .capabilities
        .insert("portMappings".into(), json!([{"hostPort": 80}]));
    attach
        .capabilities
        .insert("mac".into(), json!("02:00:00:00:00:01"));
    attach
}

fn result(version: &str, address: &str) -> Value {
    let mut doc = json!({"cniVersion": version, "ips": [{"address": address}]});
    if version < "1" {
        doc["ips"][0]["version"] = "4".into();
    }
    doc
}

fn added(version: &str) -> Stage {
    let stage = Stage::new();
    stage.script("first.ADD", &result(version, "10.0.0.2/24"));
    stage.script("second.ADD", &result(version, "10.0.0.3/24"));
    stage
        .client
        .add(&list(version, json!({})), &attach())
        .unwrap();
    stage
}

#[test]
fn add_chains_the_results_and_gives_each_plugin_what_it_declares() {
    let stage = added("1.0.0");
    let calls = stage.calls();
    let path = format!("/nowhere:{}", stage.dir.path().display());
    let env = [
        "c1",
        "/run/netns/c1",
        "eth0",
        "IgnoreUnknown=1;IP=10.0.0.9",
        path.as_str(),
    ];
    for call in &calls {
        assert_eq!(
            (call.verb.as_str(), call.env.as_slice()),
            ("ADD", &env.map(String::from)[..])
        );
    }
    assert_eq!(calls[0].plugin, "first");
    assert_eq!(
        calls[0].stdin,
        json!({"type": "first", "key": 1, "cniVersion": "1.0.0", "name": "lab"})
    );
    assert_eq!(
        calls[1].stdin,
        json!({
            "type": "second", "cniVersion": "1.0.0", "name": "lab",
            "capabilities": {"portMappings": true, "mac": false},
            "prevResult": result("1.0.0", "10.0.0.2/24"),
            "runtimeConfig": {"portMappings": [{"hostPort": 80}]},
        })
    );
}

#[test]
fn the_result_is_kept_in_libcnis_format_and_place() {
    let stage = added("0.4.0");
    let kept: Value = serde_json::from_slice(&fs::read(stage.cache_file()).unwrap()).unwrap();
    for (key, expected) in [
        ("kind", json!("cniCacheV1")),
        ("containerId", json!("c1")),
        ("ifName", json!("eth0")),
        ("networkName", json!("lab")),
        ("netns", json!("/run/netns/c1")),
        (
            "cniArgs",
            json!([["IgnoreUnknown", "1"], ["IP", "10.0.0.9"]]),
        ),
        ("result", result("0.4.0", "10.0.0.3/24")),
    ] {
        assert_eq!(kept[key], expected, "{key}");
    }
    assert_eq!(kept["capabilityArgs"]["mac"], "02:00:00:00:00:01");
    let lab = list("0.4.0", json!({}));
    let cached = stage.client.cached(&lab.name, &attach()).unwrap().unwrap();
    assert_eq!(cached.attach, attach());
    assert_eq!(ConfList::parse(&cached.config).unwrap().raw, lab.raw);
    assert_eq!(
        fs::read_dir(stage.cache_file().parent().unwrap())
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn del_runs_in_reverse_with_the_final_result_and_forgets_it() {
    let stage = added("0.4.0");
    stage.calls();
    let lab = list("0.4.0", json!({}));
    stage.client.del(&lab, &attach()).unwrap();
    let calls = stage.calls();
    assert_eq!(
        calls.iter().map(|c| c.plugin.as_str()).collect::<Vec<_>>(),
        ["second", "first"]
    );
    for call in &calls {
        assert_eq!(call.stdin["prevResult"], result("0.4.0", "10.0.0.3/24"));
    }
    assert!(!stage.cache_file().exists());
    // Again, as runtimes do: no result is left, and that is no error.
    stage.client.del(&lab, &attach()).unwrap();
    assert!(
        stage
            .calls()
            .iter()
            .all(|c| c.stdin.get("prevResult").is_none())
    );
}

#[test]
fn del_below_0_4_0_gets_no_result() {
    let stage = added("0.3.1");
    stage.calls();
    stage
        .client
        .del(&list("0.3.1", json!({})), &attach())
        .unwrap();
    assert!(
        stage
            .calls()
            .iter()
            .all(|c| c.stdin.get("prevResult").is_none())
    );
}

#[test]
fn a_del_that_fails_keeps_the_result_for_the_next() {
    let stage = added("1.0.0");
    stage.script(
        "second.DEL.error",
        &json!({"code": 11, "msg": "busy", "details": "by c2"}),
    );
    let error = stage
        .client
        .del(&list("1.0.0", json!({})), &attach())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin second of network lab failed (DEL): busy; by c2"
    );
    assert!(stage.cache_file().exists());
}

#[test]
fn a_result_that_cannot_be_read_does_not_stop_a_del() {
    let stage = added("1.0.0");
    fs::write(stage.cache_file(), "{").unwrap();
    stage
        .client
        .del(&list("1.0.0", json!({})), &attach())
        .unwrap();
    assert!(!stage.cache_file().exists());
}

#[test]
fn an_add_stops_at_the_first_plugin_that_fails_and_keeps_nothing() {
    let stage = Stage::new();
    stage.script(
        "first.ADD.error",
        &json!({"code": 101, "msg": "no address left"}),
    );
    let error = stage
        .client
        .add(&list("1.0.0", json!({})), &attach())
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Plugin { verb: Verb::Add, ref error, .. } if error.code == 101)
    );
    assert_eq!(stage.order(), ["first ADD"]);
    assert!(!stage.cache_file().exists());
}

#[test]
fn a_plugin_that_fails_without_a_document_is_named() {
    let stage = Stage::new();
    fs::write(stage.dir.path().join("first.ADD.error"), "oops").unwrap();
    let error = stage
        .client
        .add(&list("1.0.0", json!({})), &attach())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("first: failed without an error document (exit status: 1); oops"),
        "{error}"
    );
}

#[test]
fn a_plugin_is_found_by_its_name_only() {
    let stage = Stage::new();
    for (plugin, expected) in [
        ("third", "no plugin \"third\" in [/nowhere, "),
        ("../first", "not the name"),
        ("..", "not the name"),
    ] {
        let list = list("1.0.0", json!({"plugins": [{"type": plugin}]}));
        let error = stage.client.add(&list, &attach()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn check_asks_in_order_with_the_result_and_honours_the_list() {
    let stage = added("0.4.0");
    stage.calls();
    stage
        .client
        .check(&list("0.4.0", json!({"disableCheck": true})), &attach())
        .unwrap();
    assert!(stage.calls().is_empty());
    stage
        .client
        .check(&list("0.4.0", json!({})), &attach())
        .unwrap();
    let calls = stage.calls();
    assert_eq!(
        calls.iter().map(|c| c.plugin.as_str()).collect::<Vec<_>>(),
        ["first", "second"]
    );
    assert_eq!(calls[0].stdin["prevResult"], result("0.4.0", "10.0.0.3/24"));
    let error = stage
        .client
        .check(&list("0.3.1", json!({})), &attach())
        .unwrap_err();
    assert!(matches!(
        error,
        ClientError::Unsupported {
            version: Version::V0_3_1,
            ..
        }
    ));
    assert!(stage.calls().is_empty());
}

#[test]
fn check_needs_the_result_of_an_add() {
    let stage = Stage::new();
    let error = stage
        .client
        .check(&list("1.0.0", json!({})), &attach())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("results/lab-c1-eth0: no result of an ADD is kept"),
        "{error}"
    );
    assert!(stage.calls().is_empty());
}

#[test]
fn gc_deletes_stale_cached_attachments_then_lets_every_plugin_collect() {
    let stage = added("1.1.0");
    stage.calls();
    let lab = list("1.1.0", json!({}));
    let valid = Attachment {
        container: ContainerId::new("c1").unwrap(),
        ifname: IfName::new("eth0").unwrap(),
    };
    stage.client.gc(&lab, &[valid]).unwrap();
    let calls = stage.calls();
    let expected = json!([{"containerID": "c1", "ifname": "eth0"}]);
    for call in &calls {
        assert_eq!((call.verb.as_str(), call.env[0].as_str()), ("GC", ""));
        assert_eq!(call.stdin["cni.dev/valid-attachments"], expected);
        assert_eq!(call.stdin["cni.dev/attachments"], expected);
    }
    stage.client.gc(&lab, &[]).unwrap();
    assert_eq!(
        stage.order(),
        ["second DEL", "first DEL", "first GC", "second GC"]
    );
    assert!(!stage.cache_file().exists());
    stage
        .client
        .gc(&list("1.1.0", json!({"disableGC": true})), &[])
        .unwrap();
    stage.client.gc(&list("1.0.0", json!({})), &[]).unwrap();
    assert!(stage.calls().is_empty());
}

#[test]
fn gc_goes_on_after_a_failure_and_reports_all() {
    let stage = Stage::new();
    for plugin in ["first", "second"] {
        stage.script(
            &format!("{plugin}.GC.error"),
            &json!({"code": 5, "msg": format!("{plugin} broke")}),
        );
    }
    let error = stage
        .client
        .gc(&list("1.1.0", json!({})), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("first broke") && error.contains("second broke"),
        "{error}"
    );
}

#[test]
fn gc_leaves_other_networks_and_unknown_files_alone() {
    let stage = added("1.1.0");
    let other = stage.cache_file().with_file_name("other-c1-eth0");
    let kept = fs::read_to_string(stage.cache_file())
        .unwrap()
        .replace("\"lab\"", "\"other\"");
    fs::write(&other, kept).unwrap();
    let strange = stage.cache_file().with_file_name("strange");
    fs::write(&strange, "{\"cniVersion\": \"0.4.0\"}").unwrap();
    stage.client.gc(&list("1.1.0", json!({})), &[]).unwrap();
    assert!(other.exists() && strange.exists() && !stage.cache_file().exists());
    let all = stage.client.cached_all().unwrap();
    assert_eq!(all.iter().filter(|c| c.is_ok()).count(), 1);
    assert_eq!(all.len(), 2);
}

#[test]
fn status_stops_at_the_first_that_is_not_ready() {
    let stage = Stage::new();
    stage.client.status(&list("1.0.0", json!({}))).unwrap();
    assert!(stage.calls().is_empty());
    stage.client.status(&list("1.1.0", json!({}))).unwrap();
    assert_eq!(stage.order(), ["first STATUS", "second STATUS"]);
    stage.script(
        "first.STATUS.error",
        &json!({"code": 50, "msg": "no address left"}),
    );
    let error = stage.client.status(&list("1.1.0", json!({}))).unwrap_err();
    assert!(matches!(error, ClientError::Plugin { ref error, .. } if error.code == 50));
    assert_eq!(stage.order(), ["first STATUS"]);
}

#[test]
fn the_versions_of_a_list_are_those_that_all_its_plugins_speak() {
    let stage = Stage::new();
    stage.script(
        "first.VERSION",
        &json!({"supportedVersions": ["0.4.0", "1.0.0", "1.1.0", "2.0.0"]}),
    );
    stage.script(
        "second.VERSION",
        &json!({"supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]}),
    );
    let common = stage.client.versions(&list("1.0.0", json!({}))).unwrap();
    assert_eq!(common, [Version::V0_4_0, Version::V1_0_0]);
    assert_eq!(stage.calls()[0].stdin, json!({"cniVersion": "1.0.0"}));
}

#[test]
fn a_folder_is_read_in_lexical_order_and_one_broken_file_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "20-b.conflist",
        r#"{"name": "b", "plugins": [{"type": "bridge"}]}"#,
    );
    write("10-a.conf", r#"{"name": "a", "type": "loopback"}"#);
    write("30-c.json", "{");
    write("40-d.txt", "no configuration");
    let all = client::load_all(dir.path()).unwrap();
    let names: Vec<_> = all
        .iter()
        .map(|(_, l)| l.as_ref().map(|l| l.name.to_string()).ok())
        .collect();
    assert_eq!(names, [Some("a".into()), Some("b".into()), None]);
    assert_eq!(
        client::load_network(dir.path(), "b").unwrap().plugins[0].plugin_type,
        "bridge"
    );
    assert_eq!(
        client::load_network(dir.path(), "a").unwrap().plugins[0].plugin_type,
        "loopback"
    );
    assert!(
        client::load_all(&dir.path().join("none"))
            .unwrap()
            .is_empty()
    );
    let nowhere = client::load_network(&dir.path().join("none"), "a").unwrap_err();
    assert!(matches!(nowhere, ClientError::NoSuchNetwork { .. }));
}

#[test]
fn plugins_beside_a_list_are_added_unless_it_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lab")).unwrap();
    fs::write(
        dir.path().join("lab/10-portmap.conf"),
        r#"{"type": "portmap"}"#,
    )
    .unwrap();
    let file = dir.path().join("lab.conflist");
    let types = |text: &str| {
        fs::write(&file, text).unwrap();
        let list = client::load_file(&file).unwrap();
        list.plugins
            .into_iter()
            .map(|p| p.plugin_type)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        types(r#"{"name": "lab", "plugins": [{"type": "bridge"}]}"#),
        ["bridge", "portmap"]
    );
    assert_eq!(types(r#"{"name": "lab"}"#), ["portmap"]);
    let inlined =
        r#"{"name": "lab", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "bridge"}]}"#;
    assert_eq!(types(inlined), ["bridge"]);
    fs::write(&file, r#"{"name": "empty"}"#).unwrap();
    assert!(client::load_file(&file).is_err());
}
