//! Echo servers and clients in given namespaces, so that a test reads `a.reaches(tcp(b, 80))`.
//!
//! Called by every test that claims something about packets. A server listens before its constructor returns, so no test
//! waits for one; a client has a deadline, so none hangs.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::namespace::Namespace;
use crate::sctp;
use crate::wait::{patience, wait_for};

/// How long a service may take until it answers, all tries together.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One try; a lost SYN is retransmitted after one second.
const TRY: Duration = Duration::from_millis(1200);

/// How long silence must last to count as "does not reach".
const SILENCE: Duration = Duration::from_millis(400);

/// However slow the machine is, an answer that has not come after this does not come.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);

/// The protocols that ports are published for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As a port mapping names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// A protocol, an address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Over what.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol.as_str(), self.address)
    }
}

impl Service {
    /// Connects to it from where the calling thread is, and hangs up: the kernel behind a listener answers that alone.
    pub fn connects(&self, within: Duration) -> io::Result<()> {
        TcpStream::connect_timeout(&self.address, patience(within)).map(drop)
    }
}

/// A TCP service.
pub fn tcp(ip: impl Into<IpAddr>, port: u16) -> Service {
    service(Protocol::Tcp, ip.into(), port)
}

/// A UDP service.
pub fn udp(ip: impl Into<IpAddr>, port: u16) -> Service {
    service(Protocol::Udp, ip.into(), port)
}

/// A service over any of the protocols.
pub fn service(protocol: Protocol, ip: IpAddr, port: u16) -> Service {
    Service {
        protocol,
        address: SocketAddr::new(ip, port),
    }
}

/// What a server told its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The namespace that the server is in.
    pub server: String,
    /// The client as the server sees it.
    pub client: SocketAddr,
}

impl Answer {
    /// Asserts which namespace answered.
    #[track_caller]
    pub fn from(&self, server: &str) -> &Answer {
        assert_eq!(self.server, server, "another server answered");
        self
    }

    /// Asserts which source address the server saw.
    #[track_caller]
    pub fn seen_as(&self, client: impl Into<IpAddr>) -> &Answer {
        assert_eq!(
            self.client.ip(),
            client.into(),
            "the server {} saw another source",
            self.server
        );
        self
    }

    fn parse(line: &str) -> io::Result<Answer> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("answered {line:?}"));
        let (server, client) = line.split_once(' ').ok_or_else(bad)?;
        let client = client.trim_end().parse().map_err(|_| bad())?;
        Ok(Answer {
            server: server.to_owned(),
            client,
        })
    }
}

impl Namespace {
    /// Listens in this namespace, and answers every client with this namespace's name and the client's address.
    #[track_caller]
    pub fn serves(&self, service: Service) -> Server {
        Server::start(self, service)
    }

    /// Listens in this namespace with no thread behind it; clients can connect, see [`Service::connects`].
    #[track_caller]
    pub fn listens(&self, service: Service) -> TcpListener {
        self.run(|| TcpListener::bind(service.address))
            .unwrap_or_else(|e| panic!("listen on {service} in {}: {e}", self.name()))
    }

    /// Asks a service from this namespace, once.
    pub fn asks(&self, service: Service, within: Duration) -> io::Result<Answer> {
        self.run(|| ask(service, patience(within)))
    }

    /// Asserts that a service answers a client in this namespace, at the first try or at a later one: an address of the
    /// host may still be tentative when a plugin returns (RFC 4862, section 5.4), and a first packet may be lost.
    #[track_caller]
    pub fn reaches(&self, service: Service) -> Answer {
        let what = format!("{} to reach {service}", self.name());
        wait_for(&what, ANSWER_WITHIN, || {
            self.asks(service, TRY).map_err(|e| e.to_string())
        })
    }

    /// Asserts that a service never answers a client in this namespace: refused, unreachable or silent.
    #[track_caller]
    pub fn does_not_reach(&self, service: Service) {
        let silence = patience(SILENCE).min(LONGEST_SILENCE);
        if let Ok(answer) = self.run(|| ask(service, silence)) {
            panic!("{} reaches {service}: {answer:?}", self.name());
        }
    }

