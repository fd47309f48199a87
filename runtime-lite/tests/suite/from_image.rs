//! Containers over images: what an image gives, what the command line says instead, what stays and what goes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_testkit::{Process, wait_for};

use crate::image::{docker_archive, names};
use crate::images::{Layer, import};
use crate::support::{Host, ROOTFS};

const ROOTS: &str = "/var/lib/wharfline/roots";
const VOLUMES: &str = "/var/lib/wharfline/volumes";

/// With no network: what a script in a container of `image` says.
fn says(host: &Host, options: &[&str], image: &str, script: &str) -> String {
    let words = [
        &["run", "--rm", "--network", "none"],
        options,
        &[image, "sh", "-c", script],
    ];
    host.wharf(&words.concat()).ok()
}

/// Everything that a container over an image leaves on the host.
fn nothing_left(host: &Host) {
    assert_eq!(names(host, ROOTS), [""; 0].map(PathBuf::from));
    let mounts = host.lab.exec(&["cat", "/proc/self/mountinfo"]);
    assert!(!mounts.contains(ROOTS), "{mounts}");
}

#[test]
fn what_an_image_says_is_what_a_container_gets() {
    let host = Host::new();
    let config = json!({"Env": ["PATH=/bin", "A=1", "B=2"], "Entrypoint": ["echo", "first"], "Cmd": ["second"],
        "User": "web", "WorkingDir": "/made/by/wharf", "Labels": {"tier": "db", "who": "image"},
        "StopSignal": "SIGUSR1", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}});
    import(&host, "team/app:1", config);
    let run = ["run", "--rm", "--network", "none"];
    let run = |more: &[&str]| host.wharf(&[&run, more].concat());
    assert_eq!(run(&["app:1"]).ok(), "first second\n");
    assert_eq!(run(&["team/app:1", "third"]).ok(), "first third\n");
    assert_eq!(
        run(&["--entrypoint", "pwd", "app:1"]).ok(),
        "/made/by/wharf\n"
    );
    assert_eq!(run(&["--entrypoint", "", "app:1", "echo", "x"]).ok(), "x\n");
    run(&["--entrypoint", "", "app:1"]).refused(125, "no command");
    let shell = |options: &[&str], script: &str| {
        let words = [&["--entrypoint", "sh"], options, &["app:1", "-c", script]];
        run(&words.concat()).ok()
    };
    let told = shell(
        &["-e", "B=3", "-e", "A"],
        "id; echo $A-$B-$HOME; stat -c %u:%a .",
    );
    assert_eq!(
        told,
        "uid=33(web) gid=34(www) groups=34(www),40(log)\n-3-/srv\n0:755\n"
    );
    assert_eq!(shell(&["-u", "0", "-w", "/tmp"], "id -u; pwd"), "0\n/tmp\n");
    let id = host
        .wharf(&["create", "--network", "none", "-l", "who=me", "team/app:1"])
        .ok();
    let about = host.wharf(&["inspect", id.trim()]).json();
    let config = &about[0]["config"];
    assert_eq!(config["labels"], json!({"tier": "db", "who": "me"}));
    assert_eq!(config["process"]["stop_signal"], "SIGUSR1");
    assert_eq!(config["exposed"], json!(["53/udp", "80/tcp"]));
    host.wharf(&["rm", id.trim()]).ok();
    nothing_left(&host);
}

#[test]
fn an_argument_is_a_folder_only_if_it_begins_as_one() {
    let host = Host::new();
    import(&host, "rootfs", json!({"Cmd": ["echo", "the image"]}));
    let mut command = host.command(&["run", "--rm", "--network", "none", "rootfs"]);
    command.current_dir(host.lab.path("/var/lib"));
    assert_eq!(host.lab.run_command(command, b"").stdout, "the image\n");
    let run = |argument: &str| host.wharf(&["run", "--rm", "--network", "none", argument, "true"]);
    run(ROOTFS).ok();
    run("nothing/here").refused(125, "there is no image \"nothing/here\"");
    run("./nothing").refused(125, "find the root filesystem ./nothing");
}

