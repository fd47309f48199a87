use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;

use super::*;
use wharfline_spec::cni::{CniResult, Interface};

/// A plugin that notes what it was asked and answers as it is told.
#[derive(Default)]
struct Scripted {
    asked: RefCell<Vec<String>>,
    refusal: Option<CniError>,
    panics: bool,
    versions: Option<&'static [Version]>,
}

impl Scripted {
    fn told<T>(&self, asked: String, answer: T) -> Result<T, CniError> {
        self.asked.borrow_mut().push(asked);
        assert!(!self.panics, "scripted");
        self.refusal.clone().map_or(Ok(answer), Err)
    }

    fn attachment<T>(&self, request: &Request, answer: T) -> Result<T, CniError> {
        let netns = request
            .netns
            .as_deref()
            .map_or("-".into(), |p| p.display().to_string());
        let (verb, ifname) = (request.verb, &request.ifname);
        self.told(
            format!("{verb} {} {ifname} {netns}", request.container),
            answer,
        )
    }
}

impl Plugin for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn versions(&self) -> &'static [Version] {
        self.versions.unwrap_or(&Version::ALL)
    }
    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let interface = Interface {
            name: "eth0".into(),
            mtu: Some(1500),
            ..Interface::default()
        };
        let ips = request
            .conf
            .prev_result
            .as_ref()
            .map(|r| r.ips.clone())
            .unwrap_or_default();
        self.attachment(
            request,
            CniResult {
                interfaces: vec![interface],
                ips,
                ..CniResult::default()
            },
        )
    }
    fn del(&self, request: &Request) -> Result<(), CniError> {
        self.attachment(request, ())
    }
    fn check(&self, request: &Request) -> Result<(), CniError> {
        self.attachment(request, ())
    }
    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        self.told(
            format!("{} {}", request.verb, request.conf.valid_attachments.len()),
            (),
        )
    }
    fn status(&self, request: &NetworkRequest) -> Result<(), CniError> {
        self.told(format!("{} {}", request.verb, request.conf.name), ())
    }
}

/// The environment of a whole request, less what a test takes away or changes.
fn env(verb: &str, changes: &[(&str, &str)]) -> HashMap<String, String> {
    let mut env: HashMap<String, String> = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/gone"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=p"),
        ("CNI_PATH", "/opt/cni/bin"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    env.extend(
        changes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
    );
    env
}

/// What the process would print, as one document or none; anything else is a failed test.
fn run(plugin: &Scripted, env: &HashMap<String, String>, stdin: &[u8]) -> (bool, Option<Value>) {
    let mut stdout = Vec::new();
    let code = Boundary {
        env: Box::new(|name| env.get(name).map(OsString::from)),
        stdin: Box::new(stdin),
        stdout: Box::new(&mut stdout),
    }
    .run(plugin);
    let document = (!stdout.is_empty()).then(|| serde_json::from_slice(&stdout).unwrap());
    (
        format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS),
        document,
    )
}

fn conf(version: &str) -> Vec<u8> {
    json!({
        "cniVersion": version, "name": "lab", "type": "scripted",
        "cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}],
    })
    .to_string()
    .into_bytes()
}

