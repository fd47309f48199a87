//! Whether any process has a volume mounted, wherever it is: the kernel's own answer, from the lists of mounts.
//! `driver` asks before it does what a user would notice, and when it is not sure who holds a volume.
//! It must never touch a volume's files, which may be a dead server's.

use std::path::Path;

use wharfline_kernel::fs::mountinfo::{Mount, everybodys, holding, ours};

use crate::backend::DATA;
use crate::error::Result;

/// Whether somebody beside ourselves has the volume in `folder` mounted, or a folder of it.
pub(crate) fn has_any(folder: &Path) -> Result<bool> {
    let data = folder.join(DATA);
    let here = ours()?;
    let Some(at) = holding(&here, &data) else {
        return Ok(false);
    };
    // What of which file system a mount of the volume shows.
    let mut shown = vec![(at.device, inside(at, &data))];
    if at.place == data {
        // Read-only volumes are mounted over themselves: their folder counts, too.
        let below: Vec<Mount> = here.iter().filter(|m| m.place != data).cloned().collect();
        if let Some(under) = holding(&below, &data) {
            shown.push((under.device, inside(under, &data)));
        }
    }
    let is_ours = |mount: &Mount| mount.place.ends_with(tail(&data));
    let shows = |mount: &Mount| {
        shown
            .iter()
            .any(|(device, root)| mount.device == *device && mount.root.starts_with(root))
    };
    let all = everybodys()?;
    Ok(all
        .iter()
        .flatten()
        .any(|mount| shows(mount) && !is_ours(mount)))
}

/// Whether anybody at all has the file system of `device` mounted.
pub(crate) fn has_device(device: &Path) -> Result<bool> {
    let all = everybodys()?;
    let shows = |mount: &Mount| Path::new(&mount.source) == device;
    Ok(all.iter().flatten().any(shows))
}

/// The folder of the file system that `path` is.
fn inside(mount: &Mount, path: &Path) -> std::path::PathBuf {
    let rest = path.strip_prefix(&mount.place).unwrap_or(Path::new(""));
    // join() with nothing would add a slash.
    match rest.as_os_str().is_empty() {
        true => mount.root.clone(),
        false => mount.root.join(rest),
    }
}

/// `volumes/NAME/data`: another namespace has our own mount under another path, but with this end.
fn tail(data: &Path) -> &Path {
    let ancestors = data.ancestors().nth(3).unwrap_or(Path::new("/"));
    data.strip_prefix(ancestors).unwrap_or(data)
}
