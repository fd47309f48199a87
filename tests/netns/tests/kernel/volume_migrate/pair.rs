//! Two hosts with our volume driver, a cable between them, and a real sshd on one: keys, accounts and configuration are
//! their own.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_netns_tests::{ours, ssh};
use wharfline_testkit::{Output, Process, wait_for};

use crate::volume_host::{Host, ROOT};

const RELAY: &str = include_str!("relay.py");
const TREE: &str = include_str!("tree.py");
/// The other host's name in ssh_config.
pub(super) const THERE: &str = "there";
/// A volume goes from `here` to `there`.
pub(super) struct Pair {
    pub(super) here: Host,
    pub(super) there: Host,
    _sshd: Option<Process>,
}

impl Pair {
    /// With the roots on file systems of these kinds; none is the lab's own, in memory.
    pub(super) fn on(here: &str, there: &str) -> Pair {
        let mut pair = Pair {
            here: Host::on(here),
            there: Host::on(there),
            _sshd: None,
        };
        for host in [&pair.here, &pair.there] {
            ssh::own_accounts(&host.lab, |script| drop(host.lab.exec(script)));
            write(host, "/run/tree.py", TREE);
            host.lab.exec(&[
                "ln",
                "-s",
                "volume-local.sock",
                "/run/docker/plugins/wharf-volume.sock",
            ]);
        }
        write(&pair.here, "/run/relay.py", RELAY);
        let relay = "  ProxyCommand python3 /run/relay.py %h %p\n";
        pair.until(None, "cut");
        pair._sshd = Some(ssh::serve(&pair.here.lab, &pair.there.lab, relay));
        pair
    }

    /// From the next connection on: stops when so many bytes have gone.
    pub(super) fn until(&self, limit: Option<u64>, how: &str) {
        let asked = json!({"limit": limit, "how": how}).to_string();
        write(&self.here, "/run/relay.json", &asked);
    }

    /// Bytes that went from here to there since the last time; none went as well.
    pub(super) fn went(&self) -> u64 {
        let path = self.here.lab.path("/run/relay.count");
        let counted = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        counted
            .lines()
            .map(|line| line.parse::<u64>().expect("a number"))
            .sum()
    }

    /// A volume with one of everything.
    pub(super) fn fill(&self, name: &str, options: &Value, bytes: u64) {
        self.here.create(name, options);
        self.here.mount(name, "test");
        let place = format!("{ROOT}/volumes/{name}/data");
        self.here.lab.exec(&[
            "python3",
            "/run/tree.py",
            "fill",
            &place,
            &bytes.to_string(),
        ]);
        self.here.unmount(name, "test");
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.here.lab.command(ours().find("wharf"));
        command.args(["volume", "migrate"]).args(words);
        command
    }

    pub(super) fn migrate(&self, words: &[&str]) -> Output {
        self.here.lab.run_command(self.command(words), b"")
    }

    /// One that succeeds; its JSON.
    #[track_caller]
    pub(super) fn moves(&self, words: &[&str]) -> Value {
        let output = self.migrate(&[words, &["--json"]].concat());
        assert!(
            output.succeeded(),
            "{output}\n{}",
            read(&self.there, "/run/sshd.log")
        );
        serde_json::from_str(&output.stdout).expect("JSON")
    }

    /// One that is refused with a word of its own.
    #[track_caller]
    pub(super) fn is_refused(&self, words: &[&str], told: &[&str]) {
        let output = self.migrate(words);
        assert_eq!(output.status.code(), Some(1), "{output}");
        for told in told {
            assert!(output.stderr.contains(told), "{told:?} is not in {output}");
        }
    }

    /// Starts one beside the test, which stops when so many bytes have gone.
    pub(super) fn start_until(&self, limit: u64, how: &str, words: &[&str]) -> Child {
        self.until(Some(limit), how);
        self.here
            .lab
            .exec(&["rm", "-f", "/run/relay.reached", "/run/relay.go"]);
        self.here.lab.exec(&["mkfifo", "/run/relay.go"]);
        let mut command = self.command(words);
        let output = Stdio::piped;
        command
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output());
        let mut child = command.spawn().expect("wharf");
        let reached = self.here.lab.path("/run/relay.reached");
        wait_for("the bytes to go", Duration::from_secs(60), || {
            if let Some(status) = child.try_wait().expect("waited for") {
                return Err(format!("wharf ended with {status}"));
            }
            reached.exists().then_some(()).ok_or("not yet".to_owned())
        });
        child
    }

    /// Lets the connection go on that has stopped.
    pub(super) fn go_on(&self) {
        drop(
            fs::OpenOptions::new()
                .write(true)
                .open(self.here.lab.path("/run/relay.go")),
        );
    }

    /// The process on a host whose command line has all these words.
    #[track_caller]
    pub(super) fn process(host: &Host, words: &[&str]) -> i32 {
        wait_for("a process to be there", Duration::from_secs(10), || {
            let found = Pair::processes(host, words);
            match found.as_slice() {
                [one] => Ok(*one),
                _ => Err(format!("{words:?}: {found:?}")),
            }
        })
    }

    /// All of them.
    pub(super) fn processes(host: &Host, words: &[&str]) -> Vec<i32> {
        let ours = host
            .lab
            .enter(|| fs::read_link("/proc/thread-self/ns/mnt").expect("a namespace"));
        let all = fs::read_dir("/proc").expect("listed").flatten();
        let found = all.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let lives = fs::read_link(entry.path().join("ns/mnt")).ok()? == ours;
            let program = line.split(' ').next()?.rsplit('/').next()?.to_owned();
            (lives && program == words[0] && words.iter().all(|word| line.contains(word)))
                .then_some(pid)
        });
        found.collect()
    }

    /// What the hosts' volumes are called, finished ones alone.
    pub(super) fn names(host: &Host) -> Vec<String> {
        let listed = host.server.call("/VolumeDriver.List", &json!({}));
        let all = listed["Volumes"].as_array().expect("a list").clone();
        let name = |volume: &Value| volume["Name"].as_str().expect("a name").to_owned();
        all.iter().map(name).collect()
    }

    /// All that a volume has.
    #[track_caller]
    pub(super) fn tree(host: &Host, name: &str) -> String {
        host.mount(name, "test");
        let place = format!("{ROOT}/volumes/{name}/data");
        let shown = host.lab.exec(&["python3", "/run/tree.py", "print", &place]);
        host.unmount(name, "test");
        shown
    }
}

fn write(host: &Host, path: &str, text: &str) {
    fs::write(host.lab.path(path), text).unwrap_or_else(|e| panic!("{path}: {e}"));
}

pub(super) fn read(host: &Host, path: &str) -> String {
    fs::read_to_string(host.lab.path(path)).unwrap_or_default()
}