#[test]
fn containers_share_an_image_and_keep_what_they_write_until_they_go() {
    let host = Host::new();
    import(
        &host,
        "base",
        json!({"Cmd": ["sh", "-c", "echo $HOSTNAME >> /data/file; cat /data/file"]}),
    );
    for name in ["one", "two"] {
        let words = [
            "run",
            "--name",
            name,
            "--hostname",
            name,
            "--network",
            "none",
            "base",
        ];
        assert_eq!(host.wharf(&words).ok(), format!("from the image\n{name}\n"));
    }
    host.wharf(&["start", "-a", "one"]).ok();
    let said = host.wharf(&["start", "-a", "one"]).ok();
    assert_eq!(said, "from the image\none\none\none\n");
    let mounts = host.lab.exec(&["cat", "/proc/self/mountinfo"]);
    assert!(
        !mounts.contains(ROOTS),
        "a container at rest is mounted: {mounts}"
    );
    let refusal = host.wharf(&["image", "rm", "base"]);
    refusal.refused(1, "image base:latest is used by container");
    let refusal = host.wharf(&["image", "rm", "base"]).stderr;
    assert!(
        refusal.contains("one") && refusal.contains("two"),
        "{refusal}"
    );
    host.wharf(&["rm", "one", "two"]).ok();
    host.wharf(&["image", "rm", "base"]).ok();
    nothing_left(&host);
}

#[test]
fn layers_of_an_image_that_lost_its_name_go_with_the_last_container() {
    let host = Host::new();
    import(&host, "base", json!({"Cmd": ["true"]}));
    host.wharf(&["create", "--name", "old", "--network", "none", "base"])
        .ok();
    let mut other = Layer::new();
    other.folder("bin", 0o755, (0, 0));
    let archive = docker_archive(&[other.bytes()], "base:latest", json!({}));
    let file = format!("{ROOTFS}/other.tar");
    std::fs::write(host.lab.path(&file), archive).expect("written");
    host.wharf(&["image", "import", &file]).ok();
    let layers = "/var/lib/wharfline/images/layers";
    assert_eq!(names(&host, layers).len(), 2);
    host.wharf(&["start", "-a", "old"]).ok();
    host.wharf(&["rm", "old"]).ok();
    assert_eq!(names(&host, layers).len(), 1);
}

#[test]
fn an_images_volumes_and_new_ones_begin_with_its_data() {
    let host = Host::new();
    import(&host, "db", json!({"Volumes": {"/data": {}}}));
    let look = "stat -c %n:%u:%g:%a /data /data/* && cat /data/link";
    let whole = "/data:33:34:2750\n/data/file:33:34:640\n/data/link:0:0:777\n/data/sub:33:40:700\nfrom the image\n";
    assert_eq!(says(&host, &[], "db", look), whole);
    assert_eq!(names(&host, VOLUMES).len(), 0, "an unnamed volume is left");
    assert_eq!(
        says(
            &host,
            &["-v", "kept:/data"],
            "db",
            &format!("{look}; echo mine > /data/file")
        ),
        whole
    );
    assert_eq!(
        says(&host, &["-v", "kept:/data"], "db", "cat /data/file"),
        "mine\n"
    );
    assert_eq!(
        says(&host, &["-v", "bare:/data:nocopy"], "db", "ls /data"),
        ""
    );
    assert_eq!(
        says(
            &host,
            &["--mount", "src=bare2,dst=/data,volume-nocopy"],
            "db",
            "ls /data"
        ),
        ""
    );
    assert_eq!(
        says(&host, &["-v", "ro:/data:ro"], "db", "ls /data"),
        "file\nlink\nsub\n"
    );
    let empty = host.lab.path("/var/lib/empty");
    std::fs::create_dir(&empty).expect("made");
    assert_eq!(
        says(&host, &["-v", "/var/lib/empty:/data"], "db", "ls /data"),
        ""
    );
    assert_eq!(says(&host, &["--tmpfs", "/data"], "db", "ls /data"), "");
    // Over what is no volume of the image's it is the same; over nothing there is nothing to copy.
    assert_eq!(
        says(
            &host,
            &["-v", "sub:/data/sub", "-v", "new:/new"],
            "db",
            "stat -c %u:%a /data/sub; ls /new"
        ),
        "33:700\n"
    );
    nothing_left(&host);
}

#[test]
fn a_volume_that_was_emptied_stays_empty_over_a_restart() {
    let host = Host::new();
    import(
        &host,
        "db",
        json!({"Cmd": ["sh", "-c", "ls /data; rm -r /data/*"]}),
    );
    let words = [
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "-v",
        "v:/data",
        "db",
    ];
    assert_eq!(host.wharf(&words).ok(), "file\nlink\nsub\n");
    assert_eq!(host.wharf(&["start", "-a", "c"]).stdout, "");
}

#[test]
fn a_read_only_root_over_an_image_takes_mounts_and_refuses_writes() {
    let host = Host::new();
    import(&host, "base", json!({"WorkingDir": "/not/there"}));
    let script = "pwd; touch /new/x /tmp/x; ! touch /y 2>/dev/null; ls /new";
    let said = says(
        &host,
        &["--read-only", "-v", "v:/new", "--tmpfs", "/tmp"],
        "base",
        script,
    );
    assert_eq!(said, "/not/there\nx\n");
}