/// The code and the message of a refusal, which must come with a failing status.
fn refusal(plugin: &Scripted, env: &HashMap<String, String>, stdin: &[u8]) -> (u64, String) {
    let (succeeded, document) = run(plugin, env, stdin);
    assert!(!succeeded, "{document:?}");
    let document = document.unwrap();
    assert!(document["cniVersion"].is_string(), "{document}");
    (
        document["code"].as_u64().unwrap(),
        document["msg"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn add_answers_in_the_version_of_the_configuration() {
    for version in Version::ALL {
        let (succeeded, document) = run(
            &Scripted::default(),
            &env("ADD", &[]),
            &conf(version.as_str()),
        );
        let document = document.unwrap();
        assert!(succeeded);
        assert_eq!(document["cniVersion"], version.as_str());
        assert_eq!(
            document["interfaces"].is_array(),
            version >= Version::V0_3_0,
            "{document}"
        );
        assert_eq!(
            document["interfaces"][0]["mtu"].is_u64(),
            version >= Version::V1_1_0
        );
    }
}

#[test]
fn add_passes_the_previous_result_on_in_every_version() {
    for version in Version::ALL {
        let prev = CniResult {
            ips: vec![wharfline_spec::cni::IpConfig {
                interface: None,
                address: "10.0.0.2/24".parse().unwrap(),
                gateway: None,
            }],
            ..CniResult::default()
        };
        let conf = json!({
            "cniVersion": version.as_str(), "name": "lab", "prevResult": prev.to_json(version),
        });
        let (_, document) = run(
            &Scripted::default(),
            &env("ADD", &[]),
            conf.to_string().as_bytes(),
        );
        let read = CniResult::from_json(&document.unwrap()).unwrap();
        assert_eq!(read.ips, prev.ips, "{version}");
    }
}

#[test]
fn the_other_verbs_succeed_silently() {
    let plugin = Scripted::default();
    for verb in ["DEL", "CHECK", "GC", "STATUS"] {
        assert_eq!(
            run(&plugin, &env(verb, &[]), &conf("1.1.0")),
            (true, None),
            "{verb}"
        );
    }
    let expected = [
        "DEL c1 eth0 /run/netns/gone",
        "CHECK c1 eth0 /run/netns/gone",
        "GC 1",
        "STATUS lab",
    ];
    assert_eq!(plugin.asked.take(), expected);
}

#[test]
fn all_missing_variables_come_in_one_message() {
    let plugin = Scripted::default();
    let all = [
        ("CNI_CONTAINERID", ""),
        ("CNI_NETNS", ""),
        ("CNI_IFNAME", ""),
        ("CNI_PATH", ""),
    ];
    let cases = [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME"),
        ("GC", "CNI_PATH"),
        ("", "CNI_COMMAND"),
    ];
    for (verb, names) in cases {
        let expected = format!("required env variables [{names}] missing");
        assert_eq!(
            refusal(&plugin, &env(verb, &all), &conf("1.1.0")),
            (4, expected)
        );
    }
    assert!(plugin.asked.take().is_empty());
}

#[test]
fn status_and_a_late_del_do_with_what_runtimes_send() {
    let plugin = Scripted::default();
    let empty = [
        ("CNI_CONTAINERID", ""),
        ("CNI_NETNS", ""),
        ("CNI_IFNAME", ""),
        ("CNI_ARGS", ""),
    ];
    assert_eq!(
        run(&plugin, &env("STATUS", &empty), &conf("1.1.0")),
        (true, None)
    );
    assert_eq!(
        run(&plugin, &env("GC", &empty), &conf("1.1.0")),
        (true, None)
    );
    assert_eq!(
        run(&plugin, &env("DEL", &[("CNI_NETNS", "")]), &conf("1.0.0")),
        (true, None)
    );
    assert_eq!(plugin.asked.take(), ["STATUS lab", "GC 1", "DEL c1 eth0 -"]);
}

#[test]
fn a_variable_that_cannot_be_used_is_named() {
    let cases = [
        ("CNI_COMMAND", "FROB", "unknown CNI_COMMAND: FROB"),
        ("CNI_COMMAND", "add", "unknown CNI_COMMAND: add"),
        (
            "CNI_IFNAME",
            "sixteen-bytes-xy",
            "CNI_IFNAME: interface name \"sixteen-bytes-xy\": must not be longer",
        ),
        ("CNI_IFNAME", "a/b", "CNI_IFNAME: "),
        (
            "CNI_CONTAINERID",
            "../x",
            "CNI_CONTAINERID: container id \"../x\": must begin",
        ),
        ("CNI_ARGS", "IP", "CNI_ARGS: the pair \"IP\""),
    ];
    for (name, value, expected) in cases {
        let (code, msg) = refusal(
            &Scripted::default(),
            &env("ADD", &[(name, value)]),
            &conf("1.0.0"),
        );
        assert_eq!(code, 4, "{name}={value}");
        assert!(msg.starts_with(expected), "{msg}");
    }
}

#[test]
fn version_needs_only_its_command() {
    // As podman 4.3 probes.
    let junk = [
        ("CNI_CONTAINERID", ""),
        ("CNI_NETNS", "dummy"),
        ("CNI_IFNAME", "dummy"),
        ("CNI_PATH", "dummy"),
    ];
    let all: Vec<&str> = Version::ALL.iter().map(|v| v.as_str()).collect();
    for (stdin, echoed) in [
        (r#"{"cniVersion":"1.0.0"}"#, "1.0.0"),
        (r#"{"cniVersion":"0.4.0"}"#, "0.4.0"),
        (r#"{"cniVersion":"7.0.0"}"#, "1.1.0"),
        ("", "1.1.0"),
        ("garbage", "1.1.0"),
    ] {
        let (succeeded, document) = run(
            &Scripted::default(),
            &env("VERSION", &junk),
            stdin.as_bytes(),
        );
        assert!(succeeded);
        assert_eq!(
            document,
            Some(json!({"cniVersion": echoed, "supportedVersions": all}))
        );
    }
    let only = HashMap::from([("CNI_COMMAND".to_owned(), "VERSION".to_owned())]);
    assert!(run(&Scripted::default(), &only, b"").0);
}

#[test]
fn a_verb_before_its_version_is_code_1_in_libcnis_words() {
    let plugin = Scripted::default();
    for (verb, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")] {
        let expected = (1, format!("config version does not allow {verb}"));
        assert_eq!(refusal(&plugin, &env(verb, &[]), &conf(version)), expected);
    }
    assert!(plugin.asked.take().is_empty());
}

#[test]
fn a_version_that_the_plugin_does_not_speak_is_code_1() {
    let plugin = Scripted {
        versions: Some(&[Version::V1_0_0]),
        ..Scripted::default()
    };
    assert_eq!(refusal(&plugin, &env("ADD", &[]), &conf("0.4.0")).0, 1);
    assert_eq!(
        refusal(&Scripted::default(), &env("ADD", &[]), &conf("9.9.9")).0,
        1
    );
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused_before_any_verb() {
    let plugin = Scripted::default();
    let huge = vec![b' '; (STDIN_MAX + 1) as usize];
    let cases: [(&[u8], u64); 6] = [
        (b"", 6),
        (b"{\"name\": \"lab\"", 6),
        (b"[]", 6),
        (&huge, 6),
        (b"{}", 7),
        (b"{\"name\": \"a/b\"}", 7),
    ];
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        for (stdin, code) in cases {
            assert_eq!(refusal(&plugin, &env(verb, &[]), stdin).0, code, "{verb}");
        }
    }
    assert!(plugin.asked.take().is_empty());
    assert!(
        refusal(&plugin, &env("ADD", &[]), &huge)
            .1
            .contains("longer than 16777216 bytes")
    );
}

#[test]
fn a_gc_that_does_not_say_what_is_valid_collects_nothing() {
    let plugin = Scripted::default();
    let stdin = br#"{"cniVersion": "1.1.0", "name": "lab"}"#;
    assert_eq!(refusal(&plugin, &env("GC", &[]), stdin).0, 7);
    assert!(plugin.asked.take().is_empty());
}

#[test]
fn the_plugins_own_error_reaches_the_runtime_in_the_configurations_version() {
    let refused = CniError::new(code::TRY_AGAIN_LATER, "lock lab: busy").with_details("held by 7");
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        let plugin = Scripted {
            refusal: Some(refused.clone()),
            ..Scripted::default()
        };
        let (succeeded, document) = run(&plugin, &env(verb, &[]), &conf("1.1.0"));
        assert!(!succeeded);
        let expected = json!({"cniVersion": "1.1.0", "code": 11, "msg": "lock lab: busy", "details": "held by 7"});
        assert_eq!(document, Some(expected));
    }
    let (_, document) = run(
        &Scripted::default(),
        &env("ADD", &[]),
        br#"{"cniVersion":"0.4.0"}"#,
    );
    assert_eq!(document.unwrap()["cniVersion"], "0.4.0");
}

#[test]
fn a_panic_is_one_document_with_code_999() {
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        let plugin = Scripted {
            panics: true,
            ..Scripted::default()
        };
        let (code, msg) = refusal(&plugin, &env(verb, &[]), &conf("1.1.0"));
        assert_eq!(code, 999);
        assert!(
            msg.starts_with("a defect of this plugin: scripted"),
            "{msg}"
        );
    }
}

#[test]
fn an_answer_that_nobody_takes_is_a_failure() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let env = env("ADD", &[]);
    let stdin = conf("1.0.0");
    let mut boundary = Boundary {
        env: Box::new(|name| env.get(name).map(OsString::from)),
        stdin: Box::new(&stdin[..]),
        stdout: Box::new(Closed),
    };
    let code = boundary.run(&Scripted::default());
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
}
