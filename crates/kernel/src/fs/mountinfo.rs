//! What is mounted, in our namespace and in everybody's (proc_pid_mountinfo(5)).
//! plugins/volume-local finds its own mounts by it, and whoever else has a volume.
//! It must never touch a mount: reading this list asks no file system anything.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{KernelError, Result};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The file system: major and minor number, as stat(2) shows them for most kinds.
    pub device: (u32, u32),
    /// The folder of the file system that is mounted.
    pub root: PathBuf,
    /// Where.
    pub place: PathBuf,
    /// The kind of the file system.
    pub kind: String,
    /// Device or server, as the kind shows it.
    pub source: String,
}

/// The mounts of our own namespace, in the order in which they were made.
///
/// # Errors
/// /proc is not there.
pub fn ours() -> Result<Vec<Mount>> {
    let path = "/proc/self/mountinfo";
    let text = fs::read(path).map_err(|e| KernelError::from_io(format!("read {path}"), &e))?;
    Ok(parse(&text))
}

/// The mounts of every namespace that some process is in, a list for each; ours is among them. What ends meanwhile is left out.
///
/// # Errors
/// /proc is not there.
pub fn everybodys() -> Result<Vec<Vec<Mount>>> {
    let entries = fs::read_dir("/proc").map_err(|e| KernelError::from_io("read /proc", &e))?;
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name
            .as_encoded_bytes()
            .first()
            .is_some_and(u8::is_ascii_digit)
        {
            continue;
        }
        let process = entry.path();
        let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else {
            continue;
        };
        if seen.contains(&namespace) {
            continue;
        }
        // A process that ends between the two has an empty list, and its namespace perhaps another process.
        if let Ok(text) = fs::read(process.join("mountinfo"))
            && !text.is_empty()
        {
            seen.insert(namespace);
            all.push(parse(&text));
        }
    }
    Ok(all)
}

/// The mounts of a list; lines that are none are left out.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(words.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = words.next()?;
    let place = words.next()?;
    // Options, and any number of optional fields, up to a hyphen.
    words.find(|word| *word == b"-")?;
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescaped(root),
        place: unescaped(place),
        kind: String::from_utf8_lossy(words.next()?).into_owned(),
        source: unescaped(words.next()?).to_string_lossy().into_owned(),
    })
}

/// Space, tab, newline and backslash stand there in octal.
fn unescaped(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if first == b'\\' => {
                bytes.push(code);
                rest = rest.get(4..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The topmost mount that `path` is on, of a list.
pub fn holding<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let mut best: Option<&Mount> = None;
    for mount in mounts.iter().filter(|mount| path.starts_with(&mount.place)) {
        let longer = best
            .is_none_or(|best| mount.place.components().count() >= best.place.components().count());
        if longer {
            best = Some(mount);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes_and_optional_fields() {
        let text = b"36 35 98:0 /mnt1 /mnt\\040two rw,noatime shared:1 master:2 - ext3 /dev/root rw\nnonsense\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].device, (98, 0));
        assert_eq!(mounts[0].root, Path::new("/mnt1"));
        assert_eq!(mounts[0].place, Path::new("/mnt two"));
        assert_eq!(
            (&*mounts[0].kind, &*mounts[0].source),
            ("ext3", "/dev/root")
        );
    }

    #[test]
    fn the_topmost_mount_holds_a_path() {
        let text = b"1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /a rw - ext4 b rw\n3 2 8:3 / /a rw - ext4 c rw\n";
        let mounts = parse(text);
        let on = |path: &str| holding(&mounts, Path::new(path)).map(|m| m.device.1);
        assert_eq!(on("/a/b"), Some(3));
        assert_eq!(on("/ab"), Some(1));
    }

    #[test]
    fn our_own_namespace_is_among_everybodys() {
        let ours = ours().expect("ours");
        assert!(!ours.is_empty());
        assert!(everybodys().expect("all").contains(&ours));
    }
}
