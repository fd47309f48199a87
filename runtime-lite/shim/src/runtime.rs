//! The container itself, through libcontainer: make it, let it run, clear away what it leaves in the kernel.
//! `supervise` calls it for a living shim; `wharf-shim delete` when no shim is left.
//! It never waits for the container and never speaks to `wharf`.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use wharf_protocol::{Failure, Orders, Stage, Status, file};

use crate::Result;
use crate::console::Console;
use crate::error::{ShimError, chain};
use crate::groups;
use crate::payload::{Payload, Verdict};
use crate::program;

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// A container that exists and waits for [`Created::start`].
pub(crate) struct Created {
    kind: Kind,
    /// The container's first process.
    pub(crate) pid: i32,
    /// The terminal's master, if it has one.
    pub(crate) terminal: Option<OwnedFd>,
}

enum Kind {
    Library(Box<Container>, Verdict),
    Program(PathBuf),
}

/// What a container's first process gets as its descriptors 0, 1 and 2.
pub(crate) enum Stdio {
    Given([OwnedFd; 3]),
    Terminal,
}

/// Makes the container whose bundle is the directory `dir`, with libcontainer or with another OCI runtime.
///
/// On failure nothing of it is left but libcontainer's and our files below `dir`.
pub(crate) fn create(
    dir: &Path,
    stdio: Stdio,
    program: Option<&Path>,
) -> std::result::Result<Created, Failure> {
    let failed = |reason| Failure {
        stage: Stage::Create,
        reason,
    };
    let _making = groups::Making::begin().map_err(|cause| failed(chain(&cause)))?;
    if let Some(program) = program {
        let (pid, terminal) = program::create(program, dir, stdio)?;
        return Ok(Created {
            kind: Kind::Program(program.to_owned()),
            pid,
            terminal,
        });
    }
    let (payload, verdict) =
        Payload::new().map_err(|cause| failed(format!("make a pipe: {cause}")))?;
    let before = fs::read(OOM_SCORE_ADJ);
    let built = build(dir, stdio, payload);
    // libcontainer hides this process and gives it the container's score, for the container's, which is a copy of it, to
    // inherit; and leaves it so. To show it again can't fail (prctl(2)).
    let _ = nix::sys::prctl::set_dumpable(true);
    if let Ok(before) = before {
        // What it had it may have again: the kernel refuses to go lower only (oom_score_adj_min).
        let _ = fs::write(OOM_SCORE_ADJ, before);
    }
    match built {
        Ok((container, pid, terminal)) => Ok(Created {
            kind: Kind::Library(Box::new(container), verdict),
            pid,
            terminal,
        }),
        Err(cause) => {
            // All writers of the pipe are gone with the failed process, so this can't block.
            let told = verdict.wait().ok().flatten();
            Err(told.unwrap_or_else(|| failed(chain(&cause))))
        }
    }
}

/// libcontainer's reason as ours.
pub(crate) fn refused(doing: &'static str) -> impl FnOnce(LibcontainerError) -> ShimError {
    move |source| ShimError::Container {
        doing,
        source: Box::new(source),
    }
}

fn build(dir: &Path, stdio: Stdio, payload: Payload) -> Result<(Container, i32, Option<OwnedFd>)> {
    let doing = "make the container";
    let state = dir.join(file::RUNTIME);
    fs::create_dir_all(&state).map_err(ShimError::file("create", &state))?;
    let builder = ContainerBuilder::new(container_id(dir), SyscallType::Linux)
        .with_executor(payload)
        .with_root_path(state)
        .map_err(refused(doing))?;
    let (builder, console) = with_stdio(builder, dir, stdio)?;
    let container = builder
        .as_init(dir)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(refused(doing))?;
    let pid = container
        .pid()
        .ok_or(ShimError::OutOfOrder("make a container gave no process"))?;
    let terminal = console.map(|console| console.terminal()).transpose()?;
    Ok((container, pid.as_raw(), terminal))
}

/// Tells libcontainer what the process gets as stdin, stdout and stderr.
pub(crate) fn with_stdio(
    builder: ContainerBuilder,
    dir: &Path,
    stdio: Stdio,
) -> Result<(ContainerBuilder, Option<Console>)> {
    match stdio {
        Stdio::Given([stdin, stdout, stderr]) => {
            let builder = builder.with_stdin(stdin);
            Ok((builder.with_stdout(stdout).with_stderr(stderr), None))
        }
        Stdio::Terminal => {
            let console = Console::open(dir)?;
            let path = console.path().to_owned();
            Ok((builder.with_console_socket(Some(path)), Some(console)))
        }
    }
}

impl Created {
    /// Lets the command run, and returns once it does.
    pub(crate) fn start(self, dir: &Path) -> std::result::Result<(), Failure> {
        let failed = |reason| Failure {
            stage: Stage::Start,
            reason,
        };
        let (mut container, verdict) = match self.kind {
            Kind::Program(program) => return program::start(&program, dir),
            Kind::Library(container, verdict) => (container, verdict),
        };
        container
            .start()
            .map_err(|cause| failed(format!("start the container: {}", chain(&cause))))?;
        match verdict.wait() {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failure),
            Err(cause) => Err(failed(format!("learn what became of the command: {cause}"))),
        }
    }
}

/// Ends every process of the container in `dir` and removes its control groups and libcontainer's files.
///
/// Works at any stage of the container's life, also half-made and with no shim left; a second call does nothing.
pub(crate) fn delete(dir: &Path) -> Result<()> {
    if let Ok(Some(status)) = Status::read(dir) {
        kill_process(&status);
    }
    if let Some(program) = orders(dir).runtime {
        program::delete(&program, dir);
    }
    groups::remove(dir)?;
    let state = dir.join(file::RUNTIME);
    match fs::remove_dir_all(&state) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(ShimError::file("remove", state)(cause))
        }
        _ => Ok(()),
    }
}

/// Kills the container's first process, and with it its whole pid namespace (pid_namespaces(7)).
fn kill_process(status: &Status) {
    // The descriptor pins the process before its boot and start time are compared, so no other can take its place.
    let Some(pid) = Pid::from_raw(status.pid) else {
        return;
    };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if status.process_lives() {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

/// The part of `container.json` that is ours to obey; nothing if it can't be read any more.
pub(crate) fn orders(dir: &Path) -> Orders {
    let text = fs::read(dir.join(file::CONTAINER)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// A container's directory is named after it.
pub(crate) fn container_id(dir: &Path) -> String {
    dir.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
