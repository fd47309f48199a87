//! One call: an HTTP/1.1 request over a socket of its own, and its answer (RFC 9112).
//! Whoever speaks to a plugin of Docker's, or to dockerd, does so by it.
//! It must never wait beyond its deadline (but for a host's name, which the resolver bounds), nor take an answer without a bound.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::Value;

use super::address::Address;

/// What dockerd accepts and sends.
const MEDIA: &str = "application/vnd.docker.plugins.v1.2+json";
/// The longest answer, in bytes: a list of some ten thousand volumes.
const LONGEST: usize = 16 << 20;
const HEADERS: usize = 64;

/// Why there is no answer to read.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// What the driver says.
    Said(String),
    /// The deadline came first.
    Late,
    /// It can't be reached, or does not speak the protocol.
    Broken(String),
}

impl Refusal {
    /// In words, with the address where it is not the driver's own words.
    pub(crate) fn told_of(self, address: &Address) -> String {
        match self {
            Refusal::Said(said) => said,
            Refusal::Late => format!("{address} gave no answer in time"),
            Refusal::Broken(why) => format!("{address}: {why}"),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(cause: io::Error) -> Refusal {
        match cause.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Refusal::Late,
            _ => Refusal::Broken(cause.to_string()),
        }
    }
}

/// A stream whose single steps can be bounded.
trait Bounded: Read + Write {
    fn bound(&self, left: Duration) -> io::Result<()>;
}

impl Bounded for UnixStream {
    fn bound(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

impl Bounded for TcpStream {
    fn bound(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

/// Posts `body` to `/METHOD`; the answer's document, `null` if it has none.
pub(crate) fn post(
    address: &Address,
    method: &str,
    body: &str,
    deadline: Instant,
) -> Result<Value, Refusal> {
    exchange(address, &request_of(method, body), deadline)
}

fn request_of(method: &str, body: &str) -> String {
    format!(
        "POST /{method} HTTP/1.1\r\nHost: plugin.moby.localhost\r\nUser-Agent: wharf\r\nAccept: {MEDIA}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Posts `body` to `/METHOD`, whose answer comes line by line; `heard` gets each. No line may take longer than `patience`.
pub(crate) fn post_for_lines(
    address: &Address,
    method: &str,
    body: &str,
    patience: Duration,
    heard: &mut dyn FnMut(&str),
) -> Result<(), Refusal> {
    let mut stream = open(address, Instant::now() + patience)?;
    stream.bound(patience)?;
    stream.write_all(request_of(method, body).as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 8192];
    // A refusal is a whole answer; what is done begins with its first line.
    let length = loop {
        let count = stream.read(&mut piece)?;
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
        match begun(&answer)? {
            Some((200..=299, length)) => break length,
            Some(_) | None if count > 0 && answer.len() <= LONGEST => {
                if let Some(found) = parse(&answer, false)? {
                    return found.map(drop);
                }
            }
            _ => return Err(Refusal::Broken("the answer was cut off".to_owned())),
        }
    };
    let mut rest = answer.split_off(length);
    let mut text = Vec::new();
    loop {
        let ended = unchunk(&mut rest, &mut text)?;
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            heard(String::from_utf8_lossy(&line).trim_end());
        }
        if ended {
            return Ok(());
        }
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err(Refusal::Broken("the answer was cut off".to_owned()));
        }
        rest.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
}

/// The status of an answer and the length of its head, once that has come.
fn begun(bytes: &[u8]) -> Result<Option<(u16, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Ok(Some((head.code.unwrap_or(0), length))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(cause) => Err(Refusal::Broken(format!("its answer is no HTTP: {cause}"))),
    }
}

/// Moves the chunks that are whole from `rest` to `text`; whether that was the last one.
fn unchunk(rest: &mut Vec<u8>, text: &mut Vec<u8>) -> Result<bool, Refusal> {
    loop {
        let broken = || Refusal::Broken("its answer is no HTTP: its chunks".to_owned());
        let httparse::Status::Complete((start, size)) =
            httparse::parse_chunk_size(rest).map_err(|_| broken())?
        else {
            return Ok(false);
        };
        if size == 0 {
            return Ok(true);
        }
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| start.checked_add(size));
        let end = end.filter(|end| *end <= LONGEST).ok_or_else(broken)?;
        // Each ends with a line's end.
        if rest.len() < end + 2 {
            return Ok(false);
        }
        text.extend_from_slice(rest.get(start..end).unwrap_or_default());
        rest.drain(..end + 2);
    }
}

/// The document at `path`.
pub(crate) fn get(address: &Address, path: &str, deadline: Instant) -> Result<Value, Refusal> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: wharf\r\nConnection: close\r\n\r\n"
    );
    exchange(address, &request, deadline)
}

fn exchange(address: &Address, request: &str, deadline: Instant) -> Result<Value, Refusal> {
    let mut stream = open(address, deadline)?;
    let mut rest = request.as_bytes();
    while !rest.is_empty() {
        stream.bound(left(deadline)?)?;
        let count = stream.write(rest)?;
        rest = rest.get(count..).unwrap_or_default();
    }
    let mut answer = Vec::new();
    loop {
        if let Some(found) = parse(&answer, false)? {
            return found;
        }
        stream.bound(left(deadline)?)?;
        let mut piece = [0; 8192];
        let count = stream.read(&mut piece)?;
        if count == 0 {
            let cut = || Refusal::Broken("the answer was cut off".to_owned());
            return parse(&answer, true)?.ok_or_else(cut)?;
        }
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
        if answer.len() > LONGEST {
            return Err(Refusal::Broken("the answer is too long".to_owned()));
        }
    }
}

fn left(deadline: Instant) -> Result<Duration, Refusal> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(Refusal::Late),
        false => Ok(left),
    }
}

fn open(address: &Address, deadline: Instant) -> Result<Box<dyn Bounded>, Refusal> {
    match address {
        Address::Unix(path) => Ok(Box::new(unix(path, left(deadline)?)?)),
        Address::Tcp(host) => {
            let mut resolved = host.to_socket_addrs()?;
            let nobody = || Refusal::Broken("has no address".to_owned());
            let resolved = resolved.next().ok_or_else(nobody)?;
            let stream = TcpStream::connect_timeout(&resolved, left(deadline)?)?;
            Ok(Box::new(stream))
        }
    }
}

/// With a bound on connect(2) as well, which waits while a driver that hangs has its backlog full.
fn unix(path: &Path, left: Duration) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(left))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// What has come of an answer: nothing yet that is whole (`None`), or its document, or why that is none.
fn parse(bytes: &[u8], ended: bool) -> Result<Option<Result<Value, Refusal>>, Refusal> {
    let broken = |what: &str| Refusal::Broken(format!("its answer is no HTTP: {what}"));
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let begun = head
        .parse(bytes)
        .map_err(|cause| broken(&cause.to_string()))?;
    let httparse::Status::Complete(length) = begun else {
        return Ok(None);
    };
    let status = head.code.unwrap_or(0);
    let rest = bytes.get(length..).unwrap_or_default();
    let header = |name: &str| {
        let mut all = head.headers.iter();
        let found = all.find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    let chunked = header("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    let body = match header("content-length") {
        _ if chunked => match joined(rest).map_err(|()| broken("its chunks"))? {
            Some(body) => body,
            None => return Ok(None),
        },
        Some(length) => {
            let length: usize = length.trim().parse().map_err(|_| broken("its length"))?;
            match rest.get(..length) {
                Some(body) => body.to_vec(),
                None => return Ok(None),
            }
        }
        None if status == 204 => Vec::new(),
        None if ended => rest.to_vec(),
        None => return Ok(None),
    };
    Ok(Some(judge(status, &body)))
}

/// The chunks put together, if the last one has come.
fn joined(mut rest: &[u8]) -> Result<Option<Vec<u8>>, ()> {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest).map_err(drop)? {
            httparse::Status::Complete(found) => found,
            httparse::Status::Partial => return Ok(None),
        };
        if size == 0 {
            return Ok(Some(body));
        }
        let size = usize::try_from(size).map_err(drop)?;
        let end = start.checked_add(size).ok_or(())?;
        let Some(chunk) = rest.get(start..end) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        // Each ends with a line's end.
        let Some(next) = rest.get(end + 2..) else {
            return Ok(None);
        };
        rest = next;
    }
}

