//! dockerd 20.10 with our volume driver: what users do with volumes, restarts, and SIGKILL of either while mounted.

use std::time::Duration;

use serde_json::Value;
use wharfline_netns_tests::ours;
use wharfline_testkit::{Process, wait_for};

use wharfline_netns_tests::docker_host::DockerHost;
use wharfline_netns_tests::machine::IMAGE;

const ROOT: &str = "/var/lib/wharfline/volume-local";
const DRIVER: &str = "wharf-volume";

/// A Docker host with our volume driver.
struct VolumeHost {
    docker: DockerHost,
    plugin: Option<Process>,
}

impl VolumeHost {
    fn boot() -> VolumeHost {
        let mut host = VolumeHost {
            docker: DockerHost::off(&[]),
            plugin: None,
        };
        host.start_plugin();
        host.docker.start();
        host
    }

    fn start_plugin(&mut self) {
        let binary = ours().find("volume-local").display().to_string();
        let machine = &self.docker.machine;
        self.plugin = Some(machine.start("volume", &[&binary, "serve"]));
        let socket = machine
            .lab
            .path(format!("/run/docker/plugins/{DRIVER}.sock"));
        wait_for("the plugin to listen", Duration::from_secs(10), || {
            let asked = std::os::unix::net::UnixStream::connect(&socket);
            asked.map_err(|e| format!("{e}: {}", machine.log("volume")))
        });
    }

    #[track_caller]
    fn docker(&self, arguments: &[&str]) -> String {
        let command = [&["docker", "-H", "unix:///run/docker.sock"], arguments].concat();
        let output = self.docker.machine.try_run(&command);
        let told = || self.docker.machine.log("volume");
        assert!(
            output.succeeded(),
            "docker {}: {output}\n{}",
            arguments.join(" "),
            told()
        );
        output.stdout.trim().to_owned()
    }

    /// Runs a command in a container with `mount` until it ends; what it prints.
    #[track_caller]
    fn run(&self, mount: &[&str], script: &str) -> String {
        let run = [
            &[
                "run",
                "--rm",
                "--network",
                "none",
                "--entrypoint",
                "/bin/busybox",
            ],
            mount,
        ]
        .concat();
        self.docker(&[&run[..], &[IMAGE, "sh", "-c", script]].concat())
    }

    /// Starts a container with `mount` that stays.
    #[track_caller]
    fn start(&self, name: &str, mount: &[&str]) {
        let run = [
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            name,
            "--entrypoint",
            "/bin/busybox",
        ];
        self.docker(&[&run[..], mount, &[IMAGE, "sleep", "1000"]].concat());
    }

    fn mounts(&self) -> Vec<String> {
        let all = self.docker.machine.run(&["cat", "/proc/self/mountinfo"]);
        let place = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
        all.lines()
            .map(place)
            .filter(|place| place.starts_with(ROOT))
            .collect()
    }

    fn nothing_stays_mounted(&self) {
        wait_for("nothing to be mounted", Duration::from_secs(60), || {
            let left = self.mounts();
            left.is_empty()
                .then_some(())
                .ok_or(format!("{left:?}\n{}", self.docker.machine.log("volume")))
        });
    }
}

#[test]
fn docker_users_get_what_they_know_from_its_own_volumes() {
    let host = VolumeHost::boot();
    let sized = [
        "volume",
        "create",
        "-d",
        DRIVER,
        "-o",
        "size=32M",
        "-o",
        "label.a=b",
        "sized",
    ];
    host.docker(&sized);
    // Asked for twice with equal options it is the same.
    host.docker(&sized);
    let told: Value =
        serde_json::from_str(&host.docker(&["volume", "inspect", "sized"])).expect("JSON");
    assert_eq!(told[0]["Mountpoint"], format!("{ROOT}/volumes/sized/data"));
    assert_eq!(
        (&told[0]["Status"]["backend"], &told[0]["Scope"]),
        (&"loop".into(), &"local".into())
    );
    assert!(host.docker(&["volume", "ls", "-q"]).contains("sized"));

    // What one writes, the next reads; read-only keeps its word; full is full.
    let mount = ["-v", "sized:/data"];
    host.run(&mount, "echo hi >/data/f");
    assert_eq!(
        host.run(
            &["-v", "sized:/data:ro"],
            "/bin/busybox touch /data/g || /bin/busybox cat /data/f"
        ),
        "hi"
    );
    let full = host.run(
        &mount,
        "/bin/busybox dd if=/dev/zero of=/data/big bs=1M count=64 2>&1; /bin/busybox rm /data/big",
    );
    assert!(full.contains("No space left"), "{full}");
    host.nothing_stays_mounted();

    // Volumes that come into being with their containers, with options in --mount and what the image has there.
    let named = format!(
        "type=volume,src=made,dst=/bin2,volume-driver={DRIVER},volume-opt=size=32M,volume-opt=uid=7"
    );
    assert_eq!(
        host.run(&["--mount", &named], "/bin/busybox stat -c %u /bin2"),
        "7"
    );
    let filled =
        format!("type=volume,src=filled,dst=/bin,volume-driver={DRIVER},volume-opt=size=32M");
    assert!(
        host.run(&["--mount", &filled], "/bin/busybox ls /bin")
            .contains("busybox")
    );
    let nocopy = format!("type=volume,src=bare,dst=/bin3,volume-driver={DRIVER},volume-nocopy");
    assert_eq!(host.run(&["--mount", &nocopy], "/bin/busybox ls /bin3"), "");
    let anonymous = ["--volume-driver", DRIVER, "-v", "/anonymous"];
    host.run(&anonymous, "echo x >/anonymous/f");

    // Two on one volume, docker cp to and from, restart; it stays until the last one has gone.
    host.start("one", &mount);
    host.start("two", &mount);
    host.docker(&[
        "exec",
        "one",
        "/bin/busybox",
        "sh",
        "-c",
        "echo shared >/data/s",
    ]);
    assert_eq!(
        host.docker(&["exec", "two", "/bin/busybox", "cat", "/data/s"]),
        "shared"
    );
    host.docker(&["cp", "one:/data/s", "/run/copied"]);
    host.docker(&["cp", "/run/copied", "two:/data/t"]);
    let in_use = host.docker.fails(&["volume", "rm", "sized"]);
    assert!(in_use.contains("in use"), "{in_use}");
    host.docker(&["restart", "-t", "0", "two"]);
    host.docker(&["rm", "-f", "one"]);
    assert_eq!(
        host.docker(&["exec", "two", "/bin/busybox", "cat", "/data/t"]),
        "shared"
    );
    assert_eq!(host.mounts(), [format!("{ROOT}/volumes/sized/data")]);
    host.docker(&["stop", "-t", "0", "two"]);
    host.docker(&["cp", "two:/data/t", "/run/again"]);
    host.docker(&["rm", "two"]);
    host.nothing_stays_mounted();

    for name in ["sized", "made", "filled", "bare"] {
        host.docker(&["volume", "rm", name]);
    }
    assert_eq!(host.docker(&["volume", "ls", "-q"]), "");
    assert_eq!(
        host.docker.machine.run(&["find", ROOT, "-mindepth", "2"]),
        ""
    );
}

