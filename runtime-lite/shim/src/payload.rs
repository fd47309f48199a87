//! The last step inside the container: find the user's command and become it.
//! libcontainer calls it in the container's first process; what fails is told to the shim over a pipe.
//! It must leave nothing of the shim behind in the new program: no blocked signal, no ignored SIGPIPE.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libcontainer::capabilities::drop_privileges;
use libcontainer::oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Spec};
use libcontainer::seccomp::initialize_seccomp;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::sys::signal::SigSet;
use rustix::termios::{Winsize, tcsetwinsize};
use signal_hook::consts::FORBIDDEN;
use signal_hook::flag;
use wharf_protocol::{Failure, Stage};

/// Runs the bundle's `process.args`, and says over a pipe why it could not.
///
/// The pipe's writing end closes at a successful exec, so the shim knows the very moment.
#[derive(Clone)]
pub(crate) struct Payload {
    verdict: Rc<PipeWriter>,
    confinement: Option<Rc<Confinement>>,
}

/// What libcontainer leaves to do for a further process: it knows neither the container's filter there, nor how to load
/// one after it has given up its privileges. So it is told of no capabilities, and both are done here, in this order.
pub(crate) struct Confinement {
    pub(crate) filter: Option<LinuxSeccomp>,
    pub(crate) capabilities: Option<LinuxCapabilities>,
}

impl Confinement {
    fn apply(&self) -> Result<(), ExecutorError> {
        let refused = |doing: &str, cause: &dyn std::error::Error| {
            ExecutorError::Other(format!("{doing}: {cause}"))
        };
        if let Some(filter) = &self.filter {
            initialize_seccomp(filter)
                .map_err(|cause| refused("load the system call filter", &cause))?;
        }
        if let Some(capabilities) = &self.capabilities {
            drop_privileges(capabilities, create_syscall().as_ref())
                .map_err(|cause| refused("give up capabilities", &cause))?;
        }
        Ok(())
    }
}

/// Where the shim learns what became of the command.
pub(crate) struct Verdict(PipeReader);

const NOT_FOUND: u8 = b'n';
const NOT_EXECUTABLE: u8 = b'x';

impl Payload {
    pub(crate) fn new() -> io::Result<(Payload, Verdict)> {
        let (reader, writer) = io::pipe()?;
        let payload = Payload {
            verdict: Rc::new(writer),
            confinement: None,
        };
        Ok((payload, Verdict(reader)))
    }

    /// The same for a further process.
    pub(crate) fn confined(self, confinement: Confinement) -> Payload {
        Payload {
            confinement: Some(Rc::new(confinement)),
            ..self
        }
    }

    fn tell(&self, verdict: u8, reason: &str) {
        let words = [&[verdict], reason.as_bytes()].concat();
        // If the shim is gone nobody wants to know.
        let _ = (&*self.verdict).write_all(&words);
    }
}

impl Verdict {
    /// Waits until the command runs (`None`) or is known not to.
    pub(crate) fn wait(mut self) -> io::Result<Option<Failure>> {
        let mut words = Vec::new();
        self.0.read_to_end(&mut words)?;
        Ok(words.split_first().map(|(verdict, reason)| Failure {
            stage: match *verdict {
                NOT_FOUND => Stage::CommandNotFound,
                _ => Stage::CommandNotExecutable,
            },
            reason: String::from_utf8_lossy(reason).into_owned(),
        }))
    }
}

impl Executor for Payload {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let refuse = |reason| Err(ExecutorValidationError::ArgValidationError(reason));
        let Some((command, _)) = command_line(spec) else {
            return refuse("the bundle names no command".to_owned());
        };
        let (verdict, reason) = match find(command, search_path(spec)) {
            Found::Executable => return Ok(()),
            Found::NotExecutable(path) => {
                let reason = format!("{} is not executable", path.display());
                (NOT_EXECUTABLE, reason)
            }
            Found::Nothing => {
                let reason = format!("there is no command {command} in the container");
                (NOT_FOUND, reason)
            }
        };
        self.tell(verdict, &reason);
        refuse(reason)
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (command, arguments) = command_line(spec).ok_or(ExecutorError::InvalidArg)?;
        // The shim blocks the signals that it reads from its signalfd, and a blocked mask survives exec.
        SigSet::empty()
            .thread_set_mask()
            .map_err(|errno| ExecutorError::Other(format!("unblock signals: {errno}")))?;
        forget_ignored_signals();
        make_null_writable();
        set_terminal_size(spec);
        if let Some(confinement) = &self.confinement
            && let Err(cause) = confinement.apply()
        {
            self.tell(NOT_EXECUTABLE, &cause.to_string());
            return Err(cause);
        }
        // std's exec puts SIGPIPE back to its default, which Rust's start-up code had ignored.
        let cause = Command::new(command).args(arguments).exec();
        let reason = format!("execute {command}: {cause}");
        // A script whose interpreter is missing is "not found" as well, to the kernel and to a shell.
        let verdict = match cause.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        self.tell(verdict, &reason);
        Err(ExecutorError::Other(reason))
    }
}

