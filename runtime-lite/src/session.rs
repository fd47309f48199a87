//! Being attached: a container's output on wharf's stdout and stderr, wharf's stdin and signals to the container.
//! `run`, `attach` and `exec` hold one while they follow a process.
//! It must put the user's terminal back as it was, on every way out.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{
    OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use wharf_protocol::{Report, Request};

use crate::error::{Error, Result};
use crate::shim::Control;
use crate::signals::{self, Pleas};

const CHUNK: usize = 64 << 10;
/// ctrl-P ctrl-Q, as with Docker.
const DETACH: [u8; 2] = [0x10, 0x11];

/// How being attached ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The process has ended.
    Exited(i32),
    /// The user has left.
    Detached,
}

/// The exit status of a command that stands for a process.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Who gets the signals that are sent to wharf.
enum Target {
    /// The container's first process, by way of the shim.
    Container,
    /// A further process, which this stands for.
    Process(OwnedFd),
}

/// Somebody who is attached.
pub(crate) struct Viewing {
    control: Control,
    target: Target,
    outputs: Vec<Output>,
    /// Where wharf's stdin goes, while it does.
    input: Option<File>,
    waiting: Vec<u8>,
    terminal: Option<Raw>,
    /// The terminal of a further process.
    master: Option<File>,
    last_typed: u8,
}

struct Output {
    from: File,
    to_stderr: bool,
}

/// The user's terminal, without a mind of its own, until dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Option<Raw>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |errno: rustix::io::Errno| Error::file("set up", "the terminal")(errno.into());
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Some(Raw(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| Error::file("make a pipe for", "a container's stream")(errno.into()))
}

fn without_blocking(end: OwnedFd) -> Result<File> {
    let set = || -> nix::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&end, FcntlArg::F_GETFL)?);
        fcntl(&end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(())
    };
    set().map_err(Error::kernel("set up", "a container's stream"))?;
    Ok(end.into())
}

impl Viewing {
    /// Attaches to a container's own streams.
    pub(crate) fn attach(control: Control, interactive: bool, terminal: bool) -> Result<Viewing> {
        let (feed, input) = pipe()?;
        let (out, out_there) = pipe()?;
        let (err, err_there) = pipe()?;
        let ends = [feed.as_fd(), out_there.as_fd(), err_there.as_fd()];
        control.ask(&Request::Attach, &ends)?;
        let outputs = vec![output(out, false)?, output(err, true)?];
        let viewing = Viewing {
            control,
            target: Target::Container,
            outputs,
            input: match interactive {
                true => Some(without_blocking(input)?),
                false => None,
            },
            waiting: Vec::new(),
            terminal: match terminal && interactive {
                true => Raw::enter()?,
                false => None,
            },
            master: None,
            last_typed: 0,
        };
        if let Some(size) = terminal_size().filter(|_| terminal) {
            // Answered before the command is started: its first look is right.
            viewing.control.ask(&resizing(size), &[])?;
        }
        Ok(viewing)
    }

    /// Attaches to a further process: to the terminal that it got, or to our ends of its pipes.
    pub(crate) fn of_process(
        control: Control,
        process: OwnedFd,
        terminal: Option<OwnedFd>,
        pipes: Pipes,
    ) -> Result<Viewing> {
        let mut viewing = Viewing {
            control,
            target: Target::Process(process),
            outputs: Vec::new(),
            input: None,
            waiting: Vec::new(),
            terminal: None,
            master: None,
            last_typed: 0,
        };
        if let Some(input) = pipes.input {
            viewing.input = Some(without_blocking(input)?);
        }
        for (end, to_stderr) in [(pipes.out, false), (pipes.err, true)] {
            if let Some(end) = end {
                viewing.outputs.push(output(end, to_stderr)?);
            }
        }
        if let Some(master) = terminal {
            let master = without_blocking(master)?;
            let again = || {
                master
                    .try_clone()
                    .map_err(Error::file("use", "the terminal"))
            };
            viewing.outputs.push(Output {
                from: again()?,
                to_stderr: false,
            });
            if pipes.feed_terminal {
                viewing.input = Some(again()?);
                viewing.terminal = Raw::enter()?;
            }
            viewing.master = Some(master);
            viewing.resize();
        }
        Ok(viewing)
    }

    /// Follows the process to its end, or until the user leaves.
    pub(crate) fn follow(mut self, signals: &SignalFd) -> Result<Ended> {
        let mut pleas = Pleas::default();
        loop {
            let ready = self.wait(signals)?;
            if ready.signals {
                while let Some(signal) = signals::next(signals) {
                    self.pass_on(signal, &mut pleas);
                }
            }
            if ready.typed && self.read_input() == Typed::Leave {
                return Ok(Ended::Detached);
            }
            self.write_input();
            self.show();
            if ready.control
                && let (Report::Exited { code }, _) = self.control.hear()?
            {
                // Everything that was written before is in the pipes.
                self.show();
                return Ok(Ended::Exited(code));
            }
        }
    }

