//! A Docker host with all of our plugins, and what its users see of it.
//!
//! Called by the tests of real clients, and by `kernel-features` for what not every kernel has. It must do nothing that a
//! user of Docker would not.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Namespace, Outside, Process, World, wait_for};

use crate::machine::{ARCHIVE, IMAGE, Machine, fetches};
use crate::ours;

/// What the image's web server answers.
pub const PAGE: &str = "a page from the container";

/// Names of the plugins' processes.
pub const PLUGINS: [&str; 3] = ["bridge", "macvlan", "host-local"];

/// A MAC that nobody has.
pub const NOBODY: &str = "02:00:00:00:00:99";

/// Where dockerd's containerd listens, as on hosts with systemd. dockerd does not start it: it gives its own fifteen seconds to
/// start, and kills one that is not healthy three times, which on a busy machine is one that has no time.
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// How long containerd waits for its shims: as long as tests do.
const CONTAINERD_CONFIGURATION: &str = r#"version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[timeouts]
  "io.containerd.timeout.shim.load" = "5m"
  "io.containerd.timeout.task.state" = "5m"
"#;

/// A Docker host with all of our plugins.
pub struct DockerHost {
    /// The host itself.
    pub machine: Arc<Machine>,
    /// What is beyond its uplink.
    pub outside: Outside,
    /// The plugins that run.
    pub plugins: Vec<Process>,
    /// dockerd's containerd, which outlives it.
    pub containerd: Option<Process>,
    /// dockerd, if it runs.
    pub dockerd: Option<Process>,
    /// Options of dockerd.
    pub options: &'static [&'static str],
}

impl DockerHost {
    /// With dockerd's defaults.
    pub fn boot() -> DockerHost {
        DockerHost::with(&[])
    }

