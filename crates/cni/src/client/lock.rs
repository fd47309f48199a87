//! The runtime's lock: a GC excludes every ADD and DEL, in whichever process.
//! Taken by `list.rs` around each operation.
//! Must never be held longer than one operation.

use std::fs::File;
use std::path::Path;

use super::ClientError;

/// Held until dropped (flock(2): it goes with the open file, a killed process's too).
pub(super) struct Held(#[expect(dead_code, reason = "the lock is the open file")] File);

/// For ADD and DEL, which may run at the same time for different containers.
pub(super) fn shared(dir: &Path) -> Result<Held, ClientError> {
    take(dir, File::lock_shared)
}

/// For GC (CNI SPEC 1.1.0, "Lifecycle & Ordering": the runtime must ensure that no add or delete is in
/// progress).
pub(super) fn exclusive(dir: &Path) -> Result<Held, ClientError> {
    take(dir, File::lock)
}

fn take(dir: &Path, lock: fn(&File) -> std::io::Result<()>) -> Result<Held, ClientError> {
    let path = dir.join("wharfline.lock");
    std::fs::create_dir_all(dir).map_err(|e| ClientError::io("make", dir, e))?;
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|e| ClientError::io("open", &path, e))?;
    lock(&file).map_err(|e| ClientError::io("lock", &path, e))?;
    Ok(Held(file))
}
