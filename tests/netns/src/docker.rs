//! dockerd's side of the plugin protocol, by hand: a server of ours in a lab, and calls of it one by one.
//!
//! Called by tests that want a call that no dockerd would make, or a state that none would get into.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_testkit::{Lab, Namespace, Process, wait_for};

use crate::ours;

mod container;

pub use container::Container;

/// One of our plugins, serving in a lab.
pub struct Server {
    socket: PathBuf,
    process: Process,
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Server {
    /// Starts `binary` with the word `serve`, and waits until it listens.
    #[track_caller]
    pub fn start(lab: &Lab, binary: &str) -> Server {
        Server::start_with(lab, binary, &[])
    }

    /// The same with further options.
    #[track_caller]
    pub fn start_with(lab: &Lab, binary: &str, options: &[&str]) -> Server {
        Server::start_on((lab, lab.host()), binary, options)
    }

    /// The same on another host of the lab, which has files in common with it.
    #[track_caller]
    pub fn start_on((lab, host): (&Lab, &Namespace), binary: &str, options: &[&str]) -> Server {
        let name = match host.identity() == lab.host().identity() {
            true => binary.to_owned(),
            false => format!("{binary}-{}", host.name()),
        };
        let path = format!("/run/docker/plugins/{name}.sock");
        let mut command = host.command(ours().find(binary));
        command.args(["serve", "--socket", &path]).args(options);
        let log = lab.path(format!("/run/{name}.log"));
        let log = std::fs::File::create(log).expect("create a log");
        command.stderr(log);
        let process = Process::start(command);
        let server = Server {
            socket: lab.path(&path),
            process,
        };
        wait_for("the plugin to listen", Duration::from_secs(10), || {
            UnixStream::connect(&server.socket).map_err(|e| e.to_string())
        });
        server
    }

    /// Starts `binary` with a socket that is made for it, as systemd does; the socket is at the returned server's path.
    #[track_caller]
    pub fn inheriting(lab: &Lab, binary: &str) -> Server {
        let socket = lab.path("/run/inherited.sock");
        let listener = UnixListener::bind(&socket).expect("bind a socket");
        let mut command = lab.command("bash");
        // Descriptor 3, and the variables, as sd_listen_fds(3) says.
        let script = "exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" serve";
        command.arg("-c").arg(script).arg(ours().find(binary));
        let process = Process::start_with(command, Stdio::from(OwnedFd::from(listener)));
        Server { socket, process }
    }

    /// Sends SIGTERM and waits for the end; whether the socket is still there.
    #[track_caller]
    pub fn stop(mut self) -> bool {
        let pid = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("send SIGTERM");
        wait_for("the plugin to end", Duration::from_secs(10), || {
            let ended = self.process.ended();
            ended
                .ok_or_else(|| "it runs".to_owned())
                .map(|status| assert!(status.success(), "{status}"))
        });
        self.socket.exists()
    }

    /// Where it listens, for who speaks no HTTP.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.process.ended()
    }

    /// Makes one call with a body as it is.
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> Answer {
        let answer = self.try_post(path, body);
        answer.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Makes one call whose answer comes line by line: all of its lines, or the body of a refusal.
    #[track_caller]
    pub fn post_text(&self, path: &str, body: &str) -> String {
        let (_, text) = self
            .exchange(path, body)
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        // Chunks (RFC 9112, 7.1): a line of their own says the length of each, and none of ours is JSON.
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The same of a server that may die meanwhile.
    pub fn try_post(&self, path: &str, body: &str) -> std::io::Result<Answer> {
        let (status, body) = self.exchange(path, body)?;
        let body = serde_json::from_str(&body)?;
        Ok(Answer { status, body })
    }

    fn exchange(&self, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut stream = UnixStream::connect(&self.socket)?;
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: \r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + body).as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Ok((status.ok_or_else(broken)?, body.to_owned()))
    }

    /// Sends SIGKILL.
    pub fn kill(&self) {
        let pid = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("send SIGKILL");
    }

    /// Makes one call that succeeds.
    #[track_caller]
    pub fn call(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, &body.to_string());
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
        answer.body
    }

    /// Makes one call that is refused; the text, which stands under both keys.
    #[track_caller]
    pub fn refused(&self, path: &str, body: &Value) -> String {
        let answer = self.post(path, &body.to_string());
        assert!(answer.status >= 400, "{path} {body}: {}", answer.body);
        assert_eq!(answer.body["Err"], answer.body["Error"], "{}", answer.body);
        answer.body["Err"].as_str().expect("a text").to_owned()
    }
}

/// The body of a CreateNetwork with one IPv4 subnet, whose gateway is its first host.
pub fn network(id: &str, subnet: &str) -> Value {
    let (address, prefix) = subnet.split_once('/').expect("a prefix");
    let gateway = format!("{}1/{prefix}", address.trim_end_matches('0'));
    json!({"NetworkID": id, "Options": {"com.docker.network.generic": {}},
        "IPv4Data": [{"AddressSpace": "s", "Pool": subnet, "Gateway": gateway}], "IPv6Data": []})
}

/// The body of a call about an endpoint.
pub fn of(network: &str, endpoint: &str) -> Value {
    json!({"NetworkID": network, "EndpointID": endpoint})
}

/// The body of a CreateEndpoint.
pub fn endpoint(network: &str, endpoint: &str, address: &str) -> Value {
    let mut body = of(network, endpoint);
    body["Interface"] = json!({"Address": address, "AddressIPv6": "", "MacAddress": ""});
    body
}

/// The body of a Join.
pub fn join(network: &str, endpoint: &str, sandbox: &str) -> Value {
    let mut body = of(network, endpoint);
    body["SandboxKey"] = json!(sandbox);
    body
}

/// The body of a ProgramExternalConnectivity with TCP ports.
pub fn ports(network: &str, endpoint: &str, ports: &[(u16, u16)]) -> Value {
    let bindings: Vec<Value> = ports
        .iter()
        .map(|(host, container)| {
            json!({"Proto": 6, "IP": "", "Port": container, "HostIP": "",
                   "HostPort": host, "HostPortEnd": host})
        })
        .collect();
    let mut body = of(network, endpoint);
    body["Options"] = json!({"com.docker.network.portmap": bindings});
    body
}
