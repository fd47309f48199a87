//! The console socket: how an OCI runtime hands over the terminal that it made inside a container.
//! `runtime`, `program` and `exec` open one beside the container's files, for as long as a process is being made.
//! It must never wait: whoever asks for the terminal knows that it has been sent.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::Result;
use crate::error::ShimError;

/// A listening console socket; its file goes with it.
pub(crate) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    pub(crate) fn open(dir: &Path) -> Result<Console> {
        let name = format!("console.{}", std::process::id());
        let path = dir.join(&name);
        let failed = || ShimError::file("make the console socket", &path);
        let _ = fs::remove_file(&path);
        // An address has 108 bytes at most (unix(7)): the folder is named by a descriptor.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| failed()(errno.into()))?;
        let address = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
        let listener = UnixListener::bind(address).map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        Ok(Console { listener, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal's master, which has been sent by now.
    pub(crate) fn terminal(&self) -> Result<OwnedFd> {
        let failed = || ShimError::file("take the terminal from", &self.path);
        let (socket, _) = self.listener.accept().map_err(failed())?;
        let mut name = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut name)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        rustix::net::recvmsg(&socket, &mut parts, &mut ancillary, flags)
            .map_err(|errno| failed()(errno.into()))?;
        let mut sent = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        sent.next()
            .and_then(|mut descriptors| descriptors.next())
            .ok_or(ShimError::OutOfOrder("make a terminal gave none"))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
