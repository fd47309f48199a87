//! `wharf image`: what it prints, what it refuses, and what a killed import leaves.
//! (What becomes of an archive's files is tested in the crate wharf-image.)

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tar::{Builder, Header};
use wharfline_testkit::{Process, wait_for};

use crate::crash::{TRACE, calls};
use crate::support::{Host, ROOTFS};

/// Where the archive is in the lab, beside the root filesystem.
const ARCHIVE: &str = "/var/lib/rootfs/app.tar.gz";
const LAYERS: &str = "/var/lib/wharfline/images/layers";
const TEMPORARIES: &str = "/var/lib/wharfline/images/tmp";

/// A root filesystem of a few files, compressed: every kind of step of an import.
fn archive(host: &Host) {
    let source = host.lab.path(ROOTFS).join("etc");
    fs::create_dir_all(source.join("sub/deep")).expect("made");
    for number in 0..5 {
        fs::write(
            source.join(format!("sub/file-{number}")),
            "x".repeat(number * 1000),
        )
        .expect("written");
    }
    host.lab
        .exec(&["tar", "-C", &format!("{ROOTFS}/etc"), "-czf", ARCHIVE, "."]);
}

pub(crate) fn names(host: &Host, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.lab.path(folder)).into_iter().flatten();
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn an_image_is_imported_listed_exported_and_removed() {
    let host = Host::new();
    archive(&host);
    let imported = host
        .wharf(&["image", "import", ARCHIVE, "--name", "team/app:1"])
        .ok();
    assert!(
        imported.starts_with("team/app:1 ") && imported.ends_with(", 1 layer\n"),
        "{imported}"
    );
    let table = host.wharf(&["image", "ls"]).ok();
    assert!(
        table.starts_with("NAME        ID            LAYERS  SIZE     CREATED\nteam/app:1  "),
        "{table}"
    );
    let listed = host.wharf(&["image", "ls", "--json"]).json();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["bytes"]),
        (&json!("team/app:1"), &json!(10_000))
    );
    let out = format!("{ROOTFS}/out.tar");
    host.wharf(&["image", "export", "app:1", &out]).ok();
    assert!(
        host.wharf(&["image", "rm", "app:1"])
            .ok()
            .ends_with("freed 1 layer, 10.0 kB\n")
    );
    assert_eq!(names(&host, LAYERS), [""; 0].map(PathBuf::from));
    let again = host.wharf(&["image", "import", &out]).ok();
    assert_eq!(again, imported);
}

#[test]
fn images_are_shown_as_scripts_want_them() {
    let host = Host::new();
    let config = json!({"Cmd": ["true"], "Env": ["A=1"], "Healthcheck": {"Test": ["CMD", "true"], "Retries": 2}});
    crate::images::import(&host, "host:5000/team/app:1", config);
    host.wharf(&["create", "--name", "c", "--network", "none", "app:1"])
        .ok();
    let format = "{{.Repository}}|{{.Tag}}|{{.Size}}|{{json .Env}}";
    let listed = host.wharf(&["image", "ls", "--format", format]).ok();
    let size = std::fs::metadata("/bin/busybox").expect("busybox").len();
    assert!(
        listed.starts_with("host:5000/team/app|1|") && listed.ends_with("|[\"A=1\"]\n"),
        "{listed}"
    );
    let about = host.wharf(&["image", "inspect", "app:1"]).json()[0].clone();
    assert!(about["bytes"].as_u64().expect("a number") > size);
    assert_eq!(about["names"], json!(["host:5000/team/app:1"]));
    assert_eq!(about["containers"], json!(["c"]));
    assert_eq!(about["healthcheck"]["retries"], 2);
    let id = host.wharf(&["image", "ls", "-q"]).ok();
    let template = ["image", "inspect", "-f", "{{.Command.0}}", id.trim()];
    assert_eq!(host.wharf(&template).ok(), "true\n");
    host.wharf(&["image", "inspect", "nothing"])
        .refused(1, "there is no image \"nothing\"");
}

#[test]
fn what_is_no_image_is_refused_in_words() {
    let host = Host::new();
    let refused =
        |words: &[&str], says: &str| host.wharf(&[&["image"], words].concat()).refused(1, says);
    refused(
        &["import", "/nowhere.tar"],
        "find /nowhere.tar: No such file",
    );
    refused(&["import", "/dev/null"], "neither a file nor a folder");
    refused(
        &["import", "/bin/busybox"],
        "is not the beginning of a tar entry",
    );
    refused(&["rm", "nothing"], "there is no image \"nothing\"");
    refused(
        &["export", "nothing", "/tmp/x"],
        "there is no image \"nothing\"",
    );
    archive(&host);
    refused(
        &["import", ARCHIVE, "--name", "Not A Name"],
        "image name \"Not A Name\"",
    );
    refused(&["import", ARCHIVE, "--max-layer", "100"], "100 bytes");
    assert_eq!(names(&host, TEMPORARIES), [""; 0].map(PathBuf::from));
}

