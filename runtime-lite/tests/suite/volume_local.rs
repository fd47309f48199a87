//! The life of a volume of `volume-local` with wharf: made, shared, filled from an image, snapshotted, rolled back, cloned, moved,
//! destroyed (docs/volumes.md, "Recipes").

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_testkit::{Process, wait_for};

use crate::images::import;
use crate::support::{Host, ROOTFS};

const NONE: [&str; 2] = ["--network", "none"];
const SOCKET: &str = "/run/docker/plugins/wharf-volume.sock";

pub(crate) fn serve(host: &Host) -> Process {
    let mut command = host.lab.command(host.bin("volume-local"));
    command.arg("serve");
    let process = Process::start(command);
    let socket = host.lab.path(SOCKET);
    wait_for("volume-local to listen", Duration::from_secs(10), || {
        std::os::unix::net::UnixStream::connect(&socket).map_err(|e| e.to_string())
    });
    process
}

/// What a container over the root filesystem prints that has `mount`.
pub(crate) fn prints(host: &Host, mount: &[&str], script: &str) -> String {
    let run = [
        &["run", "--rm"],
        &NONE[..],
        mount,
        &[ROOTFS, "sh", "-c", script],
    ]
    .concat();
    host.wharf(&run).ok()
}

fn listed(host: &Host) -> Vec<Value> {
    let all = host
        .wharf(&["volume", "ls", "-d", "wharf-volume", "--json"])
        .ok();
    serde_json::from_str::<Vec<Value>>(&all).expect("JSON")
}

fn nothing_is_mounted(host: &Host) {
    let mounts = host.lab.exec(&["cat", "/proc/self/mountinfo"]);
    assert!(!mounts.contains("volume-local"), "{mounts}");
}

#[test]
fn a_volume_lives_from_creation_to_destruction() {
    let host = Host::new();
    let _server = serve(&host);
    let wharf = |words: &[&str]| host.wharf(&[&["volume"], words].concat()).ok();
    wharf(&[
        "create",
        "-d",
        "wharf-volume",
        "-o",
        "size=32M",
        "-o",
        "label.of=test",
        "db",
    ]);
    let mount = ["-v", "db:/data"];
    prints(&host, &mount, "echo one > /data/f");
    let full = prints(
        &host,
        &mount,
        "dd if=/dev/zero of=/data/big bs=1M count=64 2>&1; rm -f /data/big; true",
    );
    assert!(full.contains("No space left"), "{full}");

    // Shared: by name, and by another container's mounts.
    let held = [
        &["run", "-d", "--name", "one"],
        &NONE[..],
        &mount,
        &[ROOTFS, "sleep", "100"],
    ]
    .concat();
    host.wharf(&held).ok();
    assert_eq!(
        prints(&host, &["--volumes-from", "one"], "cat /data/f"),
        "one\n"
    );
    assert_eq!(
        listed(&host)[0]["used_by"].as_array().map(Vec::len),
        Some(1)
    );
    let refused = host.wharf(&["volume", "rename", "db", "other"]);
    assert!(
        refused.code != Some(0) && refused.stderr.contains("one"),
        "{refused:?}"
    );

    // A snapshot in use, as of one moment; what comes after is taken back.
    wharf(&["snapshot", "db", "before"]);
    host.wharf(&["exec", "one", "sh", "-c", "echo two > /data/f"])
        .ok();
    let refused = host.wharf(&["volume", "rollback", "db", "before"]);
    assert!(
        refused.code != Some(0) && refused.stderr.contains("in use"),
        "{refused:?}"
    );
    host.wharf(&["rm", "-f", "one"]).ok();
    nothing_is_mounted(&host);
    wharf(&["clone", "db@before", "db-test"]);
    wharf(&["rollback", "db", "before"]);
    assert_eq!(prints(&host, &mount, "cat /data/f"), "one\n");
    // wharf has not met it, and names no driver: its own has it.
    assert_eq!(
        prints(&host, &["-v", "db-test:/data"], "cat /data/f"),
        "one\n"
    );
    assert!(wharf(&["snapshots", "db"]).contains("before"));

    // Larger, renamed, moved by an archive on standard output and input.
    wharf(&["resize", "db", "64M"]);
    wharf(&["rename", "db", "pg"]);
    assert_eq!(prints(&host, &["-v", "pg:/data"], "cat /data/f"), "one\n");
    let bin = host.bin("wharf");
    let moved = "\"$0\" volume export pg | \"$0\" volume import - moved -o size=40M";
    let mut command = host.lab.command("bash");
    command.args(["-o", "pipefail", "-c", moved]).arg(&bin);
    let output = host.lab.run_command(command, b"");
    assert!(output.succeeded(), "{output}");
    let about = wharf(&["inspect", "moved"]);
    assert!(about.contains("wharf-volume"), "{about}");
    let mount = ["--mount", "source=moved,target=/data"];
    assert_eq!(prints(&host, &mount, "cat /data/f"), "one\n");
    wharf(&["clone", "moved", "brief"]);
    wharf(&["rm", "brief"]);
    let refused = host.wharf(&["volume", "rm", "brief"]);
    assert!(refused.stderr.contains("brief"), "{refused:?}");

    let gone = wharf(&["prune", "--filter", "label=of=test"]);
    assert_eq!(gone, "db-test\npg\n");
    wharf(&["prune"]);
    assert_eq!(listed(&host).len(), 0);
    assert_eq!(wharf(&["ls", "--json"]).trim(), "[]");
    nothing_is_mounted(&host);
}

#[test]
fn a_new_volume_of_a_driver_is_filled_from_the_image() {
    let host = Host::new();
    let _server = serve(&host);
    import(&host, "tools:1", json!({}));
    let mount = "type=volume,src=filled,dst=/bin,volume-driver=wharf-volume,volume-opt=size=32M";
    let run = [
        &["run", "--rm"],
        &NONE[..],
        &["--mount", mount, "tools:1", "ls", "/bin"],
    ]
    .concat();
    assert!(host.wharf(&run).ok().contains("sh"));
    nothing_is_mounted(&host);
    let place = host
        .lab
        .path("/var/lib/wharfline/volume-local/volumes/filled/image");
    assert_eq!(fs::metadata(place).expect("an image").len(), 32 << 20);
}
