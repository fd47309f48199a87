//! The result caches of libcni: which network namespace a container was given.
//! Asked at the first use in a new boot, before a lease of an earlier boot is reclaimed.
//! Must never take a file for a living namespace because it has the right name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{NSFS_MAGIC, statfs};
use serde_json::Value;

use crate::lease::Holder;

/// Whether the cache knows a namespace of the holder that exists now, other than the host's own.
pub(super) fn name_a_living_netns(caches: &[PathBuf], network: &str, holder: &Holder) -> bool {
    let entries = caches
        .iter()
        .flat_map(|cache| entries_of(cache, network, holder));
    entries
        .flat_map(|entry| namespaces_in(&entry))
        .any(|netns| is_living(Path::new(&netns)))
}

/// The files of a holder: libcni names them `network-container-ifname` (cni/libcni/api.go).
fn entries_of(cache: &Path, network: &str, holder: &Holder) -> Vec<PathBuf> {
    let prefix = format!("{network}-{}-", holder.container());
    if let Some(ifname) = holder.ifname() {
        return vec![cache.join(format!("{prefix}{ifname}"))];
    }
    let Ok(listing) = fs::read_dir(cache) else {
        return Vec::new();
    };
    let paths = listing.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with(&prefix))
        })
        .collect()
}

/// The namespaces in an entry: `netns` since libcni 1.3, the sandboxes of the result in all versions.
/// Entries of libcni before 0.8 are the bare result.
fn namespaces_in(entry: &Path) -> Vec<String> {
    let Ok(text) = fs::read(entry) else {
        return Vec::new();
    };
    let Ok(doc) = serde_json::from_slice::<Value>(&text) else {
        return Vec::new();
    };
    let results = [doc.get("result"), Some(&doc)];
    let interfaces = results
        .into_iter()
        .flatten()
        .filter_map(|r| r.get("interfaces")?.as_array());
    let sandboxes = interfaces.flatten().filter_map(|i| i.get("sandbox"));
    let named = sandboxes.chain(doc.get("netns")).filter_map(Value::as_str);
    named.filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

/// The file that holds a namespace stays as a plain file when its mount is gone, and a process id may
/// be another's by now: only a namespace that is not the host's counts.
fn is_living(netns: &Path) -> bool {
    let is_nsfs = statfs(netns).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC);
    let inode = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let host = inode(Path::new("/proc/self/ns/net"));
    is_nsfs && inode(netns).is_ok_and(|found| host.is_ok_and(|host| host != found))
}