    /// A UDP client that keeps its source port, so that all it sends is one flow to conntrack.
    #[track_caller]
    pub fn flow_to(&self, service: Service) -> Flow {
        let socket = self
            .run(|| udp_client(service.address))
            .expect("open a UDP client");
        Flow { socket }
    }
}

/// A conversation over UDP from one source port.
pub struct Flow {
    socket: UdpSocket,
}

impl Flow {
    /// Sends once more and waits for the answer.
    pub fn asks(&self) -> io::Result<Answer> {
        exchange(&self.socket, patience(SILENCE))
    }
}

fn ask(service: Service, within: Duration) -> io::Result<Answer> {
    let mut stream = match service.protocol {
        Protocol::Udp => return exchange(&udp_client(service.address)?, within),
        Protocol::Tcp => TcpStream::connect_timeout(&service.address, within)?,
        Protocol::Sctp => sctp::connect(service.address, within)?,
    };
    stream.set_read_timeout(Some(within))?;
    let mut line = String::new();
    stream.read_to_string(&mut line)?;
    Answer::parse(&line)
}

/// Tells a client all of a line, then takes in what it has said (curl's request) until it hangs up: to close before would
/// reset the connection (RFC 2525, section 2.17), and the client would lose what it had not read yet.
fn tell(mut stream: TcpStream, line: &str) -> io::Result<()> {
    stream.write_all(line.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(patience(TRY)))?;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

fn udp_client(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() {
        [0; 4].into()
    } else {
        [0u16; 8].into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    Ok(socket)
}

fn exchange(socket: &UdpSocket, within: Duration) -> io::Result<Answer> {
    socket.set_read_timeout(Some(within))?;
    socket.send(b"?")?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer)?;
    Answer::parse(&String::from_utf8_lossy(&buffer[..length]))
}

/// A server that runs until it is dropped.
pub struct Server {
    service: Service,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

enum Listening {
    Stream(TcpListener),
    Datagram(UdpSocket),
}

impl Server {
    #[track_caller]
    fn start(namespace: &Namespace, service: Service) -> Server {
        // An address of the host may still be tentative (RFC 4862, section 5.4), and nobody listens there until then.
        let what = format!("{} to listen on {service}", namespace.name());
        let listening = wait_for(&what, ANSWER_WITHIN, || {
            namespace
                .run(|| Listening::at(service))
                .map_err(|e| e.to_string())
        });
        let (stop, stopped) = UnixStream::pair().expect("make a pair of sockets");
        let name = namespace.name().to_owned();
        let thread = std::thread::spawn(move || listening.answer_until(&stopped, &name));
        Server {
            service,
            stop,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn service(&self) -> Service {
        self.service
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.write_all(b"x");
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Listening {
    fn at(service: Service) -> io::Result<Listening> {
        Ok(match service.protocol {
            Protocol::Tcp => Listening::Stream(TcpListener::bind(service.address)?),
            Protocol::Sctp => Listening::Stream(sctp::listen(service.address)?),
            Protocol::Udp => Listening::Datagram(UdpSocket::bind(service.address)?),
        })
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Listening::Stream(listener) => listener.as_fd(),
            Listening::Datagram(socket) => socket.as_fd(),
        }
    }

    fn answer_until(&self, stopped: &UnixStream, name: &str) {
        loop {
            let mut ready =
                [self.descriptor(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if poll(&mut ready, PollTimeout::NONE).is_err() || ready[1].any() == Some(true) {
                return;
            }
            // A client that is gone before its answer has had its reasons; the next one is served.
            let _ = self.answer(name);
        }
    }

    fn answer(&self, name: &str) -> io::Result<()> {
        match self {
            Listening::Stream(listener) => {
                let (stream, client) = listener.accept()?;
                tell(stream, &format!("{name} {client}\n"))
            }
            Listening::Datagram(socket) => {
                let (_, client) = socket.recv_from(&mut [0; 256])?;
                socket
                    .send_to(format!("{name} {client}\n").as_bytes(), client)
                    .map(drop)
            }
        }
    }
}
