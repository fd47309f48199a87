//! A plugin's real process: its stdout has exactly one document on every path, panics and aborts
//! included, and a DEL that has begun outlives SIGTERM.
//!
//! This binary is both: with `CNI_COMMAND` it is the plugin, without it runs the tests by calling
//! itself. (A test harness would print to the plugin's stdout, so there is none.)

#![expect(clippy::unwrap_used, reason = "a test panics on what must not happen")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use wharfline_cni::{NetworkRequest, Plugin, Request};
use wharfline_spec::cni::{CniError, CniResult, code};

fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return wharfline_cni::main(&Misbehaving);
    }
    let tests: &[(&str, fn())] = &[
        ("a_result_is_one_document", a_result_is_one_document),
        ("an_error_is_one_document", an_error_is_one_document),
        ("a_panic_is_one_document", a_panic_is_one_document),
        (
            "a_panic_within_a_panic_is_one_document",
            a_panic_within_a_panic_is_one_document,
        ),
        (
            "a_del_that_has_begun_outlives_sigterm",
            a_del_that_has_begun_outlives_sigterm,
        ),
        #[cfg(feature = "plugin")]
        (
            "a_foreign_plugin_dies_with_us",
            a_foreign_plugin_dies_with_us,
        ),
    ];
    let mut stdout = std::io::stdout().lock();
    for (name, test) in tests {
        test();
        writeln!(stdout, "test {name} ... ok").unwrap();
    }
    ExitCode::SUCCESS
}

/// Does as the key `how` of its configuration says.
struct Misbehaving;

impl Misbehaving {
    fn act(conf: &wharfline_spec::cni::NetConf) -> Result<(), CniError> {
        match conf.fields().str("how")?.unwrap_or_default() {
            "refuse" => Err(CniError::new(code::CONFLICT, "port 80: taken")),
            "panic" => panic!("by request"),
            "abort" => {
                let _bomb = Bomb;
                panic!("first")
            }
            "wait" => wait_for_the_test(&conf.fields()),
            _ => Ok(()),
        }
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("second");
    }
}

/// Says through one named pipe that the DEL has begun, and waits at another for leave to go on.
fn wait_for_the_test(fields: &wharfline_spec::Fields<'_>) -> Result<(), CniError> {
    let dir = PathBuf::from(fields.str("dir")?.unwrap_or_default());
    std::fs::write(dir.join("begun"), "x").unwrap();
    std::fs::read(dir.join("go")).unwrap();
    Ok(())
}

impl Plugin for Misbehaving {
    fn name(&self) -> &'static str {
        "misbehaving"
    }
    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        #[cfg(feature = "plugin")]
        if request.conf.ipam_type() == Some("foreign") {
            return delegate_or_be_delegated(request);
        }
        Misbehaving::act(&request.conf).map(|()| CniResult::default())
    }
    fn del(&self, request: &Request) -> Result<(), CniError> {
        Misbehaving::act(&request.conf)
    }
    fn check(&self, request: &Request) -> Result<(), CniError> {
        Misbehaving::act(&request.conf)
    }
    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        Misbehaving::act(&request.conf)
    }
    fn status(&self, request: &NetworkRequest) -> Result<(), CniError> {
        Misbehaving::act(&request.conf)
    }
}

fn start(verb: &str, conf: &Value) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .envs([
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
        ])
        .envs([("CNI_NETNS", "/nowhere"), ("CNI_PATH", "/nowhere")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(conf.to_string().as_bytes())
        .unwrap();
    child
}

fn run(verb: &str, how: &str) -> Output {
    let conf = json!({"cniVersion": "1.0.0", "name": "lab", "how": how});
    start(verb, &conf).wait_with_output().unwrap()
}

/// The one document on stdout.
fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn a_result_is_one_document() {
    let output = run("ADD", "");
    assert_eq!(
        (output.status.code(), document(&output)),
        (Some(0), json!({"cniVersion": "1.0.0"}))
    );
    assert!(output.stderr.is_empty(), "{output:?}");
}

fn an_error_is_one_document() {
    let output = run("ADD", "refuse");
    let expected = json!({"cniVersion": "1.0.0", "code": 100, "msg": "port 80: taken"});
    assert_eq!(
        (output.status.code(), document(&output)),
        (Some(1), expected)
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("port 80: taken"));
}

fn a_panic_is_one_document() {
    let output = run("DEL", "panic");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(document(&output)["code"], 999);
    let msg = document(&output)["msg"].as_str().unwrap().to_owned();
    assert!(
        msg.starts_with("a defect of this plugin: by request at "),
        "{msg}"
    );
}

fn a_panic_within_a_panic_is_one_document() {
    let output = run("ADD", "abort");
    assert!(!output.status.success());
    assert_eq!(document(&output)["code"], 999);
}

fn a_del_that_has_begun_outlives_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    for pipe in ["begun", "go"] {
        nix::unistd::mkfifo(&dir.path().join(pipe), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let conf = json!({"cniVersion": "1.0.0", "name": "lab", "how": "wait", "dir": dir.path()});
    for (verb, outlives) in [("DEL", true), ("CHECK", false)] {
        let mut child = start(verb, &conf);
        std::fs::read(dir.path().join("begun")).unwrap();
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        }
        if outlives {
            std::fs::write(dir.path().join("go"), "x").unwrap();
        }
        assert_eq!(child.wait().unwrap().success(), outlives, "{verb}");
    }
}

/// As the plugin: calls `foreign`. As `foreign`: keeps the pipe `alive` open and never answers.
#[cfg(feature = "plugin")]
fn delegate_or_be_delegated(request: &Request) -> Result<CniResult, CniError> {
    let dir = PathBuf::from(request.conf.fields().str("dir")?.unwrap_or_default());
    if !std::env::args()
        .next()
        .is_some_and(|name| name.ends_with("/foreign"))
    {
        return wharfline_cni::delegate::Delegate::find("foreign", &[dir])?.add(request);
    }
    let _alive = std::fs::File::options()
        .write(true)
        .open(dir.join("alive"))
        .unwrap();
    std::fs::read(dir.join("go")).unwrap();
    Ok(CniResult::default())
}

#[cfg(feature = "plugin")]
fn a_foreign_plugin_dies_with_us() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    for pipe in ["alive", "go"] {
        nix::unistd::mkfifo(&dir.path().join(pipe), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    std::os::unix::fs::symlink(std::env::current_exe().unwrap(), dir.path().join("foreign"))
        .unwrap();
    let conf = json!({"cniVersion": "1.0.0", "name": "lab", "dir": dir.path(), "ipam": {"type": "foreign"}});
    let mut child = start("ADD", &conf);
    // Opens once the foreign plugin has opened its end, and ends when nobody holds that any more.
    let mut alive = std::fs::File::open(dir.path().join("alive")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(alive.read(&mut [0]).unwrap(), 0);
}
