//! The units that we ship, under a real systemd beside Debian's own of docker and containerd: started by their sockets,
//! within their restrictions, and restarted under running containers.
//!
//! systemd is the first process of a machine in namespaces and control groups of its own.

use std::fs::{self, File};
use std::time::Duration;

use wharfline_netns_tests::docker_host::{PAGE, page};
use wharfline_netns_tests::groups::Groups;
use wharfline_netns_tests::machine::{ARCHIVE, IMAGE, Machine};
use wharfline_netns_tests::ours;
use wharfline_testkit::{Lab, wait_for};

const JOIN: &str = include_str!("join-groups.sh");
const BOOT: &str = include_str!("boot-systemd.sh");
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/systemd");
/// Our services, started by sockets of the same names.
const SERVICES: [&str; 4] = [
    "wharf-bridge",
    "wharf-ipam",
    "wharf-macvlan",
    "wharf-volume",
];
const SOCKET: &str = "unix:///run/docker.sock";
/// The page of the container that publishes its port.
const PUBLISHED: &str = "http://127.0.0.1:8080/page";
/// Where systemd's own words go.
const LOG: &str = "/run/systemd.log";

/// A machine that systemd runs.
struct Host {
    machine: Machine,
}

impl Host {
    fn boot() -> Host {
        let lab = Lab::new();
        let log = File::create(lab.path(LOG)).expect("create a log");
        let groups = Groups::new();
        let mut command = lab.command("bash");
        command.args(["-c", JOIN, "join-groups", groups.name()]);
        command.args([
            "unshare", "--cgroup", "--ipc", "--uts", "--mount", "--pid", "--fork",
        ]);
        command.args([
            "--kill-child=KILL",
            "--mount-proc",
            "bash",
            "-c",
            BOOT,
            "boot-systemd",
            UNITS,
        ]);
        command.arg(ours().directory());
        command
            .stdout(log.try_clone().expect("duplicate the log"))
            .stderr(log);
        let machine = Machine::booted(lab, command, "systemd", groups);
        let host = Host { machine };
        wait_for("dockerd to answer", Duration::from_secs(60), || {
            let told = host.machine.try_run(&["docker", "-H", SOCKET, "version"]);
            let log = || fs::read_to_string(host.machine.lab.path(LOG)).unwrap_or_default();
            told.succeeded()
                .then_some(())
                .ok_or_else(|| format!("{told}\n{}", log()))
        });
        host.docker(&["load", "-i", ARCHIVE]);
        host
    }

    #[track_caller]
    fn docker(&self, arguments: &[&str]) -> String {
        let told = self
            .machine
            .run(&[&["docker", "-H", SOCKET], arguments].concat());
        told.trim().to_owned()
    }

    /// What systemd says of each of our units with this ending.
    fn states(&self, ending: &str) -> Vec<String> {
        let units: Vec<String> = SERVICES
            .iter()
            .map(|name| format!("{name}.{ending}"))
            .collect();
        let units: Vec<&str> = units.iter().map(String::as_str).collect();
        let told = self
            .machine
            .try_run(&[&["systemctl", "is-active"], &units[..]].concat());
        told.stdout.lines().map(str::to_owned).collect()
    }

    /// The processes of the services that are active, by name.
    fn processes(&self) -> Vec<(&'static str, String)> {
        let active = SERVICES.iter().zip(self.states("service"));
        let active = active.filter(|(_, state)| state == "active");
        active
            .map(|(name, _)| {
                let show = ["systemctl", "show", "-P", "MainPID", name];
                (*name, self.machine.run(&show).trim().to_owned())
            })
            .collect()
    }

