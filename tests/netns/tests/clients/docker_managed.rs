//! Our drivers as managed plugins of dockerd 20.10, from the folders that packaging/managed-plugin makes: dockerd starts
//! them in containers of their own, and users notice no difference.

use std::path::PathBuf;

use wharfline_netns_tests::ours;
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Outside, World};

use wharfline_netns_tests::docker_host::{DockerHost, PAGE, page};
use wharfline_netns_tests::machine::fetches;

const PLUGINS: [&str; 3] = ["wharf-bridge", "wharf-macvlan", "wharf-ipam"];

/// A Docker host whose plugins dockerd itself runs.
fn with_managed_plugins() -> DockerHost {
    let mut host = DockerHost::off(&[]);
    // As on any host with systemd: what dockerd mounts there, its plugins see.
    host.machine.run(&["mount", "--make-rshared", "/run"]);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging/managed-plugin");
    let script = script.display().to_string();
    let binaries = ours().directory().display().to_string();
    host.machine.run(&[&script, "/run/managed", &binaries]);
    host.machine.run(&["mkdir", "-p", "/var/lib/wharfline"]);
    host.start();
    for name in PLUGINS {
        host.docker(&["plugin", "create", name, &format!("/run/managed/{name}")]);
        host.docker(&["plugin", "enable", name]);
    }
    host
}

#[track_caller]
fn managed_network(host: &DockerHost, name: &str, options: &[&str]) {
    let ours = [
        "-d",
        "wharf-bridge:latest",
        "--ipam-driver",
        "wharf-ipam:latest",
    ];
    host.docker(&[&["network", "create"], &ours[..], options, &[name]].concat());
}

/// The world without what dockerd itself keeps of its plugins.
fn world_after_one(host: &DockerHost) -> World {
    managed_network(host, "warm", &["--ipv6"]);
    host.run("warm", "warm", &["-p", "8080:80"]);
    host.docker(&["rm", "-f", "warm"]);
    host.docker(&["network", "rm", "warm"]);
    host.world()
}

#[test]
fn managed_plugins_serve_containers_and_leave_nothing_when_they_go() {
    let host = with_managed_plugins();
    let before = world_after_one(&host);
    managed_network(
        &host,
        "net1",
        &[
            "--ipv6",
            "--subnet",
            "10.77.1.0/24",
            "--subnet",
            "fd00:77:1::/64",
        ],
    );
    host.run("web", "net1", &["-p", "8080:80"]);
    host.run("client", "net1", &[]);
    let serves = || {
        for address in [Outside::HOST_V4, Outside::HOST_V6] {
            assert!(fetches(&host.outside, tcp(address, 8080)).contains(PAGE));
        }
        host.reaches("client", &page(&host.v4("web", "net1")));
    };
    serves();
    // Away and back: nothing of what runs is touched, and the next call finds all that there was.
    for name in PLUGINS {
        host.docker(&["plugin", "disable", "-f", name]);
    }
    serves();
    let options = "args=--metrics-socket=/run/metrics.sock";
    host.docker(&["plugin", "set", "wharf-bridge", options]);
    for name in PLUGINS {
        host.docker(&["plugin", "enable", name]);
    }
    let wharf = ours().directory().join("wharf").display().to_string();
    let told = host.machine.try_run(&[&wharf, "doctor"]).stdout;
    for name in PLUGINS {
        let object = format!("Docker plugin {name}");
        let line = told.lines().find(|line| line.contains(&object));
        assert!(line.is_some_and(|line| line.starts_with("ok ")), "{told}");
    }
    let metrics = [
        "curl",
        "-sS",
        "--unix-socket",
        "/run/metrics.sock",
        "http://x/metrics",
    ];
    assert!(
        host.machine
            .run(&metrics)
            .contains("wharfline_docker_networks 1")
    );
    host.run("third", "net1", &[]);
    let addresses = ["web", "client", "third"].map(|name| host.v4(name, "net1"));
    assert_eq!(addresses, ["10.77.1.2", "10.77.1.3", "10.77.1.4"]);
    host.reaches("third", &page("10.77.1.2"));
    serves();

    host.docker(&["rm", "-f", "web", "client", "third"]);
    host.docker(&["network", "rm", "net1"]);
    before.returns("the host is as before", || host.world());
    for name in PLUGINS {
        host.docker(&["plugin", "disable", "-f", name]);
        host.docker(&["plugin", "rm", name]);
    }
    assert_eq!(host.docker(&["plugin", "ls", "-q"]), "");
    before.returns("nothing is left", || host.world());
}