    /// With options for dockerd.
    pub fn with(options: &'static [&'static str]) -> DockerHost {
        let mut host = DockerHost::off(options);
        host.start_plugins();
        host.start();
        host
    }

    /// With neither dockerd nor plugins running.
    pub fn off(options: &'static [&'static str]) -> DockerHost {
        let machine = Arc::new(Machine::boot());
        let outside = machine.lab.outside();
        DockerHost {
            machine,
            outside,
            plugins: Vec::new(),
            containerd: None,
            dockerd: None,
            options,
        }
    }

    /// Starts dockerd for the first time.
    pub fn start(&mut self) {
        self.start_dockerd();
        self.docker(&["load", "-i", ARCHIVE]);
    }

    /// Starts all plugins, and waits until they listen.
    pub fn start_plugins(&mut self) {
        for (name, binary, socket) in [
            ("bridge", "bridge", "wharf-bridge"),
            ("macvlan", "macvlan", "wharf-macvlan"),
            ("ipam", "host-local", "wharf-ipam"),
        ] {
            let binary = ours().find(binary);
            let binary = binary.to_str().expect("a path in UTF-8").to_owned();
            self.plugins
                .push(self.machine.start(name, &[&binary, "serve"]));
            let socket = format!("/run/docker/plugins/{socket}.sock");
            wait_for("the plugin to listen", Duration::from_secs(10), || {
                listens(&self.machine, &socket, name)
            });
        }
    }

    /// Kills daemons as the kernel would that is out of memory.
    pub fn kill(&mut self, names: &[&str]) {
        self.machine.kill(names);
        self.plugins.clear();
    }

    /// What the host's init would see to: nobody's identifier is in the file any more.
    pub fn docker_is_gone(&mut self) {
        self.dockerd = None;
        self.machine.run(&["rm", "-f", "/run/docker.pid"]);
    }

    /// Kills plugins, dockerd and all containers at once, starts them again, and waits until `container` runs again.
    #[track_caller]
    pub fn kill_all_and_restart(&mut self, container: &str) {
        let others = ["dockerd", "containerd", "containerd-shim", "httpd"];
        self.kill(&[&PLUGINS[..], &others].concat());
        self.docker_is_gone();
        self.start_plugins();
        self.start_dockerd();
        let format = "{{.State.Running}} {{.State.Restarting}}";
        wait_for(
            "the container to run again",
            Duration::from_secs(60),
            || {
                let state = self.docker(&["inspect", "-f", format, container]);
                (state == "true false").then_some(()).ok_or(state)
            },
        );
    }

    /// Starts dockerd, and its containerd if nobody is there, and waits until both answer.
    pub fn start_dockerd(&mut self) {
        if listens(&self.machine, CONTAINERD, "containerd").is_err() {
            self.containerd = Some(start_containerd(&self.machine));
        }
        self.dockerd = Some(start_dockerd(&self.machine, self.options));
    }

    /// What `docker` prints.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        let command = [&["docker", "-H", "unix:///run/docker.sock"], arguments].concat();
        let output = self.machine.try_run(&command);
        assert!(
            output.succeeded(),
            "docker {}: {output}\nbridge:\n{}\nmacvlan:\n{}\nipam:\n{}",
            arguments.join(" "),
            self.machine.log("bridge"),
            self.machine.log("macvlan"),
            self.machine.log("ipam"),
        );
        output.stdout.trim().to_owned()
    }

    /// What `docker` complains of.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        let command = [&["docker", "-H", "unix:///run/docker.sock"], arguments].concat();
        let output = self.machine.try_run(&command);
        assert!(
            !output.succeeded(),
            "docker {}: {output}",
            arguments.join(" ")
        );
        output.stderr
    }

    /// A network of both our drivers.
    #[track_caller]
    pub fn network(&self, name: &str, options: &[&str]) {
        let ours = ["-d", "wharf-bridge", "--ipam-driver", "wharf-ipam"];
        self.docker(&[&["network", "create"], &ours[..], options, &[name]].concat());
    }

    /// A network on a parent, with Docker's own addresses.
    #[track_caller]
    pub fn on_parent(&self, name: &str, options: &[&str]) {
        let ours = ["network", "create", "-d", "wharf-macvlan"];
        self.docker(&[&ours[..], options, &[name]].concat());
    }

    /// Removes containers, and then their network.
    #[track_caller]
    pub fn remove(&self, containers: &[&str], network: &str) {
        self.docker(&[&["rm", "-f"], containers].concat());
        self.docker(&["network", "rm", network]);
    }

    /// A container of the image, which serves its page.
    #[track_caller]
    pub fn run(&self, name: &str, network: &str, options: &[&str]) {
        let detached = ["run", "-d", "--name", name, "--network", network];
        self.docker(&[&detached[..], options, &[IMAGE]].concat());
    }

    /// An address of a container on a network, by Docker's name for it.
    #[track_caller]
    pub fn address(&self, container: &str, network: &str, key: &str) -> String {
        let told: Value =
            serde_json::from_str(&self.docker(&["inspect", container])).expect("JSON");
        let address = &told[0]["NetworkSettings"]["Networks"][network][key];
        address.as_str().unwrap_or_default().to_owned()
    }

    /// Its IPv4 address.
    pub fn v4(&self, container: &str, network: &str) -> String {
        self.address(container, network, "IPAddress")
    }

    /// It gets nothing from there.
    #[track_caller]
    pub fn never_reaches(&self, container: &str, url: &str) {
        // Once what stands beside it does: what is not there yet proves nothing.
        assert!(
            self.gets(container, url).is_err(),
            "{container} reaches {url}"
        );
    }

    /// What a container gets from an address, within two seconds. Its network alone is entered: the image's own wget
    /// is a static busybox, whose resolver crashes.
    pub fn gets(&self, container: &str, url: &str) -> Result<(), String> {
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", container]);
        let fetch = ["curl", "-gsS", "-m", "2", url];
        let command = [&["nsenter", "-t", &pid, "-n"], &fetch[..]].concat();
        let output = self.machine.try_run(&command);
        match output.stdout.contains(PAGE) {
            true => Ok(()),
            false => Err(output.to_string()),
        }
    }

    /// Whether anybody answers at all.
    pub fn gets_anything(&self, container: &str, url: &str) -> bool {
        !self.answer(container, url).is_empty()
    }

    /// What anybody answers, HTTP or not; nothing where nobody does.
    pub fn answer(&self, container: &str, url: &str) -> String {
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", container]);
        let fetch = [
            "nsenter",
            "-t",
            &pid,
            "-n",
            "curl",
            "-gsS",
            "--http0.9",
            "-m",
            "2",
            url,
        ];
        self.machine.try_run(&fetch).stdout
    }

    /// The host's port that the only port of a container was published on.
    pub fn published_port(&self, container: &str) -> u16 {
        let id = self.docker(&[
            "inspect",
            "-f",
            "{{range .NetworkSettings.Networks}}{{.EndpointID}}{{end}}",
            container,
        ]);
        let world = self.machine.lab.world();
        let mut records = world
            .objects("file /run/wharfline/")
            .filter(|file| file.contains(&id));
        let record = records
            .find(|file| file.contains("bridge-ports"))
            .expect("a record of its ports");
        let path = record.trim_start_matches("file ");
        let text = std::fs::read_to_string(self.machine.lab.path(path)).expect("the record");
        let record: Value = serde_json::from_str(&text).expect("JSON");
        let port = record["labels"]["done"][0]["HostPort"]
            .as_u64()
            .expect("a port");
        u16::try_from(port).expect("a port")
    }

    /// Whoever is outside gets the page at the address of a container.
    #[track_caller]
    pub fn serves(&self, address: IpAddr) {
        serves_to(&self.outside, address);
    }

    /// Whoever is outside remembers an address at a MAC that nobody has.
    pub fn misremembers(&self, address: &str) {
        let neighbour = format!("{address} lladdr {NOBODY} nud stale dev eth0");
        self.outside.ip(&format!("neigh replace {neighbour}"));
    }

    /// The MAC that he remembers it at. He has sent nothing there, so nobody but its owner has told him.
    pub fn remembered(&self, address: &str) -> String {
        let shown = self.outside.exec(&["ip", "neigh", "show", address]);
        let mut words = shown.split(' ').skip_while(|word| *word != "lladdr");
        words.nth(1).unwrap_or_default().to_owned()
    }

    /// It gets the page from there.
    #[track_caller]
    pub fn reaches(&self, container: &str, url: &str) {
        wait_for(
            &format!("{container} to reach {url}"),
            Duration::from_secs(10),
            || self.gets(container, url),
        );
    }

    /// The world after a first container of both families with a port: what a host keeps of that is there.
    pub fn warm_up(&self) -> World {
        self.network("warm", &["--ipv6"]);
        self.run("warm", "warm", &["-p", "8080:80"]);
        self.docker(&["rm", "-f", "warm"]);
        self.docker(&["network", "rm", "warm"]);
        self.world()
    }

    /// What the plugins made: links, addresses, rules, leases, records; not Docker's own.
    pub fn world(&self) -> World {
        let files = ["file /run/wharfline/", "file /var/lib/wharfline/"];
        let all = [&["host "][..], &files].concat();
        crate::lasting(self.machine.lab.world().only(&all))
            .without_empty("file /var/lib/wharfline/")
    }
}