    /// Kills each service's process, and waits until systemd has started another. Not the whole group: of one that is about
    /// to end the kernel says that its number is 0, and systemctl, that it is an error (EIO).
    #[track_caller]
    fn kills_the_services(&self) {
        let before = self.processes();
        let kill = ["systemctl", "kill", "--kill-who=main", "-s", "KILL"];
        self.machine.run(&[&kill[..], &SERVICES].concat());
        wait_for("other processes", Duration::from_secs(20), || {
            let now = self.processes();
            let others = now.len() == SERVICES.len() && now.iter().all(|it| !before.contains(it));
            others.then_some(()).ok_or(format!("{before:?}, {now:?}"))
        });
    }

    /// The container's page, asked for on the host.
    #[track_caller]
    fn serves(&self, url: &str) {
        wait_for(url, Duration::from_secs(10), || {
            let told = self.machine.try_run(&["curl", "-gsS", "-m", "2", url]);
            told.stdout
                .contains(PAGE)
                .then_some(())
                .ok_or(told.to_string())
        });
    }

    /// Size of the container's volume, in KiB, as the container sees it.
    #[track_caller]
    fn size_of_data(&self) -> u64 {
        let table = self.docker(&["exec", "web", "busybox", "df", "-k", "/data"]);
        let line = table.lines().last().unwrap_or_default().to_owned();
        let blocks = line
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok());
        blocks.unwrap_or_else(|| panic!("{table}"))
    }
}

#[test]
fn the_shipped_units_serve_dockerd_within_their_restrictions_and_restart_under_containers() {
    let host = Host::boot();
    assert_eq!(host.states("socket"), ["active"; 4]);
    let create = ["network", "create", "--ipam-driver", "wharf-ipam", "-d"];
    host.docker(&[&create[..], &["wharf-bridge", "net1"]].concat());
    host.docker(&[
        "volume",
        "create",
        "-d",
        "wharf-volume",
        "-o",
        "size=32M",
        "data",
    ]);
    let run = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "net1",
        "-p",
        "8080:80",
    ];
    host.docker(&[&run[..], &["-v", "data:/data", IMAGE]].concat());
    // Were the mount not seen by dockerd, this would be the host's own file system, and much larger.
    assert!(host.size_of_data() < 32 << 10);
    host.docker(&["exec", "web", "busybox", "cp", "/page", "/data/kept"]);
    host.serves(PUBLISHED);
    on_a_parent(&host, &create);
    assert_eq!(
        host.states("service"),
        ["active"; 4],
        "started by their sockets"
    );

    let restart = [&["systemctl", "restart"], &SERVICES[..]].concat();
    host.machine.run(&restart);
    host.serves(PUBLISHED);
    assert!(host.size_of_data() < 32 << 10);
    host.kills_the_services();
    let kept = host.docker(&["exec", "web", "busybox", "cat", "/data/kept"]);
    assert!(kept.contains(PAGE.trim()), "{kept}");
    host.serves(PUBLISHED);

    host.docker(&["rm", "-f", "web"]);
    host.docker(&["volume", "rm", "data"]);
    host.docker(&["network", "rm", "net1"]);
    let mounts = host.machine.run(&["cat", "/proc/self/mountinfo"]);
    assert!(!mounts.contains("/volume-local/"), "{mounts}");
}

/// A container on a parent, and a host beyond it: what the service may do with packets and with namespaces is enough.
fn on_a_parent(host: &Host, create: &[&str]) {
    host.machine
        .lab
        .host()
        .ip("link add parent0 type veth peer name beyond0
         addr add 10.9.0.9/24 dev beyond0
         link set parent0 up
         link set beyond0 up");
    let network = [
        "wharf-macvlan",
        "--subnet",
        "10.9.0.0/24",
        "-o",
        "parent=parent0",
        "lan",
    ];
    host.docker(&[create, &network].concat());
    host.docker(&[
        "run",
        "-d",
        "--name",
        "near",
        "--network",
        "lan",
        "--ip",
        "10.9.0.77",
        IMAGE,
    ]);
    host.serves(&page("10.9.0.77"));
    host.docker(&["rm", "-f", "near"]);
    host.docker(&["network", "rm", "lan"]);
    host.machine.lab.host().ip("link del parent0");
}
