//! Extended attributes of a file, ACLs and file capabilities among them.
//! The walk reads them, restore sets and compares them.
//! It must never follow a link: the calls are those that take the link itself.

use std::io;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

/// Name and value.
pub(crate) type Attribute = (Vec<u8>, Vec<u8>);

/// The kernel's limits for a list and for a value (include/uapi/linux/limits.h: XATTR_LIST_MAX, XATTR_SIZE_MAX).
const LONGEST: usize = 64 << 10;
/// Enough for nearly every list and value at the first attempt.
const USUAL: usize = 256;

/// All attributes of what is at `path`, by name. None where the file system has none.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Attribute>> {
    let list = match sized(|buffer| llistxattr(path, buffer)) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        list => list?,
    };
    let mut all = Vec::new();
    for name in list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        match sized(|buffer| lgetxattr(path, name, buffer)) {
            Ok(value) => all.push((name.to_vec(), value)),
            // Removed since, or of a name space that only its own file system reads.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    all.sort();
    Ok(all)
}

/// Sets one attribute.
pub(crate) fn write(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(lsetxattr(path, name, value, XattrFlags::empty())?)
}

/// Calls with a buffer that is large enough.
fn sized(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; USUAL];
    let length = match call(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(LONGEST, 0);
            call(&mut buffer)?
        }
        length => length?,
    };
    buffer.truncate(length);
    Ok(buffer)
}
