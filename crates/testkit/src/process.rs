//! Processes with a deadline: run one to its end, or keep one beside the test until it is dropped.
//!
//! Called by everything in this crate that starts a program. It must never leave a process behind.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::wait::patience;

/// Longer than any program here may run; a hang becomes a failure with a name.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a finished process left.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it ended by itself with code 0.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Whether SIGKILL ended it.
    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(nix::libc::SIGKILL)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; stdout: {}; stderr: {}",
            self.status,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

/// Runs `command` to its end with `stdin` to read.
///
/// # Panics
///
/// If it can't be started, or does not end in time (it is killed then).
#[track_caller]
pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Output {
    let child = spawn_piped(&mut command);
    let pid = child.id();
    let (ended, end) = mpsc::channel();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            if end.recv_timeout(patience(DEADLINE)).is_err() {
                kill(pid);
            }
        });
        let output = finish(child, stdin);
        // The watcher may have given up already; then the status says "killed".
        let _ = ended.send(());
        output
    });
    assert!(
        !output.was_killed(),
        "{command:?} did not end within {DEADLINE:?}: {output}"
    );
    output
}

/// Starts `command` with all three standard streams on pipes.
#[track_caller]
pub(crate) fn spawn_piped(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("start {command:?}: {e}"))
}

/// Feeds a started process, reads both its outputs at the same time, and waits for its end.
pub(crate) fn finish(mut child: Child, stdin: &[u8]) -> Output {
    let streams = Streams::of(&mut child);
    let (stdout, stderr) = streams.drain(stdin);
    let status = child.wait().expect("wait for a child");
    Output {
        status,
        stdout,
        stderr,
    }
}

/// Our ends of a child's three pipes.
pub(crate) struct Streams {
    stdin: std::process::ChildStdin,
    stdout: std::process::ChildStdout,
    stderr: std::process::ChildStderr,
}

impl Streams {
    /// Takes them from a child that [`spawn_piped`] started.
    pub(crate) fn of(child: &mut Child) -> Streams {
        Streams {
            stdin: child.stdin.take().expect("a piped stdin"),
            stdout: child.stdout.take().expect("a piped stdout"),
            stderr: child.stderr.take().expect("a piped stderr"),
        }
    }

    /// Writes all of `input`, reads both outputs to their ends, and returns them.
    pub(crate) fn drain(self, input: &[u8]) -> (String, String) {
        let Streams {
            mut stdin,
            mut stdout,
            mut stderr,
        } = self;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // A process that refuses its input closes the pipe early; that is for its exit code to tell.
                let _ = stdin.write_all(input);
            });
            let errors = scope.spawn(move || text_of(&mut stderr));
            let output = text_of(&mut stdout);
            (output, errors.join().expect("read standard error"))
        })
    }
}

fn text_of(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // A stream that breaks off (its process was killed) still gave what it gave.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends SIGKILL; a process that is gone already is what was wanted.
pub(crate) fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

/// A process that runs beside the test (a daemon, a workload) and ends with this value.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`. Its output goes where the command says, nowhere by default.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    #[track_caller]
    pub fn start(command: Command) -> Process {
        Process::start_with(command, Stdio::null())
    }

    /// Starts `command` with something of the caller's as its standard input.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    #[track_caller]
    pub fn start_with(mut command: Command, stdin: Stdio) -> Process {
        let child = command
            .stdin(stdin)
            .spawn()
            .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        Process { child }
    }

    /// Its process id in the test's own process namespace.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(self.child.id());
        let _ = self.child.wait();
    }
}
