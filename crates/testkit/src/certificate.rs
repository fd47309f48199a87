//! A certificate for a server of a test, signed by an authority that nobody else believes.
//!
//! Called by tests of https. It must never be made of keys that are kept anywhere: each test has its own.

use std::net::IpAddr;
use std::process::Command;

/// `ca.pem` is the authority, `server.pem` and `server.key` are what a server for the address presents.
const SCRIPT: &str = "cd \"$0\"; new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
    openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj '/CN=authority of a test'
    openssl req $new -keyout server.key -out server.csr -subj /CN=$1
    echo subjectAltName = IP:$1 >names
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem";

/// Makes `ca.pem`, `server.pem` and `server.key` in a folder that is there; `shell` is `sh`, wherever that folder is.
///
/// # Panics
///
/// Without openssl.
#[track_caller]
pub fn certificate(mut shell: Command, folder: &str, host: IpAddr) {
    let made = shell
        .args(["-ec", SCRIPT, folder])
        .arg(host.to_string())
        .output()
        .expect("sh");
    assert!(
        made.status.success(),
        "make a certificate in {folder} (apt: openssl): {}",
        String::from_utf8_lossy(&made.stderr)
    );
}