#[test]
fn a_working_directory_never_leads_out_of_the_root() {
    let host = Host::new();
    let mut layer = Layer::new();
    layer.link("out", "/../../../../../var/lib/theirs");
    layer.link("loop", "loop");
    let archive = docker_archive(&[layer.bytes()], "links:1", json!({}));
    let file = format!("{ROOTFS}/links.tar");
    std::fs::write(host.lab.path(&file), archive).expect("written");
    host.wharf(&["image", "import", &file]).ok();
    let run = |folder: &str| {
        host.wharf(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-w",
            folder,
            "links:1",
            "true",
        ])
    };
    run("/out/deep").refused(125, "create the working directory /out/deep");
    run("/loop").refused(125, "Too many levels of symbolic links");
    assert!(!host.lab.path("/var/lib/theirs").exists());
    nothing_left(&host);
}

#[test]
fn an_images_health_check_is_run_unless_the_command_line_forbids() {
    let host = Host::new();
    let check =
        json!({"Test": ["CMD-SHELL", "cat /tmp/well"], "Interval": 50_000_000, "Retries": 1});
    import(
        &host,
        "web",
        json!({"Cmd": ["sleep", "1000"], "Healthcheck": check}),
    );
    host.wharf(&["run", "-d", "--name", "c", "--network", "none", "web"])
        .ok();
    let health = |wanted: &str| {
        wait_for(
            &format!("it to be {wanted}"),
            Duration::from_secs(20),
            || {
                let about = host
                    .wharf(&["inspect", "-f", "{{json .state.health}}", "c"])
                    .stdout;
                match about.contains(&format!("\"{wanted}\"")) {
                    true => Ok(()),
                    false => Err(about),
                }
            },
        );
    };
    health("unhealthy");
    host.exec("c", "touch /tmp/well").ok();
    health("healthy");
    host.wharf(&[
        "run",
        "-d",
        "--name",
        "n",
        "--network",
        "none",
        "--no-healthcheck",
        "web",
    ])
    .ok();
    assert_eq!(
        host.wharf(&["inspect", "-f", "{{json .config.health}}", "n"])
            .code,
        Some(1)
    );
    host.wharf(&[
        "run",
        "--health-retries",
        "2",
        "--network",
        "none",
        ROOTFS,
        "true",
    ])
    .refused(125, "neither --health-cmd nor the image");
}

