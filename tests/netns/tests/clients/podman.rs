//! podman 4.3 with its CNI backend: bridge, portmap and macvlan are ours, firewall and tuning the packaged ones.

use wharfline_netns_tests::ours;
use wharfline_testkit::Outside;
use wharfline_testkit::traffic::tcp;

use wharfline_netns_tests::machine::{ARCHIVE, IMAGE, Machine, fetches};

/// podman's own default network, as its package installs it.
const CONFLIST: &str = r#"{"cniVersion": "0.4.0", "name": "podman", "plugins": [
  {"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "firewall"},
  {"type": "tuning"}]}"#;

/// A network on the segment of the host's uplink, whose router is the containers'.
const ON_SEGMENT: &str = r#"{"cniVersion": "0.4.0", "name": "lan", "plugins": [
  {"type": "macvlan", "master": "uplink0", "capabilities": {"ips": true},
   "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": "198.18.0.0/24", "rangeStart": "198.18.0.100", "gateway": "198.18.0.2"}]]}}]}"#;

const STORAGE: &str = r#"[storage]
driver = "vfs"
graphroot = "/var/lib/podman"
runroot = "/run/podman"
"#;

fn configuration() -> String {
    let plugins = ours().directory().display().to_string();
    format!(
        r#"[containers]
# Containers of CI may not raise limits (no CAP_SYS_RESOURCE).
default_ulimits = ["nofile=1024:4096", "nproc=10000:10000"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["{plugins}", "/usr/lib/cni"]
network_config_dir = "/etc/cni/net.d"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"#
    )
}

fn podman(machine: &Machine, arguments: &[&str]) -> String {
    let environment = [
        "env",
        "CONTAINERS_CONF=/run/containers.conf",
        "CONTAINERS_STORAGE_CONF=/run/storage.conf",
        "podman",
    ];
    machine.run(&[&environment[..], arguments].concat())
}

/// A container of the image in the background.
fn start(machine: &Machine, name: &str, options: &[&str]) -> String {
    let group = machine.control_group();
    let detached = ["run", "-d", "--name", name, "--cgroup-parent", &group];
    podman(machine, &[&detached[..], options, &[IMAGE]].concat())
}

#[test]
fn containers_with_published_ports_run_and_leave_nothing() {
    let machine = Machine::boot();
    let outside = machine.lab.outside();
    machine.write("/etc/cni/net.d/87-podman-bridge.conflist", CONFLIST);
    machine.write("/run/containers.conf", &configuration());
    machine.write("/run/storage.conf", STORAGE);
    podman(&machine, &["load", "-i", ARCHIVE]);
    let run = |name: &str, port: &str| start(&machine, name, &["-p", port]);
    run("first", "8080:80");
    podman(&machine, &["rm", "-f", "-t", "0", "first"]);
    let warm = machine.networks();

    run("web", "8080:80");
    for (from, service) in [
        (&*outside, tcp(Outside::HOST_V4, 8080)),
        (machine.lab.host(), tcp([127, 0, 0, 1], 8080)),
        (machine.lab.host(), tcp(Outside::HOST_V4, 8080)),
    ] {
        assert!(fetches(from, service).contains("a page from the container"));
    }
    run("client", "8081:80");
    let page = podman(
        &machine,
        &[
            "exec",
            "client",
            "/bin/wget",
            "-q",
            "-O",
            "-",
            "http://10.88.0.3/page",
        ],
    );
    assert!(page.contains("a page from the container"), "{page}");
    let restarted = podman(&machine, &["restart", "-t", "0", "web"]);
    assert!(!restarted.is_empty());
    assert!(fetches(&outside, tcp(Outside::HOST_V4, 8080)).contains("a page from the container"));
    podman(&machine, &["rm", "-f", "-t", "0", "web", "client"]);
    warm.returns("the warm networks after the containers are removed", || {
        machine.networks()
    });
}

#[test]
fn containers_on_the_hosts_segment_have_the_addresses_asked_for() {
    let machine = Machine::boot();
    let outside = machine.lab.outside();
    machine.write("/etc/cni/net.d/lan.conflist", ON_SEGMENT);
    machine.write("/run/containers.conf", &configuration());
    machine.write("/run/storage.conf", STORAGE);
    podman(&machine, &["load", "-i", ARCHIVE]);
    let run = |name: &str, options: &[&str]| {
        let on_lan = ["--network", "lan"];
        start(&machine, name, &[&on_lan, options].concat())
    };
    run("first", &[]);
    podman(&machine, &["rm", "-f", "-t", "0", "first"]);
    let warm = machine.networks();
    run(
        "web",
        &["--ip", "198.18.0.120", "--mac-address", "02:00:00:00:00:77"],
    );
    run("other", &[]);
    assert!(fetches(&outside, tcp([198, 18, 0, 120], 80)).contains("a page from the container"));
    let known = outside.exec(&["ip", "neigh", "show", "198.18.0.120"]);
    assert!(known.contains("02:00:00:00:00:77"), "{known}");
    let fetch = [
        "exec",
        "other",
        "/bin/wget",
        "-q",
        "-O",
        "-",
        "http://198.18.0.120/page",
    ];
    let page = podman(&machine, &fetch);
    assert!(page.contains("a page from the container"), "{page}");
    podman(&machine, &["rm", "-f", "-t", "0", "web", "other"]);
    warm.returns("the warm networks after the containers are removed", || {
        machine.networks()
    });
}
