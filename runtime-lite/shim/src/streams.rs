//! A container's stdin, stdout and stderr while the shim holds their ends: logged, shown to whoever is attached, fed.
//! `supervise` asks what to wait for, and gives it a turn whenever something is ready.
//! It must never block: who reads too slowly holds the container up (as with Docker), not the shim.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use nix::unistd::{Gid, Uid, fchown};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::log::{Log, Stream};

/// So much is read at a time.
const CHUNK: usize = 64 << 10;

/// Our ends.
pub(crate) struct Streams {
    sources: Vec<Source>,
    /// The container's stdin, while it is open.
    input: Option<Input>,
    /// Whether stdin is closed when the first who fed it ends.
    once: bool,
    terminal: bool,
    log: Log,
    viewers: Vec<Viewer>,
}

struct Source {
    stream: Stream,
    end: File,
}

struct Input {
    end: File,
    waiting: Vec<u8>,
    /// Closed as soon as nothing waits any more.
    last: bool,
}

/// Somebody who is attached.
struct Viewer {
    /// The connection that it came by.
    peer: u64,
    feed: Option<File>,
    out: Option<File>,
    err: Option<File>,
    waiting: [Vec<u8>; 2],
}

/// The container's ends, and ours.
pub(crate) fn pipes(
    dir: &Path,
    stdin: bool,
    once: bool,
    owner: (u32, u32),
) -> io::Result<([OwnedFd; 3], Streams)> {
    let (out, out_inside) = pipe_with(PipeFlags::CLOEXEC)?;
    let (err, err_inside) = pipe_with(PipeFlags::CLOEXEC)?;
    let (in_inside, input) = match stdin {
        true => {
            let (inside, end) = pipe_with(PipeFlags::CLOEXEC)?;
            (inside, Some(end))
        }
        false => (File::open("/dev/null")?.into(), None),
    };
    // Whoever the command runs as may open /dev/stdout, which is a link to the pipe itself.
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    for end in [&out_inside, &err_inside] {
        fchown(end, Some(uid), Some(gid))?;
    }
    if input.is_some() {
        fchown(&in_inside, Some(uid), Some(gid))?;
    }
    let sources = [(Stream::Out, out), (Stream::Err, err)];
    let streams = Streams {
        sources: sources
            .into_iter()
            .map(|(stream, end)| {
                Ok(Source {
                    stream,
                    end: without_blocking(end)?,
                })
            })
            .collect::<io::Result<_>>()?,
        input: input.map(Input::new).transpose()?,
        once,
        terminal: false,
        log: Log::open(dir)?,
        viewers: Vec::new(),
    };
    Ok(([in_inside, out_inside, err_inside], streams))
}

/// Our end of a terminal.
pub(crate) fn terminal(dir: &Path, master: OwnedFd) -> io::Result<Streams> {
    let end = without_blocking(master)?;
    let input = Input {
        end: end.try_clone()?,
        waiting: Vec::new(),
        last: false,
    };
    Ok(Streams {
        sources: vec![Source {
            stream: Stream::Out,
            end,
        }],
        input: Some(input),
        once: false,
        terminal: true,
        log: Log::open(dir)?,
        viewers: Vec::new(),
    })
}

