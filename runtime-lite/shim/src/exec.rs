//! A further process in a running container, made by a short-lived process of its own: `wharf-shim exec DIR`.
//! The shim starts it with a socket as stdin, and inherits the process when this one ends.
//! It must give the process no more than the container has: the same namespaces, groups, filter and bounding set.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::syscall::syscall::SyscallType;
use rustix::fs::MemfdFlags;
use serde_json::Value;
use wharf_protocol::{Channel, Failure, Report, Request, Stage, file};

use crate::Result;
use crate::error::{ShimError, chain};
use crate::payload::{Confinement, Payload};
use crate::program;
use crate::runtime::{Stdio, container_id, orders, refused, with_stdio};

/// Makes the one process that is asked for on stdin's socket, says its id (and sends its terminal), and ends.
pub(crate) fn serve(dir: &Path) -> Result<()> {
    let channel = Channel::from_stdin()?;
    let Some((Request::Exec { process }, descriptors)) = channel.receive::<Request>()? else {
        return Err(ShimError::OutOfOrder("exec"));
    };
    match make(dir, process, descriptors) {
        Ok((pid, terminal)) => {
            let sent: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
            Ok(channel.send(&Report::Created { pid }, &sent)?)
        }
        Err(failure) => Ok(channel.send(&Report::Failed(failure), &[])?),
    }
}

type Outcome = std::result::Result<(i32, Option<OwnedFd>), Failure>;

fn make(dir: &Path, process: Value, descriptors: Vec<OwnedFd>) -> Outcome {
    let failed = |cause: ShimError| Failure {
        stage: Stage::Exec,
        reason: chain(&cause),
    };
    let stdio = match descriptors.try_into() {
        Ok(given) => Stdio::Given(given),
        Err(_) => Stdio::Terminal,
    };
    if let Some(program) = orders(dir).runtime {
        let document = document(&process).map_err(failed)?;
        return program::exec(&program, dir, &document.1, stdio);
    }
    let (payload, verdict) = Payload::new()
        .map_err(ShimError::file("make a pipe for", dir))
        .map_err(failed)?;
    let made = build(dir, process, stdio, payload);
    // The pipe's writers are gone: with the failed process, or at its exec.
    match (made, verdict.wait()) {
        (_, Ok(Some(failure))) => Err(failure),
        (Ok(made), _) => Ok(made),
        (Err(cause), _) => Err(failed(cause)),
    }
}

fn build(
    dir: &Path,
    mut process: Value,
    stdio: Stdio,
    payload: Payload,
) -> Result<(i32, Option<OwnedFd>)> {
    let doing = "run a process in the container";
    let spec = Spec::load(dir.join(file::BUNDLE)).map_err(|cause| refused(doing)(cause.into()))?;
    let linux = spec.linux().as_ref();
    let asked: Process = serde_json::from_value(process.clone())
        .map_err(|cause| ShimError::file("read the process for", dir)(cause.into()))?;
    let confinement = Confinement {
        filter: linux.and_then(|linux| linux.seccomp().clone()),
        capabilities: asked.capabilities().clone(),
    };
    if let Some(fields) = process.as_object_mut() {
        fields.remove("capabilities");
    }
    let document = document(&process)?;
    let builder = ContainerBuilder::new(container_id(dir), SyscallType::Linux)
        .with_executor(payload.confined(confinement))
        .with_root_path(dir.join(file::RUNTIME))
        .map_err(refused(doing))?;
    let (builder, console) = with_stdio(builder, dir, stdio)?;
    let pid = builder
        .as_tenant()
        .with_detach(true)
        .with_process(Some(document.1))
        .build()
        .map_err(refused(doing))?;
    let terminal = console.map(|console| console.terminal()).transpose()?;
    Ok((pid.as_raw(), terminal))
}

/// The process as a file without a name, and the path that it has all the same.
fn document(process: &Value) -> Result<(fs::File, PathBuf)> {
    let failed = || ShimError::file("write the process to", "memory");
    let memory = rustix::fs::memfd_create("process", MemfdFlags::CLOEXEC)
        .map_err(|errno| failed()(errno.into()))?;
    let mut memory = fs::File::from(memory);
    memory
        .write_all(process.to_string().as_bytes())
        .map_err(failed())?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    Ok((memory, PathBuf::from(path)))
}