/// Somebody gets the page at the address of a container.
#[track_caller]
pub fn serves_to(who: &Namespace, address: IpAddr) {
    assert!(fetches(who, tcp(address, 80)).contains(PAGE));
}

/// Whether the daemon of that log listens there.
fn listens(machine: &Machine, socket: &str, name: &str) -> Result<(), String> {
    match UnixStream::connect(machine.lab.path(socket)) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("{e}: {}", machine.log(name))),
    }
}

/// Starts the containerd that [`start_dockerd`]'s daemon needs, and waits until it listens.
#[track_caller]
pub fn start_containerd(machine: &Machine) -> Process {
    let configuration = "/run/containerd.toml";
    machine.write(configuration, CONTAINERD_CONFIGURATION);
    let command = ["containerd", "-c", configuration, "-a", CONTAINERD];
    let containerd = machine.start("containerd", &command);
    wait_for("containerd to listen", Duration::from_secs(20), || {
        listens(machine, CONTAINERD, "containerd")
    });
    containerd
}

/// Starts a dockerd with further options on the containerd that is there, and waits until it answers.
#[track_caller]
pub fn start_dockerd(machine: &Machine, options: &[&str]) -> Process {
    let group = machine.control_group();
    let usual = [
        "dockerd",
        "-H",
        "unix:///run/docker.sock",
        "--containerd",
        CONTAINERD,
        "--data-root",
        "/var/lib/docker",
        "--exec-root",
        "/run/docker",
        "--pidfile",
        "/run/docker.pid",
        "--storage-driver",
        "vfs",
        "--cgroup-parent",
        &group,
    ];
    let dockerd = machine.start("dockerd", &[&usual[..], options].concat());
    wait_for("dockerd to answer", Duration::from_secs(60), || {
        let asked = machine.try_run(&["docker", "-H", "unix:///run/docker.sock", "version"]);
        if asked.succeeded() {
            Ok(())
        } else {
            Err(format!("{asked}\n{}", machine.log("dockerd")))
        }
    });
    dockerd
}

/// Where a container's page is.
pub fn page(address: &str) -> String {
    match address.contains(':') {
        true => format!("http://[{address}]/page"),
        false => format!("http://{address}/page"),
    }
}
