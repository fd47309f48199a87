//! Backups to a bucket over https, whose certificate is signed by an authority that no system knows.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use wharfline_testkit::{Process, certificate, wait_for};

use crate::support::{Answer, Host};
use crate::volume_local::{prints, serve};

/// rclone, where tests/prepare puts it.
const RCLONE: &str = "/opt/wharfline-tests/bin/rclone";
const REPOSITORY: &str = "s3:https://127.0.0.1:9443/bucket/backups";
const FOLDER: &str = "/run/store";
const ID: &str = "wharfline-test";
const SECRET: &str = "not-a-secret-at-all";

/// A server that speaks S3 over https.
fn start_store(host: &Host) -> Process {
    host.lab.exec(&["mkdir", "-p", "/run/store/served/bucket"]);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    certificate(host.lab.command("sh"), FOLDER, loopback);
    let mut command = host.lab.command(RCLONE);
    let key = format!("{ID},{SECRET}");
    command.args([
        "serve",
        "s3",
        "--addr",
        "127.0.0.1:9443",
        "--auth-key",
        &key,
    ]);
    command.args([
        "--cert",
        "/run/store/server.pem",
        "--key",
        "/run/store/server.key",
    ]);
    command.arg("/run/store/served");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let store = Process::start(command);
    wait_for("rclone to listen", Duration::from_secs(60), || {
        let asked = || TcpStream::connect((loopback, 9443)).map_err(|e| e.to_string());
        host.lab.enter(asked)
    });
    store
}

/// `wharf volume` with the keys of the bucket and the repository's password, and one variable more.
fn volume(host: &Host, words: &[&str], (name, value): (&str, &str)) -> Answer {
    let mut command = host.command(&[&["volume"], words].concat());
    command
        .env("AWS_ACCESS_KEY_ID", ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("RESTIC_PASSWORD", "correct horse")
        .env(name, value);
    Answer::from(host.lab.run_command(command, b""))
}

#[test]
fn a_bucket_over_https_is_believed_by_the_authority_that_is_named_and_by_no_other() {
    let host = Host::new();
    let _driver = serve(&host);
    let _store = start_store(&host);
    let authority = "/run/store/ca.pem";
    let nothing = ("WHARFLINE_NOTHING", "");
    host.wharf(&["volume", "create", "-d", "wharf-volume", "data"])
        .ok();
    prints(&host, &["-v", "data:/data"], "echo kept > /data/f");

    let backup = ["backup", "data", REPOSITORY, "--init"];
    volume(&host, &backup, nothing).refused(1, "certificate");
    let named = [&backup[..], &["--cacert", "/run/store/none.pem"]].concat();
    volume(&host, &named, nothing).refused(1, "/run/store/none.pem");
    let named = [&backup[..], &["--cacert", authority]].concat();
    volume(&host, &named, nothing).ok();
    let listed = volume(
        &host,
        &["backups", REPOSITORY],
        ("RESTIC_CACERT", authority),
    )
    .ok();
    assert!(listed.contains("data"), "{listed}");
    let restore = ["restore", REPOSITORY, "copy"];
    volume(&host, &restore, ("AWS_CA_BUNDLE", authority)).ok();
    let restored = ["--volume-driver", "wharf-volume", "-v", "copy:/data"];
    assert_eq!(prints(&host, &restored, "cat /data/f"), "kept\n");
}
