//! The socket that is served: the one that the service manager passed, or one of ours at a path.
//! `server` holds it for as long as it runs.
//! It must never unlink a socket that it did not make, nor take the place of a server that is alive.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::ServeError;

/// Owner and group may connect: root, and whom the administrator puts into root's group.
const MODE: u32 = 0o660;

/// The socket; dropping it unlinks the one that we made.
#[derive(Debug)]
pub(crate) struct Listener {
    made: Option<Made>,
}

/// A socket that we made, and its identity, by which we know it from a successor's.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    identity: (u64, u64),
}

impl Listener {
    /// The inherited socket, or a new one at `path` in the place of a stale one.
    pub(crate) fn obtain(path: &Path) -> Result<(Self, UnixListener), ServeError> {
        let refused = |problem: String| ServeError::Socket {
            path: path.display().to_string(),
            problem,
        };
        let inherited = wharfline_kernel::inherited::listener();
        if let Some(socket) = inherited.map_err(|e| refused(e.to_string()))? {
            return Ok((Self { made: None }, socket));
        }
        Self::make(path)
    }

    /// A new socket at `path` in the place of a stale one.
    pub(crate) fn make(path: &Path) -> Result<(Self, UnixListener), ServeError> {
        let refused = |problem: String| ServeError::Socket {
            path: path.display().to_string(),
            problem,
        };
        clear(path).map_err(refused)?;
        let (made, socket) = make(path).map_err(|e| refused(format!("make it: {e}")))?;
        Ok((Self { made: Some(made) }, socket))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(made) = &self.made else { return };
        if identity(&made.path) == Some(made.identity)
            && let Err(e) = fs::remove_file(&made.path)
        {
            tracing::warn!("unlink {}: {e}", made.path.display());
        }
    }
}

/// Whether a socket can be made at `path`: nobody listens there, and what is there is a socket.
fn clear(path: &Path) -> Result<(), String> {
    let Ok(there) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !there.file_type().is_socket() {
        return Err("something else than a socket is there".to_owned());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("another server listens on it".to_owned()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(e) => Err(format!("see who listens on it: {e}")),
    }
}

/// Makes it under another name: under its own it is never open to more than [`MODE`] says.
fn make(path: &Path) -> io::Result<(Made, UnixListener)> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let socket = UnixListener::bind(&temporary)?;
    let placed = fs::set_permissions(&temporary, fs::Permissions::from_mode(MODE))
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(e) = placed {
        let _ = fs::remove_file(&temporary);
        return Err(e);
    }
    let identity = identity(path).ok_or(io::ErrorKind::NotFound)?;
    let path = path.to_owned();
    Ok((Made { path, identity }, socket))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_for_owner_and_group_and_goes_with_us() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("plugins/a.sock");
        let (listener, _socket) = Listener::obtain(&path).expect("made");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_one_is_replaced_a_living_one_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.sock");
        // What a server that was killed leaves.
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        let (_listener, _socket) = Listener::obtain(&path).expect("replaced");
        let error = Listener::obtain(&path).expect_err("refused");
        assert!(error.to_string().contains("another server"), "{error}");
    }

    #[test]
    fn a_file_is_left_alone_and_so_is_a_successor() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.sock");
        fs::write(&path, "precious").expect("written");
        assert!(Listener::obtain(&path).is_err());
        fs::remove_file(&path).expect("removed");
        let (listener, _socket) = Listener::obtain(&path).expect("made");
        fs::remove_file(&path).expect("removed");
        let _successor = UnixListener::bind(&path).expect("bound");
        drop(listener);
        assert!(path.exists());
    }
}
