//! The container itself, through libcontainer: make it, let it run, clear away what it leaves in the kernel.
//! `supervise` calls it for a living shim; `wharf-shim delete` when no shim is left.
//! It never waits for the container and never speaks to `wharf`.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcgroups::common::{CgroupConfig, CgroupManager, create_cgroup_manager};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use wharf_protocol::{Failure, Stage, Status, file, process_start};

use crate::Result;
use crate::error::{ShimError, chain};
use crate::payload::{Payload, Verdict};

/// A container that exists and waits for [`Created::start`].
pub(crate) struct Created {
    container: Container,
    verdict: Verdict,
    pid: i32,
}

/// Makes the container whose bundle is the directory `dir`, with `stdio` as its descriptors 0, 1 and 2.
///
/// On failure nothing of it is left but libcontainer's and our files below `dir`.
pub(crate) fn create(dir: &Path, stdio: [OwnedFd; 3]) -> std::result::Result<Created, Failure> {
    let (payload, verdict) = Payload::new().map_err(|cause| Failure {
        stage: Stage::Create,
        reason: format!("make a pipe: {cause}"),
    })?;
    match build(dir, stdio, payload) {
        Ok((container, pid)) => Ok(Created {
            container,
            verdict,
            pid,
        }),
        Err(cause) => {
            // All writers of the pipe are gone with the failed process, so this can't block.
            let told = verdict.wait().ok().flatten();
            Err(told.unwrap_or_else(|| Failure {
                stage: Stage::Create,
                reason: chain(&cause),
            }))
        }
    }
}

fn build(dir: &Path, stdio: [OwnedFd; 3], payload: Payload) -> Result<(Container, i32)> {
    let [stdin, stdout, stderr] = stdio;
    let state = dir.join(file::RUNTIME);
    fs::create_dir_all(&state).map_err(ShimError::file("create", &state))?;
    let refused = |source| ShimError::Container {
        doing: "make the container",
        source: Box::new(source),
    };
    let container = ContainerBuilder::new(container_id(dir), SyscallType::Linux)
        .with_executor(payload)
        .with_stdin(stdin)
        .with_stdout(stdout)
        .with_stderr(stderr)
        .with_root_path(state)
        .map_err(refused)?
        .as_init(dir)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(refused)?;
    let pid = container
        .pid()
        .ok_or(ShimError::OutOfOrder("make a container gave no process"))?;
    Ok((container, pid.as_raw()))
}

impl Created {
    /// The container's first process.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets the command run, and returns once it does.
    pub(crate) fn start(mut self) -> std::result::Result<(), Failure> {
        self.container.start().map_err(|cause| Failure {
            stage: Stage::Start,
            reason: format!("start the container: {}", chain(&cause)),
        })?;
        match self.verdict.wait() {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failure),
            Err(cause) => Err(Failure {
                stage: Stage::Start,
                reason: format!("learn what became of the command: {cause}"),
            }),
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
    remove_cgroups(dir)?;
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
    // The descriptor pins the process before its start time is compared, so no other can take its place.
    let Some(pid) = Pid::from_raw(status.pid) else {
        return;
    };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if process_start(status.pid) == Some(status.pid_start) {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

fn remove_cgroups(dir: &Path) -> Result<()> {
    let Some(path) = cgroups_path(dir) else {
        return Ok(());
    };
    let config = CgroupConfig {
        cgroup_path: path.clone(),
        systemd_cgroup: false,
        container_name: container_id(dir),
    };
    let manager = create_cgroup_manager(config).map_err(|source| ShimError::CgroupSetup {
        path: path.clone(),
        source,
    })?;
    manager.remove().map_err(|source| ShimError::Cgroup {
        path,
        source: Box::new(source),
    })
}

/// The bundle's `linux.cgroupsPath`; `None` if the container never came as far as having a bundle.
fn cgroups_path(dir: &Path) -> Option<PathBuf> {
    let spec = Spec::load(dir.join(file::BUNDLE)).ok()?;
    spec.linux().as_ref()?.cgroups_path().clone()
}

/// A container's directory is named after it.
fn container_id(dir: &Path) -> String {
    dir.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