#[test]
fn a_killed_plugin_or_dockerd_leaves_containers_their_volumes_and_nothing_mounted_in_the_end() {
    let mut host = VolumeHost::boot();
    host.docker(&["volume", "create", "-d", DRIVER, "-o", "size=32M", "data"]);
    let mount = ["-v", "data:/data", "--restart", "always"];
    host.start("one", &mount);
    host.docker(&[
        "exec",
        "one",
        "/bin/busybox",
        "sh",
        "-c",
        "echo kept >/data/f",
    ]);

    // The plugin: the container does not notice, and the next calls find everything.
    host.docker.machine.kill(&["volume-local"]);
    assert_eq!(
        host.docker(&["exec", "one", "/bin/busybox", "cat", "/data/f"]),
        "kept"
    );
    host.start_plugin();
    host.docker(&["cp", "one:/data/f", "/run/copied"]);
    host.start("two", &["-v", "data:/data"]);
    host.docker(&["rm", "-f", "two"]);
    assert_eq!(
        host.docker(&["exec", "one", "/bin/busybox", "cat", "/data/f"]),
        "kept"
    );

    // dockerd: at its start it ends what ran, and mounts anew without ever having unmounted.
    host.docker.machine.kill(&["dockerd"]);
    host.docker.docker_is_gone();
    host.docker.start_dockerd();
    wait_for(
        "the container to run again",
        Duration::from_secs(40),
        || {
            let state = host.docker.machine.try_run(&[
                "docker",
                "-H",
                "unix:///run/docker.sock",
                "exec",
                "one",
                "/bin/busybox",
                "cat",
                "/data/f",
            ]);
            (state.stdout.trim() == "kept")
                .then_some(())
                .ok_or(format!("{state}\n{}", host.docker.machine.log("dockerd")))
        },
    );
    host.docker(&["rm", "-f", "one"]);
    host.nothing_stays_mounted();
    host.docker(&["volume", "rm", "data"]);
}

#[test]
fn a_managed_plugin_shows_dockerd_its_mounts() {
    let mut docker = DockerHost::off(&[]);
    // As on any host with systemd: mounts of one are seen by the other.
    docker.machine.run(&["mount", "--make-rshared", "/"]);
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../packaging/managed-plugin"
    );
    let binaries = ours().directory().display().to_string();
    docker.machine.run(&[script, "/run/managed", &binaries]);
    docker.start();
    let host = VolumeHost {
        docker,
        plugin: None,
    };
    let driver = "wharf-volume:latest";
    host.docker(&["plugin", "create", DRIVER, "/run/managed/wharf-volume"]);
    host.docker(&["plugin", "enable", DRIVER]);
    host.docker(&["volume", "create", "-d", driver, "-o", "size=32M", "data"]);
    let mount = ["-v", "data:/data"];
    // Were the mount not seen, this would be the host's own file system, and much larger.
    let size = host.run(
        &mount,
        "echo kept >/data/f; /bin/busybox df -k /data | /bin/busybox tail -1",
    );
    let blocks = size
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok());
    assert!(
        blocks.is_some_and(|blocks: u64| blocks < 32 << 10),
        "{size}"
    );
    assert_eq!(host.run(&mount, "/bin/busybox cat /data/f"), "kept");
    host.docker(&["plugin", "disable", "-f", DRIVER]);
    host.docker(&["plugin", "enable", DRIVER]);
    assert_eq!(host.run(&mount, "/bin/busybox cat /data/f"), "kept");
    host.docker(&["volume", "rm", "data"]);
    host.docker(&["plugin", "disable", "-f", DRIVER]);
    host.docker(&["plugin", "rm", DRIVER]);
}