#[test]
fn listing_images_leaves_no_trace() {
    let host = Host::new();
    let before = host.world();
    assert_eq!(host.wharf(&["image", "ls", "--json"]).ok().trim(), "[]");
    before.returns("a listing to leave nothing", || host.world());
}

#[test]
fn an_import_killed_at_any_system_call_leaves_what_the_next_or_gc_clears() {
    let host = Host::new();
    let big = small_archive();
    let file = host.lab.path(ROOTFS).join("image.tar");
    fs::write(&file, big).expect("written");
    host.wharf(&["image", "import", &format!("{ROOTFS}/image.tar")])
        .ok();
    host.wharf(&["image", "rm", "kill/me:1"]).ok();
    traced(&host, &format!("-o {TRACE}"));
    host.wharf(&["image", "rm", "kill/me:1"]).ok();
    let calls = calls(&host);
    assert!(
        calls.len() > 200,
        "only {} system calls were seen",
        calls.len()
    );
    // A prime walks over loops; all of them take minutes.
    for (round, (name, nth)) in calls.iter().step_by(3).enumerate() {
        traced(
            &host,
            &format!("-o /dev/null -e inject={name}:signal=KILL:when={nth}"),
        );
        let what = format!("killed at {name} number {nth}");
        let listed = host.wharf(&["image", "ls", "--json"]).json();
        if listed.as_array().is_some_and(|all| !all.is_empty()) {
            // What has a name is whole: exporting reads all of it and checks every digest.
            let out = format!("{ROOTFS}/out.tar");
            host.wharf(&["image", "export", "kill/me:1", &out]).ok();
        }
        if round % 2 == 0 {
            host.wharf(&["gc"]).ok();
            assert_eq!(names(&host, TEMPORARIES).len(), 0, "{what}");
        }
        host.wharf(&["image", "import", &format!("{ROOTFS}/image.tar")])
            .ok();
        assert_eq!(names(&host, TEMPORARIES).len(), 0, "{what}");
        host.wharf(&["image", "rm", "kill/me:1"]).ok();
        assert_eq!(names(&host, LAYERS).len(), 0, "{what}");
    }
}

/// An image of two small layers.
fn small_archive() -> Vec<u8> {
    let layers = ["one", "two"].map(|name| tar_of(&[(name, name.as_bytes())]));
    docker_archive(&layers, "kill/me:1", json!({}))
}

/// An image as `docker save` writes it.
pub(crate) fn docker_archive(layers: &[Vec<u8>], name: &str, config: Value) -> Vec<u8> {
    let digests = layers
        .iter()
        .map(|layer| format!("sha256:{}", sha256(layer)));
    let config = json!({"os": "linux", "architecture": "amd64", "config": config,
        "rootfs": {"type": "layers", "diff_ids": digests.collect::<Vec<_>>()}});
    let files: Vec<String> = (0..layers.len())
        .map(|number| format!("{number}.tar"))
        .collect();
    let manifest = json!([{"Config": "c.json", "RepoTags": [name], "Layers": files}]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let named = files.iter().map(String::as_str);
    let mut entries: Vec<(&str, &[u8])> = named.zip(layers.iter().map(Vec::as_slice)).collect();
    entries.push(("c.json", config.as_bytes()));
    entries.push(("manifest.json", manifest.as_bytes()));
    tar_of(&entries)
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = Header::new_ustar();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, *contents)
            .expect("written");
    }
    archive.into_inner().expect("finished")
}

fn sha256(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bytes");
    fs::write(&path, bytes).expect("written");
    let told = std::process::Command::new("sha256sum")
        .arg(&path)
        .output()
        .expect("run");
    String::from_utf8_lossy(&told.stdout)
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Imports the archive under strace, with these options.
fn traced(host: &Host, options: &str) {
    let mut command = host.lab.command("sh");
    command.args(["-c", &format!("exec strace -q {options} \"$@\""), "sh"]);
    command.arg(host.bin("wharf")).args(["image", "import"]);
    command.arg(format!("{ROOTFS}/image.tar"));
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut process = Process::start(command);
    wait_for(
        "the import to end",
        std::time::Duration::from_secs(30),
        || process.ended().ok_or_else(|| "it runs".to_owned()),
    );
}
