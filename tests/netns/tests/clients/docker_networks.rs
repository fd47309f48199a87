//! dockerd 20.10 with our drivers: networks, addresses and published ports of `docker run`, as its users know them.

use std::time::Duration;

use serde_json::Value;
use wharfline_netns_tests::ours;
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Outside, Process, World, wait_for};

use crate::docker::start_dockerd;
use crate::machine::{ARCHIVE, IMAGE, Machine, fetches};

const PAGE: &str = "a page from the container";

/// Names of the plugins' processes.
const PLUGINS: [&str; 2] = ["bridge", "host-local"];

/// A Docker host with both of our plugins.
struct DockerHost {
    machine: Machine,
    outside: Outside,
    plugins: Vec<Process>,
    dockerd: Option<Process>,
    /// Options of dockerd.
    options: &'static [&'static str],
}

impl DockerHost {
    fn boot() -> DockerHost {
        DockerHost::with(&[])
    }

    /// With options for dockerd.
    fn with(options: &'static [&'static str]) -> DockerHost {
        let machine = Machine::boot();
        let outside = machine.lab.outside();
        let mut host = DockerHost {
            machine,
            outside,
            plugins: Vec::new(),
            dockerd: None,
            options,
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
            let path = self.machine.lab.path(&path);
            wait_for("the plugin to listen", Duration::from_secs(10), || {
                let asked = std::os::unix::net::UnixStream::connect(&path);
                asked.map_err(|e| format!("{e}: {}", self.machine.log(name)))
            });
        }
    }

    /// Kills daemons as the kernel would that is out of memory.
    fn kill(&mut self, names: &[&str]) {
        self.machine.kill(names);
        self.plugins.clear();
    }

    /// What the host's init would see to: nobody's identifier is in the file any more.
    fn docker_is_gone(&mut self) {
        self.dockerd = None;
        self.machine.run(&["rm", "-f", "/run/docker.pid"]);
    }

    fn start_dockerd(&mut self) {
        self.dockerd = Some(start_dockerd(&self.machine, self.options));
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
        assert!(
            !output.succeeded(),
            "docker {}: {output}",
            arguments.join(" ")
        );
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
        let told: Value =
            serde_json::from_str(&self.docker(&["inspect", container])).expect("JSON");
        let address = &told[0]["NetworkSettings"]["Networks"][network][key];
        address.as_str().unwrap_or_default().to_owned()
    }

    fn v4(&self, container: &str, network: &str) -> String {
        self.address(container, network, "IPAddress")
    }

    #[track_caller]
    fn never_reaches(&self, container: &str, url: &str) {
        // Once what stands beside it does: what is not there yet proves nothing.
        assert!(
            self.gets(container, url).is_err(),
            "{container} reaches {url}"
        );
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

    /// Whether anybody answers at all.
    fn gets_anything(&self, container: &str, url: &str) -> bool {
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
        !self.machine.try_run(&fetch).stdout.is_empty()
    }

    /// The host's port that the only port of a container was published on.
    fn published_port(&self, container: &str) -> u16 {
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
    fn reaches(&self, container: &str, url: &str) {
        wait_for(
            &format!("{container} to reach {url}"),
            Duration::from_secs(10),
            || self.gets(container, url),
        );
    }

    /// The world after a first container of both families with a port: what a host keeps of that is there.
    fn warm_up(&self) -> World {
        self.network("warm", &["--ipv6"]);
        self.run("warm", "warm", &["-p", "8080:80"]);
        self.docker(&["rm", "-f", "warm"]);
        self.docker(&["network", "rm", "warm"]);
        self.world()
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
    let before = host.warm_up();

    host.network(
        "net1",
        &[
            "--ipv6",
            "--subnet",
            "10.77.0.0/24",
            "--subnet",
            "fd00:77::/64",
        ],
    );
    host.run("web", "net1", &["-p", "8080:80"]);
    host.run("client", "net1", &[]);
    assert_eq!(host.v4("web", "net1"), "10.77.0.2");
    // From outside by both families, from the host, from a neighbour, and by name.
    for address in [Outside::HOST_V4, Outside::HOST_V6] {
        assert!(fetches(&host.outside, tcp(address, 8080)).contains(PAGE));
    }
    assert!(
        fetches(
            host.machine.lab.host(),
            tcp(std::net::Ipv4Addr::LOCALHOST, 8080)
        )
        .contains(PAGE)
    );
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

fn page(address: &str) -> String {
    match address.contains(':') {
        true => format!("http://[{address}]/page"),
        false => format!("http://{address}/page"),
    }
}

#[test]
fn networks_are_apart_and_a_running_container_joins_and_leaves() {
    let host = DockerHost::boot();
    let before = host.warm_up();
    host.network("a", &["--subnet", "10.77.1.0/24"]);
    host.network("b", &["--subnet", "10.77.2.0/24"]);
    host.run("web", "a", &["-p", "8080:80"]);
    host.run("other", "b", &[]);
    host.run("dockers", "bridge", &[]);
    let web = page(&host.v4("web", "a"));
    let dockers = page(&host.v4("dockers", "bridge"));
    // What is published is everybody's, what is not is the network's own.
    host.reaches("other", &format!("http://{}:8080/page", Outside::HOST_V4));
    host.reaches("dockers", &format!("http://{}:8080/page", Outside::HOST_V4));
    for stranger in ["other", "dockers"] {
        host.never_reaches(stranger, &web);
    }
    host.never_reaches("other", &dockers);

    host.docker(&["network", "connect", "a", "other"]);
    host.reaches("other", &web);
    host.reaches("web", &page(&host.v4("other", "a")));
    host.docker(&["network", "disconnect", "a", "other"]);
    host.never_reaches("other", &web);
    host.reaches("other", &format!("http://{}:8080/page", Outside::HOST_V4));

    host.docker(&["rm", "-f", "web", "other", "dockers"]);
    host.docker(&["network", "rm", "a", "b"]);
    before.returns("the host is as before", || host.world());
}

#[test]
fn options_of_a_network_do_what_they_say() {
    let host = DockerHost::boot();
    let _far = host.outside.serves(tcp(Outside::FAR_V4, 80));
    let far = |container: &str| host.gets_anything(container, &page(&Outside::FAR_V4.to_string()));
    host.network("plain", &[]);
    host.run("plain", "plain", &[]);
    assert!(far("plain"), "masqueraded to the outside");

    host.network("inner", &["--internal"]);
    host.run("inner1", "inner", &["-p", "8081:80"]);
    host.run("inner2", "inner", &[]);
    host.reaches("inner2", &page(&host.v4("inner1", "inner")));
    assert!(!far("inner1"), "an internal network has no way out");
    host.outside.does_not_reach(tcp(Outside::HOST_V4, 8081));

    host.network(
        "secluded",
        &["-o", "com.docker.network.bridge.enable_icc=false"],
    );
    host.run("alone1", "secluded", &[]);
    host.run("alone2", "secluded", &[]);
    assert!(far("alone1"), "seclusion does not shut the way out");
    host.never_reaches("alone2", &page(&host.v4("alone1", "secluded")));

    let routed = [
        "--ipv6",
        "--subnet",
        "10.77.3.0/24",
        "--subnet",
        "fd00:77:3::/64",
        "-o",
        "com.docker.network.bridge.gateway_mode_ipv6=routed",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "-o",
        "com.docker.network.container_iface_prefix=net",
    ];
    host.network("routed", &routed);
    host.run("routed", "routed", &["-p", "8082:80"]);
    host.outside.learns_route_to("fd00:77:3::/64");
    let address = host.address("routed", "routed", "GlobalIPv6Address");
    let address: std::net::IpAddr = address.parse().expect("an address");
    assert!(
        fetches(&host.outside, tcp(address, 80)).contains(PAGE),
        "at its own address"
    );
    assert!(
        fetches(&host.outside, tcp(Outside::HOST_V4, 8082)).contains(PAGE),
        "IPv4 is translated"
    );
    let link = host.docker(&["exec", "routed", "busybox", "ip", "link", "show", "net0"]);
    assert!(link.contains("mtu 1400"), "{link}");

    // Ports that nobody named are somewhere, and nobody else gets them.
    host.run("random", "plain", &["-p", "80"]);
    let port = host.published_port("random");
    assert!(fetches(&host.outside, tcp(Outside::HOST_V4, port)).contains(PAGE));
    let taken = format!("{port}:80");
    let told = host.fails(&["run", "-d", "--network", "plain", "-p", &taken, IMAGE]);
    assert!(
        told.contains(&port.to_string()) && told.contains("in use"),
        "{told}"
    );

    let ours = [
        "network",
        "create",
        "-d",
        "wharf-bridge",
        "-o",
        "colour=red",
        "bad",
    ];
    let told = host.fails(&ours);
    assert!(told.contains("option colour is not known"), "{told}");
}

#[test]
fn what_is_killed_comes_back_with_all_that_it_had() {
    let mut host = DockerHost::boot();
    let before = host.warm_up();
    host.network("net1", &["--subnet", "10.77.1.0/24"]);
    host.run("web", "net1", &["-p", "8080:80", "--restart", "always"]);
    let serves =
        |host: &DockerHost| fetches(&host.outside, tcp(Outside::HOST_V4, 8080)).contains(PAGE);
    assert!(serves(&host));

    // The plugins alone: nothing of what runs is touched, and the next call finds all that there was.
    host.kill(&PLUGINS);
    assert!(serves(&host));
    host.start_plugins();
    host.run("second", "net1", &[]);
    assert_ne!(host.v4("second", "net1"), host.v4("web", "net1"));
    host.reaches("second", &page(&host.v4("web", "net1")));
    host.docker(&["rm", "-f", "second"]);

    // dockerd and the plugins at once: what should run runs again, at an address and with its port.
    host.kill(
        &[
            &PLUGINS[..],
            &["dockerd", "containerd", "containerd-shim", "httpd"],
        ]
        .concat(),
    );
    host.docker_is_gone();
    host.start_plugins();
    host.start_dockerd();
    wait_for(
        "the container to run again",
        Duration::from_secs(60),
        || {
            let state = host.docker(&[
                "inspect",
                "-f",
                "{{.State.Running}} {{.State.Restarting}}",
                "web",
            ]);
            (state == "true false").then_some(()).ok_or(state)
        },
    );
    assert!(serves(&host));
    let endpoints = host
        .world()
        .objects("file /run/wharfline/")
        .filter(|f| f.contains("@wc"))
        .count();
    assert_eq!(
        endpoints,
        2,
        "one link and its ports: {:?}",
        host.machine.log("bridge")
    );
    host.docker(&["rm", "-f", "web"]);
    host.docker(&["network", "rm", "net1"]);
    before.returns("the host is as before", || host.world());
}

#[test]
fn with_live_restore_containers_run_on_while_dockerd_and_plugins_restart() {
    let mut host = DockerHost::with(&["--live-restore"]);
    let before = host.warm_up();
    host.network("net1", &["--subnet", "10.77.1.0/24"]);
    host.run("web", "net1", &["-p", "8080:80"]);
    let page = |host: &DockerHost| fetches(&host.outside, tcp(Outside::HOST_V4, 8080));
    assert!(page(&host).contains(PAGE));
    let started = host.docker(&["inspect", "-f", "{{.State.StartedAt}}", "web"]);

    host.machine.signal("TERM", &["dockerd"]);
    host.kill(&PLUGINS);
    host.docker_is_gone();
    assert!(page(&host).contains(PAGE), "with nobody there");
    host.start_plugins();
    host.start_dockerd();
    assert!(page(&host).contains(PAGE));
    assert_eq!(
        host.docker(&["inspect", "-f", "{{.State.StartedAt}}", "web"]),
        started
    );
    host.run("second", "net1", &[]);
    assert_eq!(host.v4("second", "net1"), "10.77.1.3");
    host.docker(&["rm", "-f", "web", "second"]);
    host.docker(&["network", "rm", "net1"]);
    // dockerd itself puts its jumps in another order when it starts again.
    let ours = |world: World| world.without("host nft ip filter chain FORWARD rule");
    ours(before).returns("the host is as before", || ours(host.world()));
}
