//! The files of a lab's private directories: which there are, and what is in them.
//!
//! Called by the snapshot. It must keep apart what is remembered on purpose from one attachment to the next (a cursor, an
//! index) and what belongs to one attachment: of the former it notes only that the file is there.

use std::fs;
use std::path::Path;

use super::World;
use crate::lab::{Lab, PRIVATE};

/// Larger contents are noted by their size.
const SHOWN_BYTES: u64 = 4096;

/// Notes every file and directory below the lab's private directories.
pub(super) fn observe(lab: &Lab, world: &mut World) {
    lab.enter(|| {
        for directory in PRIVATE {
            walk(Path::new(directory), world);
        }
    });
}

fn walk(directory: &Path, world: &mut World) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = fs::symlink_metadata(&path) else {
            continue;
        };
        if is_derived(&path) {
            continue;
        }
        if kind.is_dir() {
            world.note(format!("directory {}", path.display()), String::new());
            walk(&path, world);
        } else {
            world.note(format!("file {}", path.display()), content(&path, &kind));
        }
    }
}

fn content(path: &Path, metadata: &fs::Metadata) -> String {
    if !metadata.is_file() || is_memory_of_the_network(path) {
        return String::new();
    }
    if metadata.len() > SHOWN_BYTES {
        return format!("{} bytes", metadata.len());
    }
    let bytes = fs::read(path).unwrap_or_default();
    format!("{:?}", String::from_utf8_lossy(&bytes))
}

/// host-local's cursor moves on with every address that it hands out; the boot that its leases belong to, with every boot;
/// the generation at which our tables were whole, with every change of the ruleset.
fn is_memory_of_the_network(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("last_reserved_ip.")
        || name.ends_with(".boot")
        || path.ends_with("notes/whole")
}

/// Our index of the leases, which any call may throw away and build anew.
fn is_derived(path: &Path) -> bool {
    path == Path::new("/run/wharfline/ipam")
}
