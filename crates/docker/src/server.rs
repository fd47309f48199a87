//! The server: one thread accepts connections and moves bytes, calls run on others.
//! [`crate::serve`] runs it until SIGTERM or SIGINT.
//! It must never let one client keep another waiting: a silent one costs a descriptor for a while.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::exchange::{Service, exchange};
use crate::lines::Room;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::protocol::Protocol;
use crate::scrape::Scrape;
use crate::spare::Spare;
use crate::{ServeError, log};

/// How long a thread without a call lives on.
const IDLE_THREAD: Duration = Duration::from_secs(10);
/// How long a client may take for the head of its request. dockerd sends it at once.
pub(crate) const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long calls may go on after the signal to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Clients at once; more wait in the socket's queue until a silent one is given up.
const CLIENTS: usize = 512;

pub(crate) fn run(arguments: &Arguments, protocol: Arc<dyn Protocol>) -> Result<(), ServeError> {
    log::install();
    allow_descriptors();
    let failed = |what| move |cause| ServeError::Io { what, cause };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(protocol.calls_at_once())
        .thread_keep_alive(IDLE_THREAD)
        .build()
        .map_err(failed("start the event loop"))?;
    runtime.block_on(async {
        // Before anybody can see that we are there, and so that we end as told.
        let mut stop = Stop::new().map_err(failed("watch for signals"))?;
        let (_listener, socket) = Listener::obtain(arguments.socket())?;
        socket
            .set_nonblocking(true)
            .map_err(failed("make the socket nonblocking"))?;
        let socket = UnixListener::from_std(socket).map_err(failed("watch the socket"))?;
        let metrics = Metrics::new().map_err(|cause| ServeError::Metrics { cause })?;
        let service = Arc::new(Service {
            protocol,
            metrics,
            works: Room::new(),
        });
        let _scrape = match arguments.metrics() {
            Some(at) => Some(Scrape::begin(at, service.clone())?),
            None => None,
        };
        tracing::info!(socket = %arguments.socket().display(), "serving");
        accept(&socket, &service, &mut stop).await;
        Ok(())
    })
}

/// A port that a driver keeps from others is a descriptor each: as many as the administrator lets us have.
fn allow_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(e) = raised {
        tracing::debug!("raise the limit of open files: {e}");
    }
}

/// SIGTERM or SIGINT, whichever comes first.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn accept(socket: &UnixListener, service: &Arc<Service>, stop: &mut Stop) {
    let (stopping, stopped) = watch::channel(false);
    let room = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    let mut spare = Spare::keep();
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = room.clone().acquire_owned().await;
            (socket.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = next => accepted,
            () = stop.asked() => break,
            Some(_) = clients.join_next(), if !clients.is_empty() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                let client = converse(stream, service.clone(), stopped.clone());
                clients.spawn(async move {
                    let _place = place;
                    client.await;
                });
            }
            Err(e) => spare.make_room(&e, &mut clients, socket.accept()).await,
        }
    }
    let _ = stopping.send(true);
    let all = async { while clients.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WITHIN, all).await.is_err() {
        tracing::warn!(
            "calls still go on {} s after the signal to stop",
            STOP_WITHIN.as_secs()
        );
    }
}

/// One request a connection: an idle connection would hold a descriptor for nothing, and a new one costs dockerd some
/// fifty microseconds.
async fn converse(stream: UnixStream, service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| exchange(service.clone(), request));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!("a client went: {e}");
    }
}
