//! Kernel parameters below /proc/sys/net of the calling thread's network namespace.
//! The engine's operations read and write through it, inside `Netns::enter` for a container.
//! It must never write a value that is there already: some writes (ip_forward) reset others.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::{KernelError, Result};

/// More bytes than any value below /proc/sys/net has.
const LONGEST: usize = 4096;

/// Where the kernel shows its parameters.
const USUAL: &str = "/proc/sys";

/// Where this process finds them, if elsewhere.
static PLACE: OnceLock<PathBuf> = OnceLock::new();

/// Has this process look for the parameters below `place` from now on: a container may have /proc/sys read-only, and the
/// host's at another path. Which namespace's they are, the thread says and not the path (proc_sys(5)). Without effect
/// after the first call.
pub fn look_below(place: PathBuf) {
    let _ = PLACE.set(place);
}

/// Reads the parameter at `key`, a path below /proc/sys such as "net/ipv4/ip_forward".
pub fn read(key: &str) -> Result<String> {
    value(key).map_err(|e| KernelError::from_io(format!("read sysctl {key}"), &e))
}

/// One read tells it all (proc_sys_read() in fs/proc/proc_sysctl.c fills the buffer as far as the value goes).
fn value(key: &str) -> io::Result<String> {
    let mut text = [0; LONGEST];
    let length = fs::File::open(file(key))?.read(&mut text)?;
    let text = std::str::from_utf8(&text[..length]).map_err(io::Error::other)?;
    Ok(text.trim_end().to_owned())
}

/// Writes `value` unless it is there; tells the former value if it was another.
///
/// Errors: EROFS or EACCES where /proc/sys is read-only, ENOENT where the kernel lacks the parameter.
pub fn ensure(key: &str, value: &str) -> Result<Option<String>> {
    let before = read(key)?;
    if before == value {
        return Ok(None);
    }
    fs::write(file(key), value)
        .map_err(|e| KernelError::from_io(format!("write sysctl {key} = {value}"), &e))?;
    Ok(Some(before))
}

/// Like [`ensure`], but a kernel without the parameter (no IPv6, say) counts as done.
pub fn ensure_if_known(key: &str, value: &str) -> Result<Option<String>> {
    match ensure(key, value) {
        Err(e) if e.errno() == nix::errno::Errno::ENOENT => Ok(None),
        other => other,
    }
}

/// Names of the interfaces that have a folder under net/`family`/conf.
pub fn interfaces(family: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(file(&format!("net/{family}/conf")))? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn file(key: &str) -> PathBuf {
    match PLACE.get() {
        Some(place) => place.join(key),
        None => PathBuf::from(USUAL).join(key),
    }
}
