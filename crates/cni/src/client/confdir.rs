//! Finds network configurations in a folder such as /etc/cni/net.d.
//! Called by `wharf` for `network ls`, `run` and `gc`, and by tests.
//! Must never let one broken file hide the others from a listing.

use std::path::{Path, PathBuf};

use wharfline_spec::cni::{ConfList, PluginConf};

use super::ClientError;

/// A configuration file, and what is in it.
pub type Found = (PathBuf, Result<ConfList, ClientError>);

/// Reads every configuration of the folder: `*.conflist`, `*.conf` and `*.json`, in lexical order.
///
/// A file that cannot be used is an error in its place. A folder that does not exist has none.
///
/// # Errors
/// When the folder cannot be read.
pub fn load_all(dir: &Path) -> Result<Vec<Found>, ClientError> {
    let files = files(dir, &["conflist", "conf", "json"])?;
    Ok(files
        .into_iter()
        .map(|path| (path.clone(), load_file(&path)))
        .collect())
}

/// Reads the configuration of the network `name`: the first of that name, lists before single
/// plugins, as libcni looks it up.
///
/// # Errors
/// [`ClientError::NoSuchNetwork`], or the first file that cannot be used.
pub fn load_network(dir: &Path, name: &str) -> Result<ConfList, ClientError> {
    let mut candidates = files(dir, &["conflist"])?;
    candidates.extend(files(dir, &["conf", "json"])?);
    for path in candidates {
        let list = load_file(&path)?;
        if list.name.as_str() == name {
            return Ok(list);
        }
    }
    Err(ClientError::NoSuchNetwork {
        name: name.to_owned(),
        dir: dir.to_owned(),
    })
}

/// Reads one file; its extension says whether it is a list or a single plugin.
///
/// The plugins in the folder of the network's name beside a list are added to it, unless it says
/// `loadOnlyInlinedPlugins` (CNI SPEC 1.1.0, "Configuration format").
///
/// # Errors
/// When the file cannot be read or used, or no plugin is found.
pub fn load_file(path: &Path) -> Result<ConfList, ClientError> {
    let refused = |path: &Path, error| ClientError::Config {
        path: path.to_owned(),
        error,
    };
    let bytes = read(path)?;
    if !has_extension(path, &["conflist"]) {
        return ConfList::parse_single(&bytes).map_err(|e| refused(path, e));
    }
    let mut list = ConfList::parse(&bytes).map_err(|e| refused(path, e))?;
    if !list.load_only_inlined_plugins {
        let beside = path
            .parent()
            .unwrap_or(Path::new("."))
            .join(list.name.as_str());
        for file in files(&beside, &["conf"])? {
            let plugin = PluginConf::parse(&read(&file)?).map_err(|e| refused(&file, e))?;
            list.plugins.push(plugin);
        }
    }
    if list.plugins.is_empty() {
        let none = wharfline_spec::cni::CniError::invalid_config("plugins: is missing");
        return Err(refused(path, none));
    }
    Ok(list)
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|e| ClientError::io("read", path, e))
}

fn files(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, ClientError> {
    let failed = |e| ClientError::io("read", dir, e);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if has_extension(&path, extensions) && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| extensions.contains(&e))
}
