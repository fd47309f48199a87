//! What stays of a network that has no lease left, and taking it away.
//! Called by `host-local uninstall`, which `wharf uninstall` calls.
//! It must never take a folder that holds a lease, or a file that neither the reference nor we put there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wharfline_spec::NetworkName;

use crate::error::Error;
use crate::store::Site;

/// Everything that goes, files before the folders that hold them.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be read; one that is not there holds nothing.
pub fn traces(site: &Site, data_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut traces = Vec::new();
    let beside = data_dir.join(".wharfline");
    let mut unused = Vec::new();
    for folder in entries(data_dir)? {
        let Some(network) = network_of(&folder) else {
            continue;
        };
        let files = entries(&folder)?;
        if files.iter().all(|file| is_ours(file)) {
            traces.extend(files);
            traces.push(folder);
            unused.push(network);
        }
    }
    let notes = entries(&beside)?;
    let is_unused = |note: &&PathBuf| {
        let of = note.file_stem().and_then(|name| name.to_str());
        of.is_some_and(|of| unused.iter().any(|network| network.as_str() == of))
    };
    let going: Vec<PathBuf> = notes.iter().filter(is_unused).cloned().collect();
    let all_go = going.len() == notes.len() && beside.is_dir();
    traces.extend(going);
    traces.extend(all_go.then_some(beside));
    // Without leases the index says nothing; with some, it is rebuilt.
    traces.extend(site.index.is_dir().then(|| site.index.clone()));
    Ok(traces)
}

/// Takes one away; what is gone already counts as taken, and a folder in which a lease has appeared since stays.
///
/// # Errors
/// [`Error::Io`] with what the kernel said.
pub fn take_away(site: &Site, trace: &Path) -> Result<(), Error> {
    let removed = match trace {
        index if index == site.index => fs::remove_dir_all(index),
        folder if folder.is_dir() => fs::remove_dir(folder),
        file => fs::remove_file(file),
    };
    match removed {
        Err(cause) if is_done(&cause) => Ok(()),
        other => other.map_err(|cause| Error::Io {
            action: "remove",
            path: trace.to_owned(),
            cause,
        }),
    }
}

fn is_done(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
    )
}

fn network_of(folder: &Path) -> Option<NetworkName> {
    let name = folder.file_name()?.to_str()?;
    NetworkName::new(name).ok().filter(|_| folder.is_dir())
}

/// The reference's lock and cursors: all that a network without leases has.
fn is_ours(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name == "lock" || name.starts_with("last_reserved_ip."))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |cause| Error::Io {
        action: "list",
        path: folder.to_owned(),
        cause,
    };
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(failed(cause)),
    };
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_without_leases_go_and_others_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("networks");
        for (path, text) in [
            ("empty/lock", ""),
            ("empty/last_reserved_ip.0", "10.1.0.9"),
            ("used/lock", ""),
            ("used/10.2.0.2", "c1\r\neth0"),
            ("strange/notes.txt", "mine"),
            (".wharfline/empty.boot", "x"),
            (".wharfline/used.boot", "x"),
        ] {
            let path = data.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        let site = Site {
            index: dir.path().join("index"),
            ..Site::default()
        };
        for trace in traces(&site, &data).expect("listed") {
            take_away(&site, &trace).expect("removed");
        }
        assert!(!data.join("empty").exists());
        assert!(!data.join(".wharfline/empty.boot").exists());
        assert!(data.join(".wharfline/used.boot").exists());
        assert!(data.join("used/10.2.0.2").exists());
        assert!(data.join("strange/notes.txt").exists());
    }
}
