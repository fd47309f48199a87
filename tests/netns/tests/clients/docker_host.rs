//! A Docker host with all of our plugins, and what its users see of it.
//!
//! Called by the tests of `docker_networks`. It must do nothing that a user of Docker would not.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use wharfline_netns_tests::ours;
use wharfline_testkit::{Outside, Process, World, wait_for};

use crate::docker::start_dockerd;
use crate::machine::{ARCHIVE, IMAGE, Machine};

/// What the image's web server answers.
pub(crate) const PAGE: &str = "a page from the container";

/// Names of the plugins' processes.
pub(crate) const PLUGINS: [&str; 3] = ["bridge", "macvlan", "host-local"];

/// A Docker host with all of our plugins.
pub(crate) struct DockerHost {
    pub(crate) machine: Arc<Machine>,
    pub(crate) outside: Outside,
    pub(crate) plugins: Vec<Process>,
    pub(crate) dockerd: Option<Process>,
    /// Options of dockerd.
    pub(crate) options: &'static [&'static str],
}

impl DockerHost {
    pub(crate) fn boot() -> DockerHost {
        DockerHost::with(&[])
    }

    /// With options for dockerd.
    pub(crate) fn with(options: &'static [&'static str]) -> DockerHost {
        let mut host = DockerHost::off(options);
        host.start_plugins();
        host.start();
        host
    }

    /// With neither dockerd nor plugins running.
    pub(crate) fn off(options: &'static [&'static str]) -> DockerHost {
        let machine = Arc::new(Machine::boot());
        let outside = machine.lab.outside();
        DockerHost {
            machine,
            outside,
            plugins: Vec::new(),
            dockerd: None,
            options,
        }
    }

    /// Starts dockerd for the first time.
    pub(crate) fn start(&mut self) {
        self.start_dockerd();
        self.docker(&["load", "-i", ARCHIVE]);
    }

    pub(crate) fn start_plugins(&mut self) {
        for (name, binary, socket) in [
            ("bridge", "bridge", "wharf-bridge"),
            ("macvlan", "macvlan", "wharf-macvlan"),
            ("ipam", "host-local", "wharf-ipam"),
        ] {
            let binary = ours().find(binary);
            let binary = binary.to_str().expect("a path in UTF-8").to_owned();
            self.plugins
                .push(self.machine.start(name, &[&binary, "serve"]));
            let path = format!("/run/docker/plugins/{socket}.sock");
            let path = self.machine.lab.path(&path);
            wait_for("the plugin to listen", Duration::from_secs(10), || {
                let asked = std::os::unix::net::UnixStream::connect(&path);
                asked.map_err(|e| format!("{e}: {}", self.machine.log(name)))
            });
        }
    }

    /// Kills daemons as the kernel would that is out of memory.
    pub(crate) fn kill(&mut self, names: &[&str]) {
        self.machine.kill(names);
        self.plugins.clear();
    }

    /// What the host's init would see to: nobody's identifier is in the file any more.
    pub(crate) fn docker_is_gone(&mut self) {
        self.dockerd = None;
        self.machine.run(&["rm", "-f", "/run/docker.pid"]);
    }

    /// Kills plugins, dockerd and all containers at once, starts them again, and waits until `container` runs again.
    #[track_caller]
    pub(crate) fn kill_all_and_restart(&mut self, container: &str) {
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

    pub(crate) fn start_dockerd(&mut self) {
        self.dockerd = Some(start_dockerd(&self.machine, self.options));
    }

    #[track_caller]
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
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

    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
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
    pub(crate) fn network(&self, name: &str, options: &[&str]) {
        let ours = ["-d", "wharf-bridge", "--ipam-driver", "wharf-ipam"];
        self.docker(&[&["network", "create"], &ours[..], options, &[name]].concat());
    }

    #[track_caller]
    pub(crate) fn run(&self, name: &str, network: &str, options: &[&str]) {
        let detached = ["run", "-d", "--name", name, "--network", network];
        self.docker(&[&detached[..], options, &[IMAGE]].concat());
    }

    /// An address of a container on a network, by Docker's name for it.
    #[track_caller]
    pub(crate) fn address(&self, container: &str, network: &str, key: &str) -> String {
        let told: Value =
            serde_json::from_str(&self.docker(&["inspect", container])).expect("JSON");
        let address = &told[0]["NetworkSettings"]["Networks"][network][key];
        address.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn v4(&self, container: &str, network: &str) -> String {
        self.address(container, network, "IPAddress")
    }

    #[track_caller]
    pub(crate) fn never_reaches(&self, container: &str, url: &str) {
        // Once what stands beside it does: what is not there yet proves nothing.
        assert!(
            self.gets(container, url).is_err(),
            "{container} reaches {url}"
        );
    }

    /// What a container gets from an address, within two seconds. Its network alone is entered: the image's own wget
    /// is a static busybox, whose resolver crashes.
    pub(crate) fn gets(&self, container: &str, url: &str) -> Result<(), String> {
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
    pub(crate) fn gets_anything(&self, container: &str, url: &str) -> bool {
        !self.answer(container, url).is_empty()
    }

    /// What anybody answers, HTTP or not; nothing where nobody does.
    pub(crate) fn answer(&self, container: &str, url: &str) -> String {
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
    pub(crate) fn published_port(&self, container: &str) -> u16 {
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

    #[track_caller]
    pub(crate) fn reaches(&self, container: &str, url: &str) {
        wait_for(
            &format!("{container} to reach {url}"),
            Duration::from_secs(10),
            || self.gets(container, url),
        );
    }

    /// The world after a first container of both families with a port: what a host keeps of that is there.
    pub(crate) fn warm_up(&self) -> World {
        self.network("warm", &["--ipv6"]);
        self.run("warm", "warm", &["-p", "8080:80"]);
        self.docker(&["rm", "-f", "warm"]);
        self.docker(&["network", "rm", "warm"]);
        self.world()
    }

    /// What the plugins made: links, addresses, rules, leases, records; not Docker's own.
    pub(crate) fn world(&self) -> World {
        let files = ["file /run/wharfline/", "file /var/lib/wharfline/"];
        let all = [&["host "][..], &files].concat();
        wharfline_netns_tests::lasting(self.machine.lab.world().only(&all))
            .without_empty("file /var/lib/wharfline/")
    }
}

/// Where a container's page is.
pub(crate) fn page(address: &str) -> String {
    match address.contains(':') {
        true => format!("http://[{address}]/page"),
        false => format!("http://{address}/page"),
    }
}
