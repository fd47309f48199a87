//! A host with wharf on it: a lab, the binaries under test, a root filesystem of busybox.
//! Every test of the suite begins with one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use wharfline_testkit::{Lab, Output, Plugins, Process, World, wait_for};

/// Where the root filesystem is in the lab.
pub(crate) const ROOTFS: &str = "/var/lib/rootfs";
/// The applets that tests run.
const APPLETS: [&str; 26] = [
    "cat", "chmod", "chroot", "dd", "echo", "env", "false", "grep", "head", "httpd", "id", "ip",
    "kill", "ln", "ls", "mkdir", "mknod", "mount", "ps", "sh", "sleep", "stty", "touch", "true",
    "tty", "wget",
];

/// Whether the host has control groups of version 2 alone.
pub(crate) fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A lab with wharf in it.
pub(crate) struct Host {
    pub(crate) lab: Lab,
    bin: PathBuf,
    plugins: String,
}

/// What a command of wharf's answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    /// With our own plugins, and the reference's for types that we do not have.
    pub(crate) fn new() -> Host {
        let plugins = Plugins::ours().with_reference();
        let lab = Lab::new();
        make_rootfs(&lab.path(ROOTFS));
        Host {
            bin: plugins.directory().to_owned(),
            plugins: plugins.cni_path(),
            lab,
        }
    }

    /// `wharf` with these words, as a command that runs on the host.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.command(self.bin.join("wharf"));
        command.args(words).env("CNI_PATH", &self.plugins);
        command
    }

    /// What CNI_PATH says.
    pub(crate) fn plugins(&self) -> &str {
        &self.plugins
    }

    /// One of the binaries under test.
    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Runs `wharf` to its end.
    #[track_caller]
    pub(crate) fn wharf(&self, words: &[&str]) -> Answer {
        self.wharf_reading(words, "")
    }

    /// Runs `wharf` to its end, with something on its stdin.
    #[track_caller]
    pub(crate) fn wharf_reading(&self, words: &[&str], stdin: &str) -> Answer {
        Answer::from(self.lab.run_command(self.command(words), stdin.as_bytes()))
    }

    /// `wharf run --rm` with these options, then the root filesystem and the command.
    #[track_caller]
    pub(crate) fn run(&self, options: &[&str], command: &[&str]) -> Answer {
        self.wharf(&run_words(options, command))
    }

    /// The same, beside the test; returns once the container runs.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, options: &[&str], command: &[&str]) -> Process {
        let options = [options, &["--name", name]].concat();
        let process = Process::start(self.command(&run_words(&options, command)));
        wait_for(
            &format!("container {name} to run"),
            Duration::from_secs(20),
            || match self.container(name) {
                Some(about) if about["state"] == "running" => Ok(()),
                about => Err(format!("it is {about:?}")),
            },
        );
        process
    }

    /// A container that stays, left running; returns its id.
    #[track_caller]
    pub(crate) fn leave(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        let options = [options, &["--name", name]].concat();
        let words = [&["run", "-d"], options.as_slice(), &[ROOTFS], command].concat();
        self.wharf(&words).ok().trim().to_owned()
    }

    /// Runs a shell's script in a container that stays, to its end.
    #[track_caller]
    pub(crate) fn run_to_stay(&self, name: &str, script: &str) -> Answer {
        let words = ["run", "--name", name, "--network", "none", ROOTFS];
        self.wharf(&[&words[..], &["sh", "-c", script]].concat())
    }

    /// Runs a shell's script in a running container to its end.
    #[track_caller]
    pub(crate) fn exec(&self, name: &str, script: &str) -> Answer {
        self.wharf(&["exec", name, "sh", "-c", script])
    }

    /// Waits until a container is in this state.
    #[track_caller]
    pub(crate) fn await_state(&self, name: &str, state: &str) -> Value {
        wait_for(
            &format!("container {name} to be {state}"),
            Duration::from_secs(20),
            || match self.container(name) {
                Some(about) if about["state"] == state => Ok(about),
                about => Err(format!("it is {about:?}")),
            },
        )
    }

    /// A container as `wharf ps --json` has it.
    pub(crate) fn container(&self, name: &str) -> Option<Value> {
        let all = self.wharf(&["ps", "-a", "--json"]).json();
        let all = all.as_array().expect("a list").clone();
        all.into_iter().find(|about| about["name"] == name)
    }

    /// The world as it is after one container has come and gone: what stays for good is in it.
    pub(crate) fn warm(&self, network: &str) -> World {
        let ports: &[&str] = if network == "none" {
            &[]
        } else {
            &["-p", "9:9"]
        };
        let options = [&["--network", network, "--name", "warm"], ports].concat();
        self.run(&options, &["true"]).ok();
        self.world()
    }

    /// The world without what changes by itself, and without what lies in the root filesystem.
    pub(crate) fn world(&self) -> World {
        let world = self.lab.world().without(&format!("file {ROOTFS}"));
        let world = world.without(&format!("directory {ROOTFS}"));
        // Told to whoever asks for events; it does not grow without end.
        world.without("file /run/wharfline/events.jsonl")
    }
}

