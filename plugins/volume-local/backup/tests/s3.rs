//! Repositories in buckets, on two real servers: moto's, and rclone's `serve s3` (tests/prepare installs both).

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use common::{
    Lab, PASSWORD, assert_same_world, assert_undamaged, plant, restore_latest, silent, subject,
};
use wharfline_backup::{Access, Filter, Keys, Policy, Repository};
use wharfline_testkit::wait_for;

const ID: &str = "wharfline-test";
const SECRET: &str = "not-a-secret-at-all";

/// A server that is killed with its test.
struct Server {
    child: Child,
    endpoint: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("its end");
    }
}

/// Where tests/prepare puts programs of Python's index; else they are looked for in PATH.
fn program(name: &str) -> PathBuf {
    let prepared = PathBuf::from("/opt/wharfline-tests/bin").join(name);
    if prepared.exists() {
        prepared
    } else {
        PathBuf::from(name)
    }
}

/// An address of the loopback network that no other test has, and a port on it: one that is asked for and let go may be
/// somebody else's before the server binds it.
fn free_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, high, low, COUNT.fetch_add(1, Ordering::Relaxed));
    let listener = TcpListener::bind((host, 0)).expect("a port");
    listener.local_addr().expect("its address")
}

fn serve(command: &mut Command, address: SocketAddr) -> Server {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.expect("the server (tests/prepare installs it)");
    wait_for("the server to listen", Duration::from_secs(120), || {
        TcpStream::connect(address).map_err(|cause| cause.to_string())
    });
    Server {
        child,
        endpoint: format!("http://{address}"),
    }
}

fn rclone(lab: &Lab) -> Server {
    let (address, data) = (free_address(), lab.directory("served"));
    std::fs::create_dir(data.join("bucket")).expect("a bucket");
    let mut command = Command::new(program("rclone"));
    command
        .args([
            "serve",
            "s3",
            "--addr",
            &address.to_string(),
            "--auth-key",
            &format!("{ID},{SECRET}"),
        ])
        .arg(data);
    serve(&mut command, address)
}

fn moto() -> Server {
    let address = free_address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new(program("moto_server"));
    let server = serve(command.args(["-H", &host, "-p", &port]), address);
    let made = Command::new("curl")
        .args(["-sf", "-X", "PUT", &format!("{}/bucket", server.endpoint)])
        .output();
    assert!(made.expect("curl").status.success(), "no bucket");
    server
}

fn access(server: &Server, lab: &Lab) -> Access {
    let variable = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(ID.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    };
    let address = format!("s3:{}/bucket/some/prefix", server.endpoint);
    Access {
        address: address.parse().expect("an address"),
        password: lab.password(),
        keys: Keys::from_variables(variable),
    }
}

fn restic_checks(server: &Server) {
    let mut restic = Command::new("restic");
    restic.args([
        "-r",
        &format!("s3:{}/bucket/some/prefix", server.endpoint),
        "--no-cache",
        "check",
        "--read-data",
    ]);
    restic
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("AWS_ACCESS_KEY_ID", ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET);
    let output = restic.output().expect("restic");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn everything_works(server: &Server, lab: &Lab) {
    let (tree, back) = (lab.directory("tree"), lab.directory("back"));
    plant(&tree);
    let repository = Repository::init(&access(server, lab)).expect("a repository");
    repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    std::fs::write(tree.join("new"), common::noise(9, 3 << 20)).expect("a file");
    repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a second backup");
    assert_undamaged(&repository);
    restore_latest(&repository, &back);
    assert_same_world(&tree, &back);
    let policy = Policy {
        last: Some(1),
        ..Policy::default()
    };
    assert_eq!(
        repository
            .forget(&policy, &Filter::default(), &silent())
            .expect("forgotten")
            .removed
            .len(),
        1
    );
    restic_checks(server);
}

#[test]
fn a_bucket_of_rclone_holds_a_repository() {
    let lab = Lab::new();
    everything_works(&rclone(&lab), &lab);
}

#[test]
fn a_bucket_of_moto_holds_a_repository() {
    let lab = Lab::new();
    everything_works(&moto(), &lab);
}

#[test]
fn a_server_that_goes_away_is_named_in_time() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    plant(&tree);
    let server = rclone(&lab);
    let (access, endpoint) = (access(&server, &lab), server.endpoint.clone());
    let repository = Repository::init(&access).expect("a repository");
    drop(server);
    let begin = Instant::now();
    let refused = repository
        .backup(subject(&tree, "vol"), &silent())
        .expect_err("nobody answers");
    assert!(refused.chain().contains(&endpoint), "{}", refused.chain());
    assert!(!refused.chain().contains(SECRET) && begin.elapsed() < Duration::from_secs(120));
}
