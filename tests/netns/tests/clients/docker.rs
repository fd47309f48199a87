//! dockerd 20.10 on the same host with its default settings: it drops forwarded packets by policy and has br_netfilter
//! pass bridged ones to iptables. Our network works, and so do its own containers.

use wharfline_netns_tests::lists::{self, port, ports};
use wharfline_netns_tests::{Pod, everything_flows, ours};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Network, Outside};

use wharfline_netns_tests::docker_host::{start_containerd, start_dockerd};
use wharfline_netns_tests::machine::{ARCHIVE, IMAGE, Machine, fetches};

fn docker(machine: &Machine, arguments: &[&str]) -> String {
    machine.run(&[&["docker", "-H", "unix:///run/docker.sock"], arguments].concat())
}

#[test]
fn docker_runs_what_wharf_committed() {
    let machine = Machine::boot();
    let _containerd = start_containerd(&machine);
    let _dockerd = start_dockerd(&machine, &[]);
    let wharf = ours().directory().join("wharf").display().to_string();
    let wharf = |words: &[&str]| machine.run(&[&[wharf.as_str()], words].concat());
    wharf(&["image", "import", ARCHIVE]);
    let change =
        "b=/bin/busybox; echo new >/new; $b rm /page; $b mkdir -m 2750 /own; $b chown 7:8 /own";
    let run = [
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "--entrypoint",
        "/bin/busybox",
    ];
    wharf(&[&run[..], &["busybox:test", "sh", "-c", change]].concat());
    let look = "ENTRYPOINT [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox cat /new; /bin/busybox stat -c %u:%g:%a /own; \
        test -e /page || echo gone; echo $A; /bin/busybox id -u; pwd\"]";
    let changes = [
        "-c",
        look,
        "-c",
        "ENV A=\"b c\"",
        "-c",
        "USER 5:6",
        "-c",
        "WORKDIR /own",
    ];
    let id = wharf(&[&["commit"], &changes[..], &["c", "made:1"]].concat());
    wharf(&["image", "export", "made:1", "/run/made.tar"]);
    docker(&machine, &["load", "-i", "/run/made.tar"]);
    let loaded = docker(&machine, &["image", "inspect", "-f", "{{.Id}}", "made:1"]);
    assert_eq!(loaded, id);
    let said = docker(
        &machine,
        &["run", "--rm", "--net", "none", "-w", "/", "made:1"],
    );
    assert_eq!(said, "new\n7:8:2750\ngone\nb c\n5\n/\n");
    wharf(&["rm", "c"]);
}

#[test]
fn docker_loads_what_wharf_exports_and_wharf_imports_what_docker_saves() {
    let machine = Machine::boot();
    let _containerd = start_containerd(&machine);
    let _dockerd = start_dockerd(&machine, &[]);
    let wharf = ours().directory().join("wharf").display().to_string();
    let wharf = |words: &[&str]| machine.run(&[&[wharf.as_str(), "image"], words].concat());
    let id = || docker(&machine, &["image", "inspect", "-f", "{{.Id}}", IMAGE]);
    docker(&machine, &["load", "-i", ARCHIVE]);
    // One layer more, with what only a layer of docker's own making has.
    let change = "b=/bin/busybox; echo x >/new; $b ln /new /second; $b mkdir -m 2750 /own; $b chown 7:8 /own";
    let run = [
        "run",
        "--name",
        "changed",
        "--net",
        "none",
        "--entrypoint",
        "/bin/busybox",
    ];
    docker(&machine, &[&run[..], &[IMAGE, "sh", "-c", change]].concat());
    docker(&machine, &["commit", "-c", "ENV A=1", "changed", IMAGE]);
    docker(&machine, &["rm", "changed"]);
    docker(&machine, &["save", "-o", "/run/saved.tar", IMAGE]);
    let saved = id();
    wharf(&["import", "/run/saved.tar"]);
    wharf(&["export", IMAGE, "/run/exported.tar"]);
    docker(&machine, &["rmi", IMAGE]);
    docker(&machine, &["load", "-i", "/run/exported.tar"]);
    // The id is the digest of the configuration, and docker holds each layer against it.
    assert_eq!(id(), saved);
    let listed = wharf(&["ls", "--json"]);
    assert!(
        listed.contains(saved.trim()) && listed.contains("A=1"),
        "{listed}"
    );
}

#[test]
fn our_networks_and_dockers_work_beside_each_other() {
    let machine = Machine::boot();
    let outside = machine.lab.outside();
    let _containerd = start_containerd(&machine);
    let _dockerd = start_dockerd(&machine, &[]);
    let host = machine.lab.host();
    // What makes this the hard case; were it otherwise, the test would prove nothing.
    assert!(
        host.exec(&["iptables", "-S", "FORWARD"])
            .contains("-P FORWARD DROP")
    );
    assert_eq!(
        host.sysctl("net/bridge/bridge-nf-call-iptables").as_deref(),
        Some("1")
    );

    let network = Network::new(&machine.lab, &ours(), lists::published());
    let a = Pod::on(&network.with_runtime(ports(&[port("tcp", 8080, 80)])), "a");
    let b = Pod::on(&network, "b");
    let ours_works = || everything_flows(&outside, &a, &b);
    ours_works();

    docker(&machine, &["load", "-i", ARCHIVE]);

    docker(
        &machine,
        &["run", "-d", "--name", "web", "-p", "9090:80", IMAGE],
    );
    assert!(fetches(&outside, tcp(Outside::HOST_V4, 9090)).contains("a page from the container"));
    ours_works();
    docker(&machine, &["rm", "-f", "web"]);
    ours_works();
    network.del(&a.attachment);
    network.del(&b.attachment);
}
