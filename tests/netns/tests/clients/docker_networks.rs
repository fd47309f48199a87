//! dockerd 20.10 with our drivers: networks, addresses and published ports of `docker run`, as its users know them.

use std::time::Duration;

use serde_json::Value;
use wharfline_netns_tests::ours;
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Outside, Process, World, wait_for};

use crate::docker::start_dockerd;
use crate::machine::{ARCHIVE, IMAGE, Machine, fetches};

const PAGE: &str = "a page from the container";

/// A Docker host with both of our plugins.
struct DockerHost {
    machine: Machine,
    outside: Outside,
    plugins: Vec<Process>,
    dockerd: Option<Process>,
}

impl DockerHost {
    fn boot() -> DockerHost {
        let machine = Machine::boot();
        let outside = machine.lab.outside();
        let mut host = DockerHost {
            machine,
            outside,
            plugins: Vec::new(),
            dockerd: None,
        };
        host.start_plugins();
        host.start_dockerd();
        host.docker(&["load", "-i", ARCHIVE]);
        host
    }

    fn start_plugins(&mut self) {
        for (name, binary, socket) in [
            ("bridge", "bridge", "wharf-bridge"),
            ("ipam", "host-local", "wharf-ipam"),
        ] {
            let binary = ours().find(binary);
            let binary = binary.to_str().expect("a path in UTF-8").to_owned();
            self.plugins
                .push(self.machine.start(name, &[&binary, "serve"]));
            let path = format!("/run/docker/plugins/{socket}.sock");
            wait_for("the plugin's socket", Duration::from_secs(10), || {
                let there = self.machine.lab.path(&path).exists();
                there.then_some(()).ok_or_else(|| self.machine.log(name))
            });
        }
    }

    fn start_dockerd(&mut self) {
        self.dockerd = Some(start_dockerd(&self.machine));
    }

    #[track_caller]
    fn docker(&self, arguments: &[&str]) -> String {
        let command = [&["docker", "-H", "unix:///run/docker.sock"], arguments].concat();
        let output = self.machine.try_run(&command);
        assert!(
            output.succeeded(),
            "docker {}: {output}\nbridge:\n{}\nipam:\n{}",
            arguments.join(" "),
            self.machine.log("bridge"),
            self.machine.log("ipam"),
        );
        output.stdout.trim().to_owned()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let command = [&["docker", "-H", "unix:///run/docker.sock"], arguments].concat();
        let output = self.machine.try_run(&command);
        assert!(!output.succeeded(), "docker {}: {output}", arguments.join(" "));
        output.stderr
    }

    /// A network of both our drivers.
    #[track_caller]
    fn network(&self, name: &str, options: &[&str]) {
        let ours = ["-d", "wharf-bridge", "--ipam-driver", "wharf-ipam"];
        self.docker(&[&["network", "create"], &ours[..], options, &[name]].concat());
    }

    #[track_caller]
    fn run(&self, name: &str, network: &str, options: &[&str]) {
        let detached = ["run", "-d", "--name", name, "--network", network];
        self.docker(&[&detached[..], options, &[IMAGE]].concat());
    }

    /// An address of a container on a network, by Docker's name for it.
    #[track_caller]
    fn address(&self, container: &str, network: &str, key: &str) -> String {
        let told: Value = serde_json::from_str(&self.docker(&["inspect", container])).expect("JSON");
        let address = &told[0]["NetworkSettings"]["Networks"][network][key];
        address.as_str().unwrap_or_default().to_owned()
    }

    fn v4(&self, container: &str, network: &str) -> String {
        self.address(container, network, "IPAddress")
    }

    /// What a container gets from an address, within two seconds. Its network alone is entered: the image's own wget
    /// is a static busybox, whose resolver crashes.
    fn gets(&self, container: &str, url: &str) -> Result<(), String> {
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", container]);
        let fetch = ["curl", "-gsS", "-m", "2", url];
        let command = [&["nsenter", "-t", &pid, "-n"], &fetch[..]].concat();
        let output = self.machine.try_run(&command);
        match output.stdout.contains(PAGE) {
            true => Ok(()),
            false => Err(output.to_string()),
        }
    }

    #[track_caller]
    fn reaches(&self, container: &str, url: &str) {
        wait_for(&format!("{container} to reach {url}"), Duration::from_secs(10), || {
            self.gets(container, url)
        });
    }

    /// What the plugins made: links, addresses, rules, leases, records; not Docker's own.
    fn world(&self) -> World {
        let files = ["file /run/wharfline/", "file /var/lib/wharfline/"];
        let all = [&["host "][..], &files].concat();
        wharfline_netns_tests::lasting(self.machine.lab.world().only(&all))
            .without_empty("file /var/lib/wharfline/")
    }
}

#[test]
fn containers_on_our_network_are_reached_as_on_dockers_own() {
    let host = DockerHost::boot();
    host.network("warm", &[]);
    host.docker(&["network", "rm", "warm"]);
    let before = host.world();

    host.network("net1", &["--ipv6", "--subnet", "10.77.0.0/24", "--subnet", "fd00:77::/64"]);
    host.run("web", "net1", &["-p", "8080:80"]);
    host.run("client", "net1", &[]);
    assert_eq!(host.v4("web", "net1"), "10.77.0.2");
    // From outside by both families, from the host, from a neighbour, and by name.
    for address in [Outside::HOST_V4, Outside::HOST_V6] {
        assert!(fetches(&host.outside, tcp(address, 8080)).contains(PAGE));
    }
    assert!(fetches(host.machine.lab.host(), tcp(std::net::Ipv4Addr::LOCALHOST, 8080)).contains(PAGE));
    host.reaches("client", "http://10.77.0.2/page");
    host.reaches("client", &format!("http://{}:8080/page", Outside::HOST_V4));
    host.reaches("web", &format!("http://{}:8080/page", Outside::HOST_V4));
    let named = host.docker(&["exec", "client", "busybox", "nslookup", "web"]);
    assert!(named.contains("10.77.0.2"), "{named}");
    // Unpublished ports are nobody's business outside.
    host.outside.learns_route_to("10.77.0.0/24");
    host.outside.does_not_reach(tcp([10, 77, 0, 2], 80));

    host.docker(&["restart", "-t", "1", "web"]);
    host.docker(&["stop", "-t", "1", "web"]);
    host.docker(&["start", "web"]);
    assert!(fetches(&host.outside, tcp(Outside::HOST_V4, 8080)).contains(PAGE));
    host.docker(&["rm", "-f", "web", "client"]);
    host.docker(&["network", "rm", "net1"]);
    before.returns("the host is as before", || host.world());
}
