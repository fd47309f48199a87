use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use wharfline_spec::cni::{Args, Version};
use wharfline_spec::{ContainerId, IfName};

use super::*;

/// A folder with one scripted plugin, `foreign`.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/scripted-plugin");
    symlink(script, dir.path().join("foreign")).unwrap();
    dir
}

fn conf() -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0", "name": "lab", "type": "bridge", "own": {"b": 1, "a": 2},
        "ipam": {"type": "foreign", "key": "value"},
    })
}

fn request(dir: &TempDir) -> Request {
    let args_text = "IgnoreUnknown=1;IP=10.0.0.5";
    Request {
        verb: Verb::Add,
        conf: NetConf::parse(conf().to_string().as_bytes()).unwrap(),
        container: ContainerId::new("c1").unwrap(),
        netns: Some("/run/netns/c1".into()),
        ifname: IfName::new("eth0").unwrap(),
        args: Args::parse(args_text).unwrap(),
        args_text: args_text.into(),
        path: vec![dir.path().into()],
    }
}

fn find(dir: &TempDir) -> Delegate {
    Delegate::find("foreign", &[dir.path().into()]).unwrap()
}

/// The noted calls: the fields of each, the configuration last.
fn calls(dir: &TempDir) -> Vec<Vec<String>> {
    let noted = std::fs::read_to_string(dir.path().join("calls")).unwrap();
    noted
        .lines()
        .map(|line| line.splitn(8, '|').map(str::to_owned).collect())
        .collect()
}

#[test]
fn add_forwards_everything_and_reads_the_result_in_the_configurations_version() {
    let dir = stage();
    // Address plugins before 0.3.0's time of writing leave the version out.
    let answer = json!({"ips": [{"address": "10.0.0.5/24", "gateway": "10.0.0.1"}]});
    std::fs::write(dir.path().join("foreign.ADD"), answer.to_string()).unwrap();
    let result = find(&dir).add(&request(&dir)).unwrap();
    assert_eq!(result.to_json(Version::V1_0_0)["ips"], answer["ips"]);
    let path = dir.path().display().to_string();
    let expected = [
        "foreign",
        "ADD",
        "c1",
        "/run/netns/c1",
        "eth0",
        "IgnoreUnknown=1;IP=10.0.0.5",
        &path,
    ];
    let call = &calls(&dir)[0];
    assert_eq!(call[..7], expected.map(String::from));
    assert_eq!(call[7], conf().to_string());
}

#[test]
fn the_foreign_error_passes_through() {
    let dir = stage();
    let error = CniError::new(101, "no address left").with_details("10.0.0.0/24");
    for verb in ["ADD", "DEL", "CHECK"] {
        let file = dir.path().join(format!("foreign.{verb}.error"));
        std::fs::write(file, error.to_json(Version::V0_4_0).to_string()).unwrap();
    }
    let (delegate, request) = (find(&dir), request(&dir));
    assert_eq!(delegate.add(&request).unwrap_err(), error);
    assert_eq!(delegate.del(&request).unwrap_err(), error);
    assert_eq!(delegate.check(&request).unwrap_err(), error);
}

#[test]
fn gc_and_status_name_no_container() {
    let dir = stage();
    let NetworkRequest { conf, path, .. } = NetworkRequest {
        verb: Verb::Gc,
        conf: request(&dir).conf,
        path: request(&dir).path,
    };
    let request = NetworkRequest {
        verb: Verb::Gc,
        conf,
        path,
    };
    find(&dir).gc(&request).unwrap();
    find(&dir).status(&request).unwrap();
    let verbs: Vec<String> = calls(&dir).iter().map(|c| c[1..5].join("|")).collect();
    assert_eq!(verbs, ["GC|||", "STATUS|||"]);
}

#[test]
fn a_result_that_cannot_be_read_is_code_6_and_names_the_plugin() {
    let dir = stage();
    for answer in ["", "not json", r#"{"ips": [{"address": "10.0.0.5"}]}"#] {
        std::fs::write(dir.path().join("foreign.ADD"), answer).unwrap();
        let error = find(&dir).add(&request(&dir)).unwrap_err();
        assert_eq!(error.code, 6, "{answer:?}");
        assert!(error.msg.contains("/foreign"), "{error}");
    }
}

#[test]
fn an_endless_answer_is_cut_off_and_its_plugin_ended() {
    let dir = tempfile::tempdir().unwrap();
    // `yes` with a configuration on stdin that it never reads.
    let yes = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|p| p.join("yes"))
        .find(|p| p.is_file())
        .unwrap();
    symlink(yes, dir.path().join("foreign")).unwrap();
    let mut request = request(&dir);
    request
        .conf
        .raw
        .insert("padding".into(), "x".repeat(1 << 20).into());
    let error = find(&dir).add(&request).unwrap_err();
    assert_eq!(error.code, 6);
    assert!(error.msg.contains("longer than"), "{error}");
}

#[test]
fn a_type_is_a_name_and_never_a_path() {
    let dir = stage();
    for (name, code) in [
        ("../foreign", 7),
        ("", 7),
        (".", 7),
        ("..", 7),
        ("absent", 4),
    ] {
        assert_eq!(
            Delegate::find(name, &[dir.path().into()]).unwrap_err().code,
            code,
            "{name:?}"
        );
    }
    assert_eq!(Delegate::find("foreign", &[]).unwrap_err().code, 4);
}