impl Host {
    /// The process that looks after a container.
    pub(crate) fn shim_of(&self, name: &str) -> i32 {
        let about = self.wharf(&["inspect", name]).json();
        let folder = about[0]["folder"].as_str().expect("a folder").to_owned();
        let mut processes = fs::read_dir("/proc").expect("listed").flatten();
        let found = processes.find_map(|entry| {
            let words = fs::read(entry.path().join("cmdline")).ok()?;
            let words = String::from_utf8_lossy(&words).into_owned();
            let is_shim = words.contains("wharf-shim\0run") && words.contains(&folder);
            is_shim.then(|| entry.file_name().into_string().ok())?
        });
        found.expect("a shim").parse().expect("a pid")
    }

    /// Puts the program of `tests/probe.c` into the root filesystem, as `probe`.
    pub(crate) fn install_probe(&self) {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probe.c");
        let made = tempfile::NamedTempFile::new()
            .expect("a file")
            .into_temp_path();
        let mut compiler = Command::new("gcc");
        compiler
            .args(["-static", "-O1", "-o"])
            .arg(&made)
            .arg(source);
        let ended = compiler.status().expect("gcc (apt: build-essential)");
        assert!(ended.success(), "{source}: {ended}");
        fs::copy(&made, self.lab.path(ROOTFS).join("bin/probe")).expect("the program");
    }
}

impl Drop for Host {
    /// Control groups are the machine's: a container that dies with its lab would leave its own behind.
    fn drop(&mut self) {
        let listed = self.wharf(&["ps", "-a", "--json"]).stdout;
        let all: Vec<Value> = serde_json::from_str(&listed).unwrap_or_default();
        for id in all.iter().filter_map(|about| about["id"].as_str()) {
            self.wharf(&["rm", "-f", "-v", id]);
        }
        wait_for("no container to be left", Duration::from_secs(10), || {
            self.wharf(&["gc"]);
            match self.wharf(&["ps", "-a", "--json"]).stdout.trim() {
                "[]" => Ok(()),
                left => Err(left.to_owned()),
            }
        });
    }
}

fn run_words<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--rm"], options, &[ROOTFS], command].concat()
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Answer {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: output.stderr,
        }
    }
}

impl Answer {
    /// Asserts success, and returns stdout.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Asserts success, and returns stdout as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
    }

    /// Asserts failure with `code` and a complaint that has `words` in it.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(words), "{words:?} is not in {self:?}");
    }
}

fn make_rootfs(root: &Path) {
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "www"] {
        fs::create_dir_all(root.join(dir)).expect("a folder of the root filesystem");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox (apt: busybox-static)");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("an applet");
    }
    fs::write(root.join("www/index.html"), "hello\n").expect("a page");
}
