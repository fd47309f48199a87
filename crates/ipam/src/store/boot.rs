//! Which boot of the machine the leases of a network are from.
//! Used by the store at the first use in a new boot, and for every new lease.
//! Must never put a file into a lease directory, and never conclude anything from a clock alone.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

/// The file `<dataDir>/.wharfline/<network>.boot`: the boot id, and on a second line the time of the
/// last write of the boot before. The file's own time of change is that of our last write in its boot.
#[derive(Debug)]
pub(super) struct BootFile {
    path: PathBuf,
}

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BootMark {
    /// The boot that it is of.
    pub(super) boot: String,
    /// Leases written up to this time are of an earlier boot; `None` when we were not there then.
    pub(super) earlier: Option<SystemTime>,
    /// Our last write in the boot that the file is of.
    pub(super) last_write: SystemTime,
}

/// The kernel's id of the present boot; `None` where /proc is not mounted (random(4)).
pub(super) fn current(path: &Path) -> Option<String> {
    let mut text = [0; 64];
    let length = fs::File::open(path).ok()?.read(&mut text).ok()?;
    let id = str::from_utf8(&text[..length]).ok()?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

impl BootFile {
    /// The file of a network; `beside` is the folder for what must not stand among the leases.
    pub(super) fn of(beside: &Path, network: &str) -> BootFile {
        BootFile {
            path: beside.join(format!("{network}.boot")),
        }
    }

    /// What the file says; `None` when there is none, or it is not ours.
    pub(super) fn read(&self) -> io::Result<Option<BootMark>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let last_write = fs::metadata(&self.path)?.modified()?;
        let mut lines = text.lines();
        let Some(boot) = lines.next().filter(|boot| !boot.is_empty()) else {
            return Ok(None);
        };
        let earlier = lines.next().and_then(read_time);
        Ok(Some(BootMark {
            boot: boot.to_owned(),
            earlier,
            last_write,
        }))
    }

    /// Writes the file for a boot, in one step.
    pub(super) fn write(&self, boot: &str, earlier: Option<SystemTime>) -> io::Result<()> {
        let text = format!("{boot}\n{}\n", earlier.map_or_else(String::new, time_text));
        replace(&self.path, text.as_bytes())
    }

    /// Sets the time of our last write to now; tells whether the file is there.
    pub(super) fn touch(&self) -> io::Result<bool> {
        let now = TimeSpec::UTIME_NOW;
        match utimensat(
            AT_FDCWD,
            &self.path,
            &now,
            &now,
            UtimensatFlags::FollowSymlink,
        ) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Puts a whole file in the place of another; its folder is made when it is not there.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = match options.open(&draft) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            options.open(&draft)?
        }
        other => other?,
    };
    file.write_all(content)?;
    fs::rename(&draft, path)
}

fn time_text(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

fn read_time(text: &str) -> Option<SystemTime> {
    let (seconds, nanos) = text.split_once('.')?;
    Some(UNIX_EPOCH + Duration::new(seconds.parse().ok()?, nanos.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = BootFile::of(&dir.path().join("beside"), "net");
        assert_eq!(file.read().unwrap(), None);
        assert!(!file.touch().unwrap());
        let earlier = Some(UNIX_EPOCH + Duration::new(1_700_000_000, 5));
        file.write("boot-a", earlier).unwrap();
        assert!(file.touch().unwrap());
        let mark = file.read().unwrap().unwrap();
        assert_eq!((mark.boot.as_str(), mark.earlier), ("boot-a", earlier));
        file.write("boot-b", None).unwrap();
        assert_eq!(file.read().unwrap().unwrap().earlier, None);
    }
}
