//! The server over a real socket: what clients of all kinds get, and how it ends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use wharfline_docker::arguments::{Asked, Program};
use wharfline_docker::{Arguments, Protocol, Refusal};

/// Answers by path; `/slow` ends when the test lets it.
struct Scripted {
    release: Barrier,
}

impl Protocol for Scripted {
    fn implements(&self) -> &'static [&'static str] {
        &["NetworkDriver"]
    }

    fn call(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        match path {
            "/echo" => Ok(body.to_vec()),
            "/slow" => {
                self.release.wait();
                Ok(b"{}".to_vec())
            }
            "/refuse" => Err(Refusal::new("no free vlan")),
            "/panic" => panic!("a defect"),
            _ => Err(Refusal::unknown_path(path)),
        }
    }
}

fn ask(socket: &Path, path: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).expect("connect");
    // As dockerd 20.10 does: an empty Host.
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: \r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("write");
    // A refusal may come before the body is read.
    let _ = stream.write_all(body.as_bytes());
    answer(&mut stream)
}

fn answer(stream: &mut UnixStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.expect("a status"), body.expect("a body"))
}

fn start(socket: &Path, protocol: Arc<Scripted>) -> JoinHandle<ExitCode> {
    let argument = format!("--socket={}", socket.display());
    let program = Program {
        name: "test",
        plugin: "wharf-test",
        options: &[],
    };
    let asked = Arguments::parse(program, [argument.into()]).expect("read");
    let Asked::Serve(arguments) = asked else {
        panic!("no help was asked for");
    };
    let server = thread::spawn(move || wharfline_docker::serve(&arguments, protocol));
    let give_up = Instant::now() + Duration::from_secs(10);
    while UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < give_up, "the server does not listen");
        thread::yield_now();
    }
    server
}

/// One claim after the other on one server, because the signal that ends it is the whole process's.
#[test]
fn a_server_answers_everybody_and_ends_when_it_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    let socket = folder.path().join("plugin.sock");
    let scripted = Arc::new(Scripted {
        release: Barrier::new(2),
    });
    let server = start(&socket, scripted.clone());

    let (status, body) = ask(&socket, "/Plugin.Activate", "");
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"Implements":["NetworkDriver"]}"#)
    );
    assert_eq!(ask(&socket, "/unknown", "{}").0, 404);
    assert_eq!(
        ask(&socket, "/refuse", "{}"),
        (
            500,
            r#"{"Err":"no free vlan","Error":"no free vlan"}"#.to_owned()
        )
    );
    let (status, body) = ask(&socket, "/panic", "{}");
    assert!(status == 500 && body.contains("defect"), "{body}");
    let long = "x".repeat((16 << 20) + 1);
    let (status, body) = ask(&socket, "/echo", &long);
    assert!(status == 413 && body.contains("longer than"), "{body}");

    // A client that says nothing, one that stops half way, and a call that takes its time: nobody waits for them.
    let _silent = UnixStream::connect(&socket).expect("connect");
    let mut half = UnixStream::connect(&socket).expect("connect");
    half.write_all(b"POST /echo HTTP/1.1\r\nHost: \r\nContent-Length: 9\r\n\r\n{")
        .expect("write");
    let mut slow = UnixStream::connect(&socket).expect("connect");
    slow.write_all(b"POST /slow HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\r\n")
        .expect("write");
    thread::scope(|scope| {
        for number in 0..64 {
            let socket = &socket;
            scope.spawn(move || {
                let body = format!("{{\"n\":{number}}}");
                assert_eq!(ask(socket, "/echo", &body), (200, body));
            });
        }
    });

    // The call that runs ends, the others are let go, the socket is unlinked.
    raise(Signal::SIGTERM).expect("raise");
    let give_up = Instant::now() + Duration::from_secs(10);
    half.write_all(b"12345678").expect("the rest of the body");
    scripted.release.wait();
    assert_eq!(answer(&mut slow).0, 200);
    assert_eq!(answer(&mut half).0, 200);
    let ended = server.join().expect("no panic");
    assert!(Instant::now() < give_up, "the silent client held it up");
    assert_eq!(format!("{ended:?}"), format!("{:?}", ExitCode::SUCCESS));
    assert!(!socket.exists());
}
