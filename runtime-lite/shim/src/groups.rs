//! The container's control groups: limits changed while it runs, groups removed when it has ended, with their parent.
//! `runtime` makes containers under [`Making`] and has their groups removed; `wharf-shim limit` is `wharf update`'s hand.
//! It must never remove a parent while a container is being made below it.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libcgroups::common::{
    AnyCgroupManager, CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager,
};
use libcontainer::oci_spec::runtime::Spec;
use rustix::fs::{FlockOperation, flock};
use wharf_protocol::file;

use crate::Result;
use crate::error::ShimError;
use crate::runtime::{container_id, refused};

/// Where hosts mount them: one hierarchy of version 2, or a folder of those of version 1.
const MOUNTED: &str = "/sys/fs/cgroup";
/// How long killed processes may take to leave their groups.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container is being made: parents stay. Many can be made at a time.
pub(crate) struct Making(OwnedFd);

impl Making {
    pub(crate) fn begin() -> Result<Making> {
        let lock = open()?;
        flock(&lock, FlockOperation::LockShared)
            .map_err(|errno| ShimError::file("lock", MOUNTED)(errno.into()))?;
        Ok(Making(lock))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // Said aloud: the container's process has a copy of the descriptor until its exec.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn open() -> Result<OwnedFd> {
    let opened = File::open(MOUNTED).map_err(ShimError::file("open", MOUNTED))?;
    Ok(opened.into())
}

/// Removes the container's groups, and their parent if it was the last. What is gone already is as wanted.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    let Some(path) = path_of(dir) else {
        return Ok(());
    };
    let manager = manager(dir, &path)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match manager.remove() {
            Ok(()) => return remove_parent(&path),
            // It kills what is left and waits for its end, for a tenth of a second: on a busy host that takes longer.
            Err(_) if Instant::now() < end => {}
            Err(source) => {
                return Err(ShimError::Cgroup {
                    doing: "remove",
                    path,
                    source: Box::new(source),
                });
            }
        }
    }
}

/// Whoever finds it in use, or a container being made, leaves it to the last of them.
fn remove_parent(path: &Path) -> Result<()> {
    let parent = path
        .parent()
        .and_then(|parent| parent.strip_prefix("/").ok());
    let Some(parent) = parent.filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let lock = open()?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let mounted = Path::new(MOUNTED);
    let mut parents = vec![mounted.join(parent)];
    // In version 2 what is there are groups, in which nothing is ours.
    if !mounted.join("cgroup.controllers").exists() {
        let hierarchies = fs::read_dir(mounted).into_iter().flatten().flatten();
        parents.extend(hierarchies.map(|entry| entry.path().join(parent)));
    }
    for folder in parents {
        // Not there, or with groups in it.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Makes the running container's control groups what its bundle says now, but for its devices, which do not change.
pub(crate) fn limit(dir: &Path) -> Result<()> {
    let spec = Spec::load(dir.join(file::BUNDLE))
        .map_err(|cause| refused("read the bundle")(cause.into()))?;
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone());
    let (Some(path), Some(mut resources)) = (path_of(dir), resources) else {
        return Ok(());
    };
    resources.set_devices(None);
    let wanted = ControllerOpt {
        resources: &resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    manager(dir, &path)?
        .apply(&wanted)
        .map_err(|source| ShimError::Cgroup {
            doing: "set the limits of",
            path,
            source: Box::new(source),
        })
}

fn manager(dir: &Path, path: &Path) -> Result<AnyCgroupManager> {
    let config = CgroupConfig {
        cgroup_path: path.to_owned(),
        systemd_cgroup: false,
        container_name: container_id(dir),
    };
    create_cgroup_manager(config).map_err(|source| ShimError::CgroupSetup {
        path: path.to_owned(),
        source,
    })
}

/// The bundle's `linux.cgroupsPath`; `None` if the container never came as far as having a bundle.
fn path_of(dir: &Path) -> Option<PathBuf> {
    let spec = Spec::load(dir.join(file::BUNDLE)).ok()?;
    spec.linux().as_ref()?.cgroups_path().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parents, wherever one can be made.
    fn parents(name: &str) -> Vec<PathBuf> {
        let mounted = Path::new(MOUNTED);
        let hierarchies = fs::read_dir(mounted).expect("control groups").flatten();
        let hierarchies = hierarchies.map(|entry| entry.path());
        let folders = match mounted.join("cgroup.controllers").exists() {
            true => vec![mounted.to_owned()],
            false => hierarchies.filter(|path| path.is_dir()).collect(),
        };
        folders
            .into_iter()
            .map(|folder| folder.join(name))
            .collect()
    }

    #[test]
    fn a_parent_goes_with_its_last_container_but_not_while_one_is_made() {
        let name = format!("wharf-test-{}", std::process::id());
        let path = PathBuf::from(format!("/{name}/container"));
        let parents = parents(&name);
        for parent in &parents {
            fs::create_dir_all(parent.join("container")).expect("a group");
        }
        let stand = || parents.iter().filter(|parent| parent.exists()).count();
        remove_parent(&path).expect("in use");
        assert_eq!(stand(), parents.len());
        for parent in &parents {
            fs::remove_dir(parent.join("container")).expect("removed");
        }
        let making = Making::begin().expect("a lock");
        remove_parent(&path).expect("left to others");
        assert_eq!(stand(), parents.len());
        drop(making);
        // Tests beside this one make containers, too.
        let deadline = Instant::now() + Duration::from_secs(20);
        while stand() > 0 && Instant::now() < deadline {
            remove_parent(&path).expect("removed");
        }
        assert_eq!(stand(), 0);
    }
}