#[test]
fn an_images_ports_are_published_with_a_capital_p() {
    let host = Host::new();
    import(
        &host,
        "web",
        json!({"Cmd": ["httpd", "-f", "-h", "/data"], "ExposedPorts": {"80/tcp": {}}}),
    );
    host.wharf(&["run", "-d", "--name", "www", "-P", "web"])
        .ok();
    let port = host.wharf(&["port", "www"]).ok();
    let (inside, outside) = port.trim().split_once(" -> 0.0.0.0:").expect("a port");
    assert_eq!(inside, "80/tcp");
    let url = format!("http://127.0.0.1:{outside}/file");
    wait_for("the page", Duration::from_secs(10), || {
        let got = {
            let mut get = host.lab.command("busybox");
            get.args(["wget", "-q", "-O", "-", &url]);
            host.lab.run_command(get, b"")
        };
        match got.stdout.as_str() {
            "from the image\n" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

#[test]
fn files_are_copied_to_and_from_a_container_running_or_not() {
    let host = Host::new();
    import(&host, "base", json!({"Cmd": ["sleep", "1000"]}));
    let out = host.lab.path("/var/lib/out");
    std::fs::create_dir(&out).expect("made");
    std::fs::write(host.lab.path("/var/lib/in"), "in\n").expect("written");
    host.wharf(&["create", "--name", "c", "--network", "none", "base"])
        .ok();
    let both = |round: &str| {
        host.wharf(&["cp", "/var/lib/in", &format!("c:/data/{round}")])
            .ok();
        host.wharf(&["cp", "c:/data", &format!("/var/lib/out/{round}")])
            .ok();
        let copied = out.join(round);
        assert_eq!(
            std::fs::read_to_string(copied.join(round)).expect("copied"),
            "in\n"
        );
        let about = std::fs::metadata(&copied).expect("a folder");
        assert_eq!(
            (
                about.uid(),
                about.gid(),
                about.permissions().mode() & 0o7777
            ),
            (33, 34, 0o2750)
        );
        let mounts = host.lab.exec(&["cat", "/proc/self/mountinfo"]);
        assert_eq!(
            mounts.contains(ROOTS),
            round == "running",
            "{round}: {mounts}"
        );
    };
    both("created");
    host.wharf(&["start", "c"]).ok();
    both("running");
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    both("stopped");
    host.wharf(&["start", "c"]).ok();
    assert_eq!(
        host.exec("c", "ls /data").ok(),
        "created\nfile\nlink\nrunning\nstopped\nsub\n"
    );
}

#[test]
fn a_container_over_an_image_comes_back_after_a_reboot_with_what_it_wrote() {
    let host = Host::new();
    let command = "echo run >> /runs; exec sleep 1000";
    import(&host, "base", json!({"Cmd": ["sh", "-c", command]}));
    host.wharf(&[
        "run",
        "-d",
        "--name",
        "c",
        "--restart",
        "always",
        "--network",
        "none",
        "base",
    ])
    .ok();
    host.await_state("c", "running");
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    let about = host.wharf(&["inspect", "c"]).json();
    let folder = host
        .lab
        .path(about[0]["folder"].as_str().expect("a folder"));
    let status = std::fs::read_to_string(folder.join("status.json")).expect("a status");
    let mut status: Value = serde_json::from_str(&status).expect("JSON");
    status["boot_id"] = "another".into();
    std::fs::write(folder.join("status.json"), status.to_string()).expect("written");
    assert_eq!(host.wharf(&["restore"]).ok(), "c\n");
    host.await_state("c", "running");
    wait_for("both runs", Duration::from_secs(10), || {
        match host.exec("c", "cat /runs").stdout.as_str() {
            "run\nrun\n" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

#[test]
fn a_root_without_a_container_and_one_left_mounted_are_collected() {
    let host = Host::new();
    import(&host, "base", json!({"Cmd": ["true"]}));
    let create = |name: &str| {
        host.wharf(&["create", "--name", name, "--network", "none", "base"])
            .ok()
    };
    let lost = create("lost").trim().to_owned();
    let kept = create("kept").trim().to_owned();
    std::fs::remove_dir_all(
        host.lab
            .path(format!("/var/lib/wharfline/containers/{lost}")),
    )
    .expect("removed");
    // As a `wharf cp` that was killed leaves it.
    let mut command = host.lab.command("strace");
    command.args([
        "-q",
        "-o",
        "/dev/null",
        "-e",
        "inject=umount2:signal=KILL:when=1",
    ]);
    command
        .arg(host.bin("wharf"))
        .args(["cp", "kept:/data", "/var/lib/rootfs/copied"]);
    let mut process = Process::start(command);
    wait_for("the copy to be killed", Duration::from_secs(20), || {
        process.ended().ok_or_else(|| "it runs".to_owned())
    });
    let plan = host.wharf(&["gc", "--dry-run"]).ok();
    assert!(
        plan.contains(&format!(
            "would remove {ROOTS}/{lost}: its container is gone"
        )),
        "{plan}"
    );
    assert!(
        plan.contains(&format!(
            "would unmount {ROOTS}/{kept}/rootfs: its container kept rests"
        )),
        "{plan}"
    );
    host.wharf(&["gc"]).ok();
    assert_eq!(names(&host, ROOTS).len(), 1);
    assert!(
        !host
            .lab
            .exec(&["cat", "/proc/self/mountinfo"])
            .contains(ROOTS)
    );
    host.wharf(&["start", "-a", "kept"]).ok();
    host.wharf(&["rm", "kept"]).ok();
    nothing_left(&host);
}

#[test]
fn where_no_overlay_can_be_the_reason_is_told_and_nothing_is_left() {
    let host = Host::new();
    let make = "cd /var/lib && mkdir -p rootfs/lower rootfs/upper rootfs/work wharfline && \
        mount -t overlay -o lowerdir=rootfs/lower,upperdir=rootfs/upper,workdir=rootfs/work none wharfline";
    host.lab.exec(&["sh", "-c", make]);
    import(&host, "base", json!({"Cmd": ["true"]}));
    host.wharf(&["run", "--rm", "--network", "none", "base"])
        .refused(125, "the folder is on overlayfs itself");
    nothing_left(&host);
    host.wharf(&["image", "rm", "base"]).ok();
}

#[test]
fn another_runtime_runs_the_same_container_over_an_image() {
    let host = Host::new();
    import(&host, "base", json!({"User": "web", "WorkingDir": "/made"}));
    let words = [
        "--runtime",
        "/usr/sbin/runc",
        "-v",
        "v:/data",
        "--read-only",
    ];
    assert_eq!(
        says(&host, &words, "base", "id -u; pwd; cat /data/file"),
        "33\n/made\nfrom the image\n"
    );
    nothing_left(&host);
}
