//! The socket that Prometheus reads the metrics from: a unix socket, or an address of TCP.
//! `server` has it beside its own where the command line asks for it.
//! It must never do a call: whoever reads it may change nothing.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::ServeError;
use crate::arguments::Endpoint;
use crate::exchange::Service;
use crate::listener::Listener;
use crate::server::HEAD_WITHIN;
use crate::spare::Spare;

/// The text format that every Prometheus reads (prometheus.io, "Exposition formats").
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Readers at once; more wait.
const READERS: usize = 8;
/// How long a reader may take for an answer.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The socket while it is served; dropping it ends that.
pub(crate) struct Scrape {
    serving: JoinHandle<()>,
    /// Unlinks a unix socket.
    _listener: Option<Listener>,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Either kind of connection.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}
type Stream = Box<dyn Connection>;

impl Socket {
    async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(socket) => Box::new(socket.accept().await?.0),
            Self::Tcp(socket) => Box::new(socket.accept().await?.0),
        })
    }
}

impl Scrape {
    /// Begins to serve at `at`.
    pub(crate) fn begin(at: &Endpoint, service: Arc<Service>) -> Result<Self, ServeError> {
        let (listener, socket) = match at {
            Endpoint::Unix(path) => {
                let (listener, socket) = Listener::make(path)?;
                let socket = socket
                    .set_nonblocking(true)
                    .and_then(|()| UnixListener::from_std(socket));
                (Some(listener), socket.map(Socket::Unix))
            }
            Endpoint::Tcp(address) => {
                let socket = std::net::TcpListener::bind(address).and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    TcpListener::from_std(socket)
                });
                (None, socket.map(Socket::Tcp))
            }
        };
        let socket = socket.map_err(|e| ServeError::Socket {
            path: at.to_string(),
            problem: format!("listen for Prometheus: {e}"),
        })?;
        Ok(Self {
            serving: tokio::spawn(accept(socket, service)),
            _listener: listener,
        })
    }
}

impl Drop for Scrape {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(socket: Socket, service: Arc<Service>) {
    let room = Arc::new(Semaphore::new(READERS));
    let mut readers = JoinSet::new();
    let mut spare = Spare::keep();
    loop {
        // The semaphore is never closed.
        let place = room.clone().acquire_owned().await;
        while readers.try_join_next().is_some() {}
        match socket.accept().await {
            Ok(stream) => {
                let service = service.clone();
                readers.spawn(async move {
                    let _place = place;
                    converse(stream, service).await;
                });
            }
            Err(e) => spare.make_room(&e, &mut readers, socket.accept()).await,
        }
    }
}

async fn converse(stream: Stream, service: Arc<Service>) {
    let answer = service_fn(move |request| answer(service.clone(), request));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), answer);
    match tokio::time::timeout(READ_WITHIN, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::debug!("a reader of the metrics went: {e}"),
        Err(_) => tracing::debug!("a reader of the metrics was too slow"),
    }
}

async fn answer(
    service: Arc<Service>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => measure(service).await,
        (&Method::GET | &Method::HEAD, _) => (
            StatusCode::NOT_FOUND,
            "the metrics are at /metrics\n".into(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    Ok(response)
}

/// On a thread that may block: a driver may read files for its gauges.
async fn measure(service: Arc<Service>) -> (StatusCode, String) {
    let measured =
        tokio::task::spawn_blocking(move || service.metrics.text(&service.protocol.gauges()));
    match measured.await {
        Ok(Ok(text)) => (StatusCode::OK, text),
        Ok(Err(e)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
        // The panic's own message is on stderr.
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "a defect of this plugin: see its log\n".into(),
        ),
    }
}
