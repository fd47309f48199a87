//! Real servers that speak S3, over http or over https with a certificate of an authority of the test's own, and a wire to one
//! that breaks at a byte. Tests of buckets use it.

#![allow(dead_code, reason = "each test binary uses another part of it")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use wharfline_backup::{Access, Keys};
use wharfline_testkit::wait_for;

use super::common::{Lab, PASSWORD};

const ID: &str = "wharfline-test";
pub(crate) const SECRET: &str = "not-a-secret-at-all";

/// A server that is killed with its test.
pub(crate) struct Server {
    child: Child,
    pub(crate) endpoint: String,
    pub(crate) address: SocketAddr,
    /// Of the authority that signed its certificate.
    authority: Option<PathBuf>,
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
pub(crate) fn free_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, high, low, COUNT.fetch_add(1, Ordering::Relaxed));
    let listener = TcpListener::bind((host, 0)).expect("a port");
    listener.local_addr().expect("its address")
}

fn serve(command: &mut Command, address: SocketAddr, authority: Option<PathBuf>) -> Server {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.expect("the server (tests/prepare installs it)");
    wait_for("the server to listen", Duration::from_secs(120), || {
        TcpStream::connect(address).map_err(|cause| cause.to_string())
    });
    let scheme = if authority.is_some() { "https" } else { "http" };
    Server {
        child,
        endpoint: format!("{scheme}://{address}"),
        address,
        authority,
    }
}

fn certificate(lab: &Lab, host: IpAddr) {
    let folder = lab.path("");
    let folder = folder.to_str().expect("a path in UTF-8");
    wharfline_testkit::certificate(Command::new("sh"), folder, host);
}

/// rclone's server over the lab's folder `served`, which it may have had before.
pub(crate) fn rclone_on(lab: &Lab, address: SocketAddr, tls: bool) -> Server {
    let data = lab.path("served");
    std::fs::create_dir_all(data.join("bucket")).expect("a bucket");
    let mut command = Command::new(program("rclone"));
    let (at, key) = (address.to_string(), format!("{ID},{SECRET}"));
    command.args(["serve", "s3", "--addr", &at, "--auth-key", &key]);
    if tls {
        certificate(lab, address.ip());
        command.arg("--cert").arg(lab.path("server.pem"));
        command.arg("--key").arg(lab.path("server.key"));
    }
    command.arg(data);
    serve(&mut command, address, tls.then(|| lab.path("ca.pem")))
}

pub(crate) fn rclone(lab: &Lab) -> Server {
    rclone_on(lab, free_address(), false)
}

pub(crate) fn moto(lab: &Lab, tls: bool) -> Server {
    let address = free_address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new(program("moto_server"));
    command.args(["-H", &host, "-p", &port]);
    if tls {
        certificate(lab, address.ip());
        command.arg("-s").arg("-c").arg(lab.path("server.pem"));
        command.arg("-k").arg(lab.path("server.key"));
    }
    let server = serve(&mut command, address, tls.then(|| lab.path("ca.pem")));
    let bucket = format!("{}/bucket", server.endpoint);
    let made = Command::new("curl")
        .args(["-ksf", "-X", "PUT", &bucket])
        .output();
    assert!(made.expect("curl").status.success(), "no bucket");
    server
}

/// With what the server's certificate is signed by, if it has one.
pub(crate) fn access(server: &Server, lab: &Lab) -> Access {
    let authority = server.authority.as_ref();
    let authority = authority.map(|path| std::fs::read_to_string(path).expect("a certificate"));
    access_at(&server.endpoint, authority, lab)
}

pub(crate) fn access_at(endpoint: &str, authority: Option<String>, lab: &Lab) -> Access {
    let variable = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(ID.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    };
    let keys = Keys::from_variables(variable).expect("keys");
    Access {
        address: format!("s3:{endpoint}/bucket/some/prefix")
            .parse()
            .expect("an address"),
        password: lab.password(),
        keys: Some(keys.with_authorities(authority)),
    }
}

/// With what opens the repository in a bucket.
pub(crate) fn with_secrets(mut command: Command) -> Command {
    command
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("AWS_ACCESS_KEY_ID", ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET);
    command
}

pub(crate) fn restic_checks(server: &Server) {
    let mut restic = with_secrets(Command::new("restic"));
    let repository = format!("s3:{}/bucket/some/prefix", server.endpoint);
    restic.args(["-r", &repository, "--no-cache", "check", "--read-data"]);
    if let Some(authority) = &server.authority {
        restic.arg("--cacert").arg(authority);
    }
    let output = restic.output().expect("restic");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}

/// A wire to a server that carries so many bytes, both ways together, and then nothing any more.
pub(crate) struct Wire {
    pub(crate) endpoint: String,
    left: Arc<AtomicU64>,
}

impl Wire {
    pub(crate) fn to(server: SocketAddr, bytes: u64) -> Wire {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let left = Arc::new(AtomicU64::new(bytes));
        let counted = Arc::clone(&left);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = TcpStream::connect(server);
                let Ok(server) = server else { continue };
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                for (from, to) in [(clone(&stream), clone(&server)), (server, stream)] {
                    let left = Arc::clone(&counted);
                    std::thread::spawn(move || carry(from, to, &left));
                }
            }
        });
        Wire { endpoint, left }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, left: &AtomicU64) {
    let mut piece = [0; 8192];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        let take = |left: u64| Some(left.saturating_sub(read as u64));
        let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        let may = usize::try_from(before.unwrap_or(0))
            .unwrap_or(usize::MAX)
            .min(read);
        if to.write_all(&piece[..may]).is_err() || may < read {
            break;
        }
    }
    // The other direction ends as well; one that is closed already is what was wanted.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
