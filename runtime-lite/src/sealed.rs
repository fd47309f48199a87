//! The shim's program as a file that nobody can write, whoever finds it as some process's `/proc/PID/exe`.
//! `shim` starts every shim from one, because a container's processes are copies of the shim until their exec.
//! It must never hand out the file as it lies on the disk (CVE-2019-5736).

use std::fs::File;
use std::io::{self, copy};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use crate::error::{Error, Result};

/// A program to be started by its descriptor.
pub(crate) struct Sealed(OwnedFd);

impl Sealed {
    /// The program at `path`: seen through a filesystem that can't be written, else copied into sealed memory. `other` is
    /// any other folder.
    ///
    /// # Errors
    /// What the kernel says about the copy, if it makes neither.
    pub(crate) fn of(path: &Path, other: &Path) -> Result<Sealed> {
        overlaid(path, other)
            .or_else(|_| copied(path))
            .map(Sealed)
            .map_err(Error::file("make an unwritable copy of", path))
    }

    /// A path that means it to this process and its children, as long as this value lives.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(by_number(&self.0))
    }
}

fn by_number(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// An overlay without an upper layer has nowhere to write to, also for who may remount it; it shares the page cache of the
/// file below. It is mounted nowhere, and goes with the last process that runs the program.
fn overlaid(path: &Path, other: &Path) -> io::Result<OwnedFd> {
    let place = |path: &Path| {
        openat(
            CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let (above, below) = (place(path.parent().ok_or(Errno::INVAL)?)?, place(other)?);
    let filesystem = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Overlayfs takes no fewer than two layers. By their descriptors they need no escaping.
    let layers = format!("{}:{}", by_number(&above), by_number(&below));
    fsconfig_set_string(filesystem.as_fd(), "lowerdir", layers)?;
    fsconfig_create(filesystem.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(
        filesystem.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?;
    Ok(openat(
        mount,
        name,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// A copy in memory that nobody can change. It costs as much memory as the program is long, once per shim.
fn copied(path: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know MFD_EXEC; later ones may insist on it (sysctl vm.memfd_noexec).
    let memory = match memfd_create("wharf-shim", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create("wharf-shim", flags)?,
        other => other?,
    };
    let mut memory = File::from(memory);
    copy(&mut File::open(path)?, &mut memory)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals)?;
    // Opened anew: what is open for writing, if only by its mode, can't be executed (ETXTBSY).
    let itself = format!("/proc/self/fd/{}", memory.as_raw_fd());
    Ok(File::open(itself)?.into())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::process::Command;

    use super::*;

    /// A program that can be started, and what it says; nobody may be able to write it by its descriptor.
    fn is_sealed(make: impl Fn(&Path, &Path) -> io::Result<OwnedFd>) {
        let dir = tempfile::tempdir().expect("a folder");
        let other = tempfile::tempdir().expect("a folder");
        let program = dir.path().join("a:program");
        std::fs::copy("/bin/echo", &program).expect("a program");
        let sealed = Sealed(make(&program, other.path()).expect("a sealed program"));
        let said = Command::new(sealed.path())
            .arg("yes")
            .output()
            .expect("started");
        assert_eq!(said.stdout, b"yes\n");
        // By now nobody runs it, and the kernel has no other reason (ETXTBSY) to refuse.
        let written = OpenOptions::new()
            .write(true)
            .open(sealed.path())
            .and_then(|mut file| file.write_all(b"bad"));
        assert!(written.is_err());
        assert!(
            OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(sealed.path())
                .is_err()
        );
        let before = std::fs::metadata(&program).expect("the program");
        let mode = PermissionsExt::from_mode(0o777);
        let _ = std::fs::set_permissions(sealed.path(), mode);
        let _ = chown(sealed.path(), Some(1), Some(1));
        let after = std::fs::metadata(&program).expect("the program");
        assert_eq!(before.permissions(), after.permissions());
        let same =
            std::fs::read("/bin/echo").expect("echo") == std::fs::read(&program).expect("read");
        assert!(same, "the program was changed");
    }

    #[test]
    fn a_program_seen_through_an_overlay_cannot_be_written() {
        is_sealed(overlaid);
    }

    #[test]
    fn a_program_copied_into_memory_cannot_be_written() {
        is_sealed(|program, _| copied(program));
    }

    #[test]
    fn what_can_be_neither_is_an_error_that_names_it() {
        let missing = Sealed::of(Path::new("/nowhere/shim"), Path::new("/tmp")).err();
        let words = missing.expect("an error").to_string();
        assert_eq!(words, "make an unwritable copy of /nowhere/shim");
    }
}