fn judge(status: u16, body: &[u8]) -> Result<Value, Refusal> {
    let text = String::from_utf8_lossy(body);
    let document: Option<Value> = serde_json::from_str(&text).ok();
    let said = document
        .as_ref()
        .and_then(|document| document["Err"].as_str());
    match (status, said) {
        (200..=299, _) if text.trim().is_empty() => Ok(Value::Null),
        (200..=299, _) => {
            document.ok_or_else(|| Refusal::Broken("its answer is no JSON".to_owned()))
        }
        (_, Some(said)) if !said.is_empty() => Err(Refusal::Said(said.to_owned())),
        _ => {
            let text: String = text.trim().chars().take(500).collect();
            Err(Refusal::Said(
                format!("status {status} {text}").trim().to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document, or what the driver says; nothing if more has to come.
    fn parsed(text: &str, ended: bool) -> Option<String> {
        let answer = parse(text.as_bytes(), ended).expect("HTTP")?;
        Some(match answer {
            Ok(document) => document.to_string(),
            Err(Refusal::Said(said)) => said,
            Err(other) => format!("{other:?}"),
        })
    }

    #[test]
    fn answers_end_by_length_by_chunks_or_with_the_connection() {
        let by_length = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":\"b\"}";
        assert_eq!(parsed(by_length, false).as_deref(), Some("{\"a\":\"b\"}"));
        for cut in 0..by_length.len() {
            assert_eq!(parsed(&by_length[..cut], false), None, "{cut}");
        }
        let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n5\r\n:\"b\"}\r\n0\r\n\r\n";
        assert_eq!(parsed(chunks, false).as_deref(), Some("{\"a\":\"b\"}"));
        let open = "HTTP/1.0 200 OK\r\n\r\n{}";
        assert_eq!(parsed(open, false), None);
        assert_eq!(parsed(open, true).as_deref(), Some("{}"));
    }

    #[test]
    fn a_refusal_is_told_in_the_drivers_words() {
        let said = "HTTP/1.1 500 X\r\nContent-Length: 19\r\n\r\n{\"Err\":\"disk full\"}";
        assert_eq!(parsed(said, false).as_deref(), Some("disk full"));
        let plain = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nno.\n";
        assert_eq!(parsed(plain, false).as_deref(), Some("status 404 no."));
        assert!(parse(b"SSH-2.0-OpenSSH\r\n", false).is_err());
    }
}
