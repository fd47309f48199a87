//! `wharf commit`: the new image's files and words, the pause, and what a killed one leaves.

use std::time::Duration;

use serde_json::{Value, json};
use wharfline_testkit::{Process, wait_for};

use crate::images::import;
use crate::support::{Host, ROOTFS};

/// The configuration of an image as skopeo reads it from wharf's export.
fn config(host: &Host, image: &str) -> Value {
    let file = format!("{ROOTFS}/out.tar");
    host.wharf(&["image", "export", image, &file]).ok();
    let archive = format!("docker-archive:{file}");
    let text = host
        .lab
        .exec(&["skopeo", "inspect", "--config", "--raw", &archive]);
    serde_json::from_str(&text).expect("a configuration")
}

#[test]
fn a_commit_runs_again_with_its_files_and_words() {
    let host = Host::new();
    let given = json!({"Env": ["PATH=/bin", "A=1"], "Entrypoint": ["sh", "-c"], "Cmd": ["true"],
        "Labels": {"a": "1"}, "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}}});
    import(&host, "base:1", given);
    let change = "echo new > /etc/new; rm /etc/group; chmod 4755 /bin/busybox; mkdir -p /d/e; echo no > /data/file";
    let words = [
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "-e",
        "B=2",
        "-l",
        "b=2",
        "-u",
        "0:0",
        "base:1",
        change,
    ];
    host.wharf(&words).ok();
    let mut commit = vec!["commit", "-a", "Ada", "-m", "why not", "c", "team/made:2"];
    for change in [
        "CMD [\"cat /etc/new; ls /d /etc; stat -c %a /bin/busybox; cat /data/file\"]",
        "ENV A=3 C=\"4 5\"",
        "WORKDIR /d",
        "EXPOSE 53/udp",
        "LABEL c=3",
        "USER 33:34",
        "VOLUME /v",
    ] {
        commit.extend(["-c", change]);
    }
    let id = host.wharf(&commit).ok();
    let listed = host.wharf(&["image", "ls", "--json"]).json();
    assert_eq!(listed[1]["id"], id.trim());
    let said = host
        .wharf(&["run", "--rm", "--network", "none", "made:2"])
        .ok();
    assert_eq!(
        said,
        "new\n/d:\ne\n\n/etc:\nhostname\nhosts\nnew\npasswd\nresolv.conf\n4755\nfrom the image\n"
    );
    let config = config(&host, "made:2");
    assert_eq!(config["author"], "Ada");
    assert_eq!(config["history"], Value::Null);
    let inside = &config["config"];
    assert_eq!(inside["Env"], json!(["PATH=/bin", "A=3", "B=2", "C=4 5"]));
    assert_eq!(inside["Entrypoint"], json!(["sh", "-c"]));
    assert_eq!(inside["Labels"], json!({"a": "1", "b": "2", "c": "3"}));
    assert_eq!(inside["ExposedPorts"], json!({"80/tcp": {}, "53/udp": {}}));
    assert_eq!(inside["Volumes"], json!({"/data": {}, "/v": {}}));
    assert_eq!(
        (&inside["User"], &inside["WorkingDir"]),
        (&json!("33:34"), &json!("/d"))
    );
    // The image below is still needed, and a commit over a commit is one layer more.
    host.wharf(&["image", "rm", "base:1"])
        .refused(1, "is used by container c");
    host.wharf(&["rm", "-v", "c"]).ok();
    host.wharf(&[
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "--entrypoint",
        "touch",
        "-u",
        "0",
        "made:2",
        "/d/f",
    ])
    .ok();
    host.wharf(&["commit", "c", "made:2"]).ok();
    assert_eq!(
        host.wharf(&["image", "ls", "--json"]).json()[1]["layers"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
}

#[test]
fn other_tools_read_what_a_commit_made() {
    let host = Host::new();
    import(&host, "base:1", json!({"Cmd": ["true"]}));
    let change = "echo new > /etc/new; rm /etc/group; rm -r /data; mkdir /data; echo x > /data/own";
    host.wharf(&[
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "base:1",
        "sh",
        "-c",
        change,
    ])
    .ok();
    host.wharf(&["commit", "c", "made:1"]).ok();
    let file = format!("{ROOTFS}/made.tar");
    host.wharf(&["image", "export", "made:1", &file]).ok();
    let script = format!(
        "cd {ROOTFS} && skopeo copy -q oci-archive:made.tar oci:layout:1 && \
        umoci unpack --image layout:1 bundle >/dev/null 2>&1 && cat bundle/rootfs/etc/new && ls bundle/rootfs/data && \
        ! test -e bundle/rootfs/etc/group"
    );
    assert_eq!(host.lab.exec(&["sh", "-c", &script]), "new\nown\n");
    // And back: what skopeo wrote is the same image.
    let id = host.wharf(&["image", "ls", "--json"]).json()[1]["id"].clone();
    host.wharf(&["rm", "c"]).ok();
    host.wharf(&["image", "rm", "made:1"]).ok();
    let script =
        format!("cd {ROOTFS} && skopeo copy -q oci:layout:1 docker-archive:again.tar:made:1");
    host.lab.exec(&["sh", "-c", &script]);
    host.wharf(&["image", "import", &format!("{ROOTFS}/again.tar")])
        .ok();
    assert_eq!(host.wharf(&["image", "ls", "--json"]).json()[1]["id"], id);
}

#[test]
fn a_folders_container_becomes_an_image_of_one_layer() {
    let host = Host::new();
    let root = host.lab.path("/var/lib/small");
    std::fs::create_dir_all(root.join("bin")).expect("made");
    std::fs::copy("/bin/busybox", root.join("bin/cat")).expect("copied");
    std::fs::write(root.join("file"), "text\n").expect("written");
    host.wharf(&[
        "run",
        "--name",
        "c",
        "--network",
        "none",
        "/var/lib/small",
        "cat",
        "/file",
    ])
    .ok();
    host.wharf(&["commit", "c", "small"]).ok();
    assert_eq!(
        host.wharf(&["run", "--rm", "--network", "none", "small"])
            .ok(),
        "text\n"
    );
}

/// The container counts as fast as it can; a commit must see it stand still.
#[test]
fn a_running_container_stands_still_while_it_is_read_unless_that_is_not_wished() {
    let host = Host::new();
    import(&host, "base:1", json!({}));
    let count = "while :; do echo >> /a; echo >> /b; done";
    host.wharf(&[
        "run",
        "-d",
        "--name",
        "c",
        "--network",
        "none",
        "base:1",
        "sh",
        "-c",
        count,
    ])
    .ok();
    // Both files are there from its first round on.
    wait_for("it to count", Duration::from_secs(10), || {
        let seen = host.exec("c", "stat -c %s /b");
        (seen.code == Some(0))
            .then_some(())
            .ok_or(format!("{seen:?}"))
    });
    for round in 0..5 {
        host.wharf(&["commit", "c", "still"]).ok();
        let said = host
            .wharf(&[
                "run",
                "--rm",
                "--network",
                "none",
                "still",
                "stat",
                "-c",
                "%s",
                "/a",
                "/b",
            ])
            .ok();
        let numbers: Vec<i64> = said.lines().filter_map(|line| line.parse().ok()).collect();
        let [a, b] = numbers.as_slice() else {
            panic!("round {round}: {said:?}");
        };
        assert!((a - b).abs() <= 1, "round {round}: {said:?}");
    }
    host.wharf(&["commit", "--pause=false", "c", "moving"]).ok();
    // It runs on.
    let now = || host.exec("c", "stat -c %s /a").ok();
    let before = now();
    wait_for("it to count on", Duration::from_secs(10), || match now() {
        same if same == before => Err(same),
        _ => Ok(()),
    });
}

#[test]
fn a_container_that_a_killed_commit_left_standing_still_is_thawed_by_whoever_comes_next() {
    let host = Host::new();
    import(&host, "base:1", json!({"Cmd": ["sleep", "1000"]}));
    host.wharf(&["run", "-d", "--name", "c", "--network", "none", "base:1"])
        .ok();
    let freeze = || {
        let mut command = host.lab.command("strace");
        command.args([
            "-q",
            "-o",
            "/dev/null",
            "-P",
            "/var/lib/wharfline/images/tmp",
        ]);
        // The first folder that it makes after it has paused the container is its temporary.
        command.args(["-e", "inject=mkdir:signal=KILL:when=1"]);
        command
            .arg(host.bin("wharf"))
            .args(["commit", "c", "killed"]);
        let mut process = Process::start(command);
        wait_for("the commit to be killed", Duration::from_secs(20), || {
            process.ended().ok_or_else(|| "it runs".to_owned())
        });
    };
    let frozen = || {
        host.wharf(&["gc", "--dry-run"])
            .ok()
            .contains("would thaw container c")
    };
    freeze();
    assert!(frozen(), "the commit was not killed in time");
    host.wharf(&["gc"]).ok();
    assert!(!frozen());
    freeze();
    assert_eq!(host.exec("c", "echo well").ok(), "well\n");
    freeze();
    host.wharf(&["stop", "-t", "0", "c"]).ok();
    host.wharf(&["start", "c"]).ok();
    freeze();
    host.wharf(&["rm", "-f", "c"]).ok();
}

#[test]
fn what_can_not_be_committed_is_refused_in_words() {
    let host = Host::new();
    import(&host, "base:1", json!({"Cmd": ["true"]}));
    host.wharf(&["create", "--name", "c", "--network", "none", "base:1"])
        .ok();
    let refused =
        |words: &[&str], says: &str| host.wharf(&[&["commit"], words].concat()).refused(1, says);
    refused(&["nobody", "x"], "there is no container \"nobody\"");
    refused(&["c", "Not A Name"], "image name \"Not A Name\"");
    refused(
        &["-c", "RUN true", "c", "x"],
        "change \"RUN true\": is none of CMD",
    );
    refused(&["-c", "EXPOSE many", "c", "x"], "change \"EXPOSE many\"");
    assert_eq!(
        host.wharf(&["image", "ls", "--json"])
            .json()
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}
