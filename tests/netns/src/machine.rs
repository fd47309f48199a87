//! A lab with processes of its own: daemons, shims and containers of a runtime end with it, whoever started them.
//!
//! Called by tests of real clients. It must give a runtime nothing that a real host would not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use wharfline_testkit::traffic::Service;
use wharfline_testkit::{Lab, Namespace, Output, Process, World, patience, wait_for};

use crate::groups::Groups;

/// Makes the image that all runtimes load: a docker-archive of busybox under the name given.
const MAKE_IMAGE: &str = include_str!("make-image.sh");
/// The image's name, fully qualified so that no runtime asks a registry.
pub const IMAGE: &str = "docker.io/library/busybox:test";
/// Where its archive is, in the lab.
pub const ARCHIVE: &str = "/run/image.tar";

/// A lab, and the first process of its process namespace.
pub struct Machine {
    /// The lab.
    pub lab: Lab,
    /// `unshare`, whose end ends the process namespace.
    init: Process,
    /// What the first process is called.
    first: &'static str,
    /// Those of its containers. The last of all: what is in them ends with the first process.
    groups: Groups,
}

impl Machine {
    /// Boots it, with the image's archive in place.
    pub fn boot() -> Machine {
        let lab = Lab::new();
        let mut command = lab.command("unshare");
        // bash as the first process: it reaps what the runtimes leave to it.
        command.args([
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
            "bash",
            "-c",
            "sleep infinity & wait",
        ]);
        Machine::booted(lab, command, "bash", Groups::new())
    }

    /// Boots one by a command that becomes `unshare`, in whose process namespace `first` is to be the first. What it makes
    /// of control groups is in `groups`.
    pub fn booted(lab: Lab, command: Command, first: &'static str, groups: Groups) -> Machine {
        let init = Process::start(command);
        let machine = Machine {
            lab,
            init,
            first,
            groups,
        };
        machine.first_process();
        machine.run(&["sh", "-c", MAKE_IMAGE, "make-image", IMAGE, ARCHIVE]);
        machine
    }

    fn first_process(&self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.init.id());
        wait_for(
            "the first process of the machine",
            Duration::from_secs(15),
            || {
                let read = std::fs::read_to_string(&children).unwrap_or_default();
                // Until unshare has forked there is none; until bash runs, /proc is still the lab's.
                let pid = read.trim().to_owned();
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                if name.trim() == self.first {
                    Ok(pid)
                } else {
                    Err(format!("children: {read:?}, {name:?}"))
                }
            },
        )
    }

    /// Below which a runtime is to make control groups.
    pub fn control_group(&self) -> String {
        format!("/{}", self.groups.name())
    }

    /// The process that `booted`'s command has become, in the test's own process namespace.
    pub fn id(&self) -> u32 {
        self.init.id()
    }

    /// A command inside, with the first process's mounts, network and processes.
    pub fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.first_process(), "-m", "-n", "-p", "--"])
            .args(argv);
        command
    }

    /// Runs a program inside to its end, and returns what it printed.
    #[track_caller]
    pub fn run(&self, argv: &[&str]) -> String {
        let output = self.try_run(argv);
        assert!(output.succeeded(), "{}: {output}", argv.join(" "));
        output.stdout
    }

    /// The same, with failure left to the caller.
    pub fn try_run(&self, argv: &[&str]) -> Output {
        self.lab.run_command(self.command(argv), b"")
    }

    /// Starts a daemon inside, its output in /run/`name`.log.
    pub fn start(&self, name: &str, argv: &[&str]) -> Process {
        let log = self.lab.path(format!("/run/{name}.log"));
        let log = std::fs::File::create(log).expect("create a log");
        let mut command = self.command(argv);
        command
            .stdout(log.try_clone().expect("duplicate the log"))
            .stderr(Stdio::from(log));
        Process::start(command)
    }

    /// Sends SIGKILL to every process inside that has one of these names, and waits until they are gone.
    pub fn kill(&self, names: &[&str]) {
        self.signal("KILL", names);
    }

    /// The same with another signal that ends them.
    pub fn signal(&self, signal: &str, names: &[&str]) {
        let kill = "for p in /proc/[0-9]*; do read name <$p/comm; for n; do
            if [ \"$name\" = \"$n\" ]; then kill -$0 ${p#/proc/}; echo $name; fi; done; done 2>/dev/null; true";
        let command = [&["bash", "-c", kill, signal], names].concat();
        wait_for("killed processes to go", Duration::from_secs(10), || {
            let left = self.run(&command);
            left.is_empty().then_some(()).ok_or(left)
        });
    }

    /// The end of a daemon's log, for messages.
    pub fn log(&self, name: &str) -> String {
        let log =
            std::fs::read_to_string(self.lab.path(format!("/run/{name}.log"))).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Writes a file inside.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.lab.path(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("create directories");
        std::fs::write(&path, content).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }

    /// What CNI plugins make: links, addresses, routes, rules, leases and our records; not the runtime's own files.
    pub fn networks(&self) -> World {
        let files = ["file /run/wharfline/", "file /var/lib/cni/"];
        crate::lasting(
            self.lab
                .world()
                .only(&["host "].into_iter().chain(files).collect::<Vec<_>>()),
        )
    }
}

/// Asks for `/` over HTTP from a namespace, until the server is up.
#[track_caller]
pub fn fetches(from: &Namespace, service: Service) -> String {
    wait_for(
        &format!("{} to fetch from {service}", from.name()),
        Duration::from_secs(10),
        || from.run(|| get(service).map_err(|e| e.to_string())),
    )
}

fn get(service: Service) -> std::io::Result<String> {
    let within = patience(Duration::from_millis(1200));
    let mut stream = TcpStream::connect_timeout(&service.address, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