/// Whoever started `wharf` may have had it ignore signals (nohup, a shell's background jobs), which exec would pass on:
/// the container could not even catch them. A signal that is *caught* is put back to its default by exec (signal(7)).
fn forget_ignored_signals() {
    let caught = Arc::new(AtomicBool::new(false));
    for number in 1..32 {
        if !FORBIDDEN.contains(&number) {
            // One that can't be caught can't be ignored either.
            let _ = flag::register(number, Arc::clone(&caught));
        }
    }
}

/// libcontainer puts the container's /dev/null in the place of the host's among stdin, stdout and stderr, but opens it for
/// reading only: what writes to it would fail with EBADF.
fn make_null_writable() {
    let Ok(null) = File::options().read(true).write(true).open("/dev/null") else {
        return;
    };
    let is_null = |end: BorrowedFd<'_>| {
        let (end, null) = (rustix::fs::fstat(end), rustix::fs::fstat(&null));
        matches!((end, null), (Ok(end), Ok(null)) if end.st_rdev == null.st_rdev && end.st_rdev != 0)
    };
    // What can't be replaced stays as libcontainer left it.
    if is_null(io::stdout().as_fd()) {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    if is_null(io::stderr().as_fd()) {
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// The size that the user's terminal has, before the command can ask for it.
fn set_terminal_size(spec: &Spec) {
    let process = spec.process().as_ref();
    let size = process.and_then(|process| process.console_size());
    if let Some(size) = size {
        let cells = |count: u64| u16::try_from(count).unwrap_or(0);
        let size = Winsize {
            ws_row: cells(size.height()),
            ws_col: cells(size.width()),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // A process without a terminal needs no size.
        let _ = tcsetwinsize(io::stdin(), size);
    }
}

fn command_line(spec: &Spec) -> Option<(&str, &[String])> {
    let words = spec.process().as_ref()?.args().as_ref()?;
    let (command, arguments) = words.split_first()?;
    Some((command, arguments))
}

fn search_path(spec: &Spec) -> &str {
    spec.process()
        .as_ref()
        .and_then(|process| process.env().as_ref())
        .and_then(|variables| variables.iter().find_map(|v| v.strip_prefix("PATH=")))
        .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Executable,
    NotExecutable(PathBuf),
    Nothing,
}

/// The rule of execvp(3): a word with a slash is a path, any other is looked for in PATH, where a file that
/// may not be executed does not end the search.
fn find(command: &str, search_path: &str) -> Found {
    if command.contains('/') {
        return look_at(Path::new(command));
    }
    let mut best = Found::Nothing;
    for dir in std::env::split_paths(OsStr::new(search_path)) {
        match look_at(&dir.join(command)) {
            Found::Executable => return Found::Executable,
            Found::NotExecutable(path) => best = Found::NotExecutable(path),
            Found::Nothing => {}
        }
    }
    best
}

fn look_at(path: &Path) -> Found {
    match path.metadata() {
        Err(_) => Found::Nothing,
        Ok(about) if about.is_file() && about.permissions().mode() & 0o111 != 0 => {
            Found::Executable
        }
        Ok(_) => Found::NotExecutable(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_by_path_or_in_the_search_path() {
        assert_eq!(find("/bin/sh", ""), Found::Executable);
        assert_eq!(find("sh", "/nowhere:/bin"), Found::Executable);
        assert_eq!(find("sh", "/nowhere"), Found::Nothing);
        assert_eq!(find("/nowhere/sh", "/bin"), Found::Nothing);
    }

    #[test]
    fn a_directory_or_a_plain_file_is_not_executable() {
        let path = PathBuf::from("/etc/passwd");
        assert_eq!(find("/etc/passwd", ""), Found::NotExecutable(path.clone()));
        assert_eq!(find("passwd", "/etc:/nowhere"), Found::NotExecutable(path));
        let dir = PathBuf::from("/etc");
        assert_eq!(find("/etc", ""), Found::NotExecutable(dir));
    }

    #[test]
    fn the_verdict_is_none_when_the_writer_goes_away_silently() {
        let (payload, verdict) = Payload::new().expect("a pipe");
        drop(payload);
        assert_eq!(verdict.wait().expect("read"), None);
    }

    #[test]
    fn the_verdict_says_which_way_the_command_failed() {
        let (payload, verdict) = Payload::new().expect("a pipe");
        payload.tell(NOT_FOUND, "no");
        drop(payload);
        let failure = verdict.wait().expect("read").expect("a failure");
        assert_eq!(failure.stage, Stage::CommandNotFound);
        assert_eq!(failure.reason, "no");
    }
}
