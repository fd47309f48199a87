//! An answer that comes line by line, while the work behind it runs on a thread of its own.
//! `exchange` makes one for what a protocol calls work.
//! It must never go on for nobody: when the client is gone, the work hears of it at its next line.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::protocol::{Gone, Work};
use crate::refusal::Refusal;

/// Lines that wait for a slow client before the work waits, too.
const WAITING: usize = 16;
/// Works at once; a further one is refused: they are long, and each has its share of the disk.
const WORKS: usize = 8;

/// What every answer's body is: all at once, or line by line.
pub(crate) enum Answer {
    Whole(Option<Bytes>),
    Lines(Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Lines(lines) => lines
                .poll_recv(context)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                hyper::body::SizeHint::with_exact(length as u64)
            }
            Self::Lines(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// Room for works.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(WORKS)))
    }

    /// Starts `work`; its lines, or why it came to nothing before the first.
    pub(crate) async fn start(&self, work: Work, body: Bytes) -> Result<Answer, Refusal> {
        let Ok(place) = self.0.clone().try_acquire_owned() else {
            return Err(Refusal::new(format!(
                "{WORKS} operations run already: try again when one has ended"
            )));
        };
        let (out, mut lines) = channel(WAITING);
        let (ended, end) = tokio::sync::oneshot::channel();
        let started = std::thread::Builder::new()
            .name("work".to_owned())
            .spawn(move || {
                // Heard by whoever waits for the first line; later, the last line has told it.
                let _ = ended.send(run(work, &body, &out, place));
            });
        if let Err(e) = started {
            return Err(Refusal::new(format!("start a thread: {e}")));
        }
        match lines.recv().await {
            Some(first) => {
                let (again, all) = channel(WAITING + 1);
                // Cannot be full.
                let _ = again.try_send(first);
                tokio::spawn(pass_on(lines, again));
                Ok(Answer::Lines(all))
            }
            None => match end.await {
                Ok(Err(refusal)) => Err(refusal),
                _ => Err(Refusal::new("a defect of this plugin: see its log")),
            },
        }
    }
}

async fn pass_on(mut from: Receiver<Bytes>, to: Sender<Bytes>) {
    while let Some(line) = from.recv().await {
        if to.send(line).await.is_err() {
            return;
        }
    }
}

fn run(
    work: Work,
    body: &[u8],
    out: &Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) -> Result<(), Refusal> {
    let mut told = |line: Vec<u8>| out.blocking_send(Bytes::from(line)).map_err(|_| Gone);
    let last = work(body, &mut told)?;
    // The client may be gone: nobody is left to tell.
    let _ = out.blocking_send(Bytes::from(last));
    Ok(())
}
