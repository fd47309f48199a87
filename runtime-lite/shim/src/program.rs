//! Another OCI runtime at the same seam: runc, crun or any other with their command line, on the same bundle.
//! `runtime` and `exec` call it for a container that was made with `--runtime`.
//! It must never be given anything but the bundle: what it makes of it is its own.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio as Redirect};

use wharf_protocol::{Failure, Stage, file};

use crate::console::Console;
use crate::error::chain;
use crate::runtime::{Stdio, container_id};

type Outcome<T> = std::result::Result<T, Failure>;

/// `create`: the first process's id, and its terminal.
pub(crate) fn create(program: &Path, dir: &Path, stdio: Stdio) -> Outcome<(i32, Option<OwnedFd>)> {
    let mut command = command(program, dir);
    command.arg("create").arg("--bundle").arg(dir);
    made(command, dir, stdio, Stage::Create)
}

/// `exec`: a further process, from an OCI `process` document in a file.
pub(crate) fn exec(
    program: &Path,
    dir: &Path,
    process: &Path,
    stdio: Stdio,
) -> Outcome<(i32, Option<OwnedFd>)> {
    let mut command = command(program, dir);
    command.args(["exec", "--detach", "--process"]).arg(process);
    made(command, dir, stdio, Stage::Exec)
}

/// `start`.
pub(crate) fn start(program: &Path, dir: &Path) -> Outcome<()> {
    let mut command = command(program, dir);
    command.arg("start").arg(container_id(dir));
    run(command, dir, Stage::Start)
}

/// `delete --force`: what can't be deleted was not there.
pub(crate) fn delete(program: &Path, dir: &Path) {
    let mut command = command(program, dir);
    command.args(["delete", "--force"]).arg(container_id(dir));
    command.stdout(Redirect::null()).stderr(Redirect::null());
    let _ = command.stdin(Redirect::null()).status();
}

fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--root").arg(dir.join(file::RUNTIME));
    command.arg("--log").arg(log(dir));
    command
}

/// Where the runtime complains: its stderr is the container's.
fn log(dir: &Path) -> std::path::PathBuf {
    dir.join(format!("runtime.log.{}", std::process::id()))
}

/// Runs a `create` or `exec`, with a file for the process's id and a socket for its terminal.
fn made(
    mut command: Command,
    dir: &Path,
    stdio: Stdio,
    stage: Stage,
) -> Outcome<(i32, Option<OwnedFd>)> {
    let failed = |reason: String| Failure { stage, reason };
    let pid_file = dir.join(format!("pid.{}", std::process::id()));
    command.arg("--pid-file").arg(&pid_file);
    let console = match stdio {
        Stdio::Given([stdin, stdout, stderr]) => {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
            None
        }
        Stdio::Terminal => {
            let console = Console::open(dir).map_err(|cause| failed(chain(&cause)))?;
            command.arg("--console-socket").arg(console.path());
            command.stdin(Redirect::null()).stdout(Redirect::null());
            Some(console)
        }
    };
    command.arg(container_id(dir));
    let ran = run(command, dir, stage);
    let pid = fs::read_to_string(&pid_file);
    let _ = fs::remove_file(&pid_file);
    ran?;
    let pid = pid.map_err(|cause| failed(format!("read {}: {cause}", pid_file.display())))?;
    let pid = pid
        .trim()
        .parse()
        .map_err(|_| failed(format!("{pid:?} is no process id")))?;
    let terminal = console.map(|console| console.terminal()).transpose();
    Ok((pid, terminal.map_err(|cause| failed(chain(&cause)))?))
}

fn run(mut command: Command, dir: &Path, stage: Stage) -> Outcome<()> {
    let name = command.get_program().to_owned();
    let status = command.status();
    let path = log(dir);
    let mut complaint = String::new();
    if let Ok(mut file) = fs::File::open(&path) {
        let _ = file.read_to_string(&mut complaint);
    }
    let _ = fs::remove_file(&path);
    let complaint = complaint.trim();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure {
            stage: verdict(complaint).unwrap_or(stage),
            reason: format!("{} ({status}): {complaint}", name.display()),
        }),
        Err(cause) => Err(Failure {
            stage,
            reason: format!("start {}: {cause}", name.display()),
        }),
    }
}

/// Whether it is the command's fault, as far as the runtime's words tell: they have no other sign for it.
fn verdict(complaint: &str) -> Option<Stage> {
    let says = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    let about_command = says(&["exec", "executable file"]);
    if about_command && says(&["not found", "no such file", "No such file"]) {
        Some(Stage::CommandNotFound)
    } else if about_command && says(&["permission denied", "Permission denied"]) {
        Some(Stage::CommandNotExecutable)
    } else {
        None
    }
}