    fn wait(&self, signals: &SignalFd) -> Result<Ready> {
        let stdin = io::stdin();
        let mut watched = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
        ];
        let listens = self.input.is_some() && self.waiting.is_empty();
        if let Some(input) = &self.input {
            match listens {
                true => watched.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN)),
                false => watched.push(PollFd::new(input.as_fd(), PollFlags::POLLOUT)),
            }
        }
        let outputs = self.outputs.iter();
        watched.extend(outputs.map(|out| PollFd::new(out.from.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::kernel("wait for", "the container")(errno)),
        }
        let ready = |at: usize| watched.get(at).and_then(PollFd::any).unwrap_or(false);
        Ok(Ready {
            signals: ready(0),
            control: ready(1),
            typed: listens && ready(2),
        })
    }

    /// Whoever has ended meanwhile needs no signal: its end is heard of next.
    fn pass_on(&self, signal: Signal, pleas: &mut Pleas) {
        if signal == Signal::SIGWINCH {
            return self.resize();
        }
        let number = signal as i32;
        match &self.target {
            Target::Container => {
                let request = match pleas.is_last(signal) {
                    true => Request::Delete,
                    false => Request::Kill { signal: number },
                };
                let _ = self.control.tell(&request, &[]);
            }
            Target::Process(process) => {
                if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
                    let _ = rustix::process::pidfd_send_signal(process, signal);
                }
            }
        }
    }

    /// Makes the container's terminal as large as the user's.
    fn resize(&self) {
        let Some(size) = terminal_size() else {
            return;
        };
        // A size that can't be set is no reason to end.
        match &self.master {
            Some(master) => drop(tcsetwinsize(master, size)),
            None => drop(self.control.tell(&resizing(size), &[])),
        }
    }

    fn read_input(&mut self) -> Typed {
        let mut buffer = vec![0; CHUNK];
        match io::stdin().read(&mut buffer) {
            Ok(0) => self.input = None,
            Ok(count) => {
                let read = buffer.get(..count).unwrap_or_default();
                if self.terminal.is_some() && self.leaves(read) {
                    return Typed::Leave;
                }
                self.waiting.extend_from_slice(read);
            }
            Err(cause)
                if matches!(cause.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(_) => self.input = None,
        }
        Typed::Text
    }

    fn leaves(&mut self, read: &[u8]) -> bool {
        for &byte in read {
            if [self.last_typed, byte] == DETACH {
                return true;
            }
            self.last_typed = byte;
        }
        false
    }

    fn write_input(&mut self) {
        let Some(input) = &mut self.input else {
            return;
        };
        while !self.waiting.is_empty() {
            match input.write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return,
                // The container does not listen any more.
                Err(_) => {
                    self.waiting.clear();
                    self.input = None;
                    return;
                }
            }
        }
    }

    /// Prints what there is to print.
    fn show(&mut self) {
        let mut buffer = vec![0; CHUNK];
        self.outputs.retain_mut(|output| {
            loop {
                match output.from.read(&mut buffer) {
                    Ok(0) => return false,
                    Ok(count) => print(output.to_stderr, buffer.get(..count).unwrap_or_default()),
                    Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                    Err(cause) => return cause.kind() == ErrorKind::WouldBlock,
                }
            }
        });
    }
}

/// The size of the user's terminal, if there is one.
pub(crate) fn terminal_size() -> Option<Winsize> {
    let of_stdin = || tcgetwinsize(io::stdin());
    tcgetwinsize(io::stdout()).or_else(|_| of_stdin()).ok()
}

fn resizing(size: Winsize) -> Request {
    Request::Resize {
        rows: size.ws_row,
        columns: size.ws_col,
    }
}

fn output(end: OwnedFd, to_stderr: bool) -> Result<Output> {
    Ok(Output {
        from: without_blocking(end)?,
        to_stderr,
    })
}

/// A reader that has gone away is no reason to end the container.
fn print(to_stderr: bool, text: &[u8]) {
    let _ = match to_stderr {
        true => io::stderr().write_all(text),
        false => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text).and_then(|()| stdout.flush())
        }
    };
}

#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Text,
    Leave,
}

struct Ready {
    signals: bool,
    control: bool,
    typed: bool,
}

/// Our ends of a further process's pipes, where it has some.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(crate) input: Option<OwnedFd>,
    pub(crate) out: Option<OwnedFd>,
    pub(crate) err: Option<OwnedFd>,
    /// Whether stdin goes to its terminal.
    pub(crate) feed_terminal: bool,
}

impl Pipes {
    /// What the process gets: our own stream, unless that is the user's terminal, which no container may have.
    pub(crate) fn end<'a>(
        own: BorrowedFd<'a>,
        ours: &mut Option<OwnedFd>,
        theirs: &'a mut Option<OwnedFd>,
        reads: bool,
    ) -> Result<BorrowedFd<'a>> {
        if !own.is_terminal() {
            return Ok(own);
        }
        let (reading, writing) = pipe()?;
        let (inside, outside) = match reads {
            true => (reading, writing),
            false => (writing, reading),
        };
        *ours = Some(outside);
        let theirs: &OwnedFd = theirs.insert(inside);
        Ok(theirs.as_fd())
    }
}