fn without_blocking(end: OwnedFd) -> io::Result<File> {
    let flags = OFlag::from_bits_retain(fcntl(&end, FcntlArg::F_GETFL)?);
    fcntl(&end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(end.into())
}

impl Input {
    fn new(end: OwnedFd) -> io::Result<Input> {
        Ok(Input {
            end: without_blocking(end)?,
            waiting: Vec::new(),
            last: false,
        })
    }
}

impl Streams {
    /// Those who are attached, for the container's next run.
    pub(crate) fn take_over(&mut self, earlier: Streams) {
        self.viewers = earlier.viewers;
    }

    /// Shows the output to the connection `peer` from now on, and reads stdin from it.
    pub(crate) fn attach(&mut self, peer: u64, pipes: [OwnedFd; 3]) -> io::Result<()> {
        let [feed, out, err] = pipes;
        self.viewers.push(Viewer {
            peer,
            feed: Some(without_blocking(feed)?),
            out: Some(without_blocking(out)?),
            err: Some(without_blocking(err)?),
            waiting: [Vec::new(), Vec::new()],
        });
        Ok(())
    }

    /// The connection is gone.
    pub(crate) fn detach(&mut self, peer: u64) {
        self.viewers.retain(|viewer| viewer.peer != peer);
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        match self.sources.first() {
            Some(source) if self.terminal => Ok(tcsetwinsize(&source.end, size)?),
            _ => Ok(()),
        }
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut all = Vec::new();
        for source in &self.sources {
            if self
                .viewers
                .iter()
                .all(|viewer| viewer.has_room(source.stream))
            {
                all.push((source.end.as_fd(), PollFlags::POLLIN));
            }
        }
        for viewer in &self.viewers {
            for (end, waiting) in [
                (&viewer.out, &viewer.waiting[0]),
                (&viewer.err, &viewer.waiting[1]),
            ] {
                if let (Some(end), false) = (end, waiting.is_empty()) {
                    all.push((end.as_fd(), PollFlags::POLLOUT));
                }
            }
        }
        match &self.input {
            Some(input) if !input.waiting.is_empty() => {
                all.push((input.end.as_fd(), PollFlags::POLLOUT));
            }
            Some(_) => {
                let feeds = self
                    .viewers
                    .iter()
                    .filter_map(|viewer| viewer.feed.as_ref());
                all.extend(feeds.map(|feed| (feed.as_fd(), PollFlags::POLLIN)));
            }
            None => {}
        }
        all
    }

    /// Moves whatever can be moved. With `hurry`, who is attached does not hold the reading up any more.
    pub(crate) fn turn(&mut self, hurry: bool) {
        for viewer in &mut self.viewers {
            viewer.flush();
        }
        self.read_output(hurry);
        self.feed();
    }

    /// Whether the container's side has been read to its end, and everybody has it.
    pub(crate) fn finished(&self) -> bool {
        let all_shown = |viewer: &Viewer| viewer.waiting.iter().all(Vec::is_empty);
        self.sources.is_empty() && self.viewers.iter().all(all_shown)
    }

    /// Nothing more comes: the log ends, and those who are attached see the end.
    pub(crate) fn close(&mut self) {
        self.log.finish();
        self.viewers.clear();
    }

    fn read_output(&mut self, hurry: bool) {
        let mut buffer = vec![0; CHUNK];
        let viewers = &mut self.viewers;
        let log = &mut self.log;
        self.sources.retain_mut(|source| {
            while hurry || viewers.iter().all(|viewer| viewer.has_room(source.stream)) {
                match source.end.read(&mut buffer) {
                    Ok(0) => return false,
                    Ok(count) => {
                        let read = buffer.get(..count).unwrap_or_default();
                        log.keep(source.stream, read);
                        for viewer in viewers.iter_mut() {
                            viewer.show(source.stream, read);
                        }
                    }
                    Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                    Err(cause) if cause.kind() == ErrorKind::WouldBlock => return true,
                    // EIO is how a terminal says that nobody has it open any more (tty_ioctl(4)).
                    Err(_) => return false,
                }
            }
            true
        });
    }

    fn feed(&mut self) {
        let Some(input) = &mut self.input else {
            for viewer in &mut self.viewers {
                viewer.feed = None;
            }
            return;
        };
        if input.waiting.is_empty() {
            let mut buffer = vec![0; CHUNK];
            for viewer in &mut self.viewers {
                match read_feed(&mut viewer.feed, &mut buffer) {
                    Fed::Bytes(count) => {
                        input
                            .waiting
                            .extend_from_slice(buffer.get(..count).unwrap_or_default());
                    }
                    Fed::End => input.last |= self.once,
                    Fed::Nothing => {}
                }
            }
        }
        let written = write_waiting(&mut input.end, &mut input.waiting);
        let closed = written.is_err() && !self.terminal;
        if closed || (input.last && input.waiting.is_empty()) {
            self.input = None;
        }
    }
}

enum Fed {
    Bytes(usize),
    End,
    Nothing,
}

fn read_feed(feed: &mut Option<File>, buffer: &mut [u8]) -> Fed {
    let Some(end) = feed else {
        return Fed::Nothing;
    };
    match end.read(buffer) {
        Ok(0) => {
            *feed = None;
            Fed::End
        }
        Ok(count) => Fed::Bytes(count),
        Err(_) => Fed::Nothing,
    }
}

impl Viewer {
    fn has_room(&self, stream: Stream) -> bool {
        self.waiting[stream as usize].is_empty()
    }

    fn show(&mut self, stream: Stream, read: &[u8]) {
        let open = match stream {
            Stream::Out => self.out.is_some(),
            Stream::Err => self.err.is_some(),
        };
        if open {
            self.waiting[stream as usize].extend_from_slice(read);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let [waiting_out, waiting_err] = &mut self.waiting;
        for (end, waiting) in [(&mut self.out, waiting_out), (&mut self.err, waiting_err)] {
            let failed = end
                .as_mut()
                .is_some_and(|end| write_waiting(end, waiting).is_err());
            if failed {
                *end = None;
                waiting.clear();
            }
        }
    }
}

/// Writes as much of `waiting` as goes.
fn write_waiting(end: &mut File, waiting: &mut Vec<u8>) -> io::Result<()> {
    while !waiting.is_empty() {
        match end.write(waiting) {
            Ok(count) => drop(waiting.drain(..count)),
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(cause) => {
                waiting.clear();
                return Err(cause);
            }
        }
    }
    Ok(())
}
