//! docs/volume-recipes.md, word for word, on a host with dockerd, wharf and our volume driver, and another host beside it.

use std::path::Path;
use std::time::Duration;

use wharfline_netns_tests::docker::Server;
use wharfline_netns_tests::{ours, ssh};
use wharfline_testkit::page::Section;
use wharfline_testkit::{Lab, wait_for};

use wharfline_netns_tests::docker_host::DockerHost;
use wharfline_netns_tests::machine::Machine;

/// The page's folder on the host.
const FOLDER: &str = "/var/lib/recipes";

#[test]
fn every_command_of_the_page_prints_what_the_page_shows() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/volume-recipes.md");
    let sections = Section::all(Path::new(page));
    assert!(sections.len() >= 9, "{}", sections.len());
    let mut host = DockerHost::off(&[]);
    let machine = &host.machine;
    ssh::own_accounts(&machine.lab, |script| drop(machine.run(script)));
    let binary = ours().find("volume-local").display().to_string();
    let _driver = machine.start("volume", &[&binary, "serve"]);
    let socket = machine.lab.path("/run/docker/plugins/wharf-volume.sock");
    wait_for("the driver to listen", Duration::from_secs(10), || {
        let asked = std::os::unix::net::UnixStream::connect(&socket);
        asked.map_err(|e| format!("{e}: {}", machine.log("volume")))
    });
    let other = Lab::new();
    ssh::own_accounts(&other, |script| drop(other.exec(script)));
    let _there = Server::start(&other, "volume-local");
    other.exec(&[
        "ln",
        "-s",
        "volume-local.sock",
        "/run/docker/plugins/wharf-volume.sock",
    ]);
    let _sshd = ssh::serve(&machine.lab, &other, "");
    host.start_dockerd();
    host.machine.run(&["mkdir", "-p", FOLDER]);
    for section in &sections {
        run(&host.machine, section);
    }
    assert_eq!(host.docker(&["ps", "-aq"]), "");
    let left = host.machine.run(&["cat", "/proc/self/mountinfo"]);
    assert!(!left.contains("volume-local/volumes"), "{left}");
}

fn run(machine: &Machine, section: &Section) {
    let path = format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        ours().directory().display()
    );
    for step in &section.steps {
        let script = format!("cd {FOLDER} && {}", step.command);
        let mut shell = machine.command(&["bash", "-c", &script]);
        shell.env("PATH", &path);
        shell.env("DOCKER_HOST", "unix:///run/docker.sock");
        step.printed(section, &machine.lab.run_command(shell, b""));
    }
}
