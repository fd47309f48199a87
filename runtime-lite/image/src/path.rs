//! Names in a layer, checked: relative, without `..`, short enough for the kernel.
//! The unpacker makes one of every name that an archive has.
//! It must never mend a name that leads outside: such an archive is refused.

use crate::error::{Error, Result};
use crate::limits::{NAME_BYTES, PATH_BYTES};

/// A name below a layer's root, its parts joined by single slashes; empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LayerPath(Vec<u8>);

impl LayerPath {
    /// A slash at the beginning means the layer's root, as everywhere (GNU tar and Docker take it off as well).
    pub(crate) fn parse(name: &[u8]) -> Result<LayerPath> {
        let refused = |problem: &str| Err(Error::entry(name, problem));
        if name.len() > PATH_BYTES {
            return refused("has a name longer than 4095 bytes");
        }
        if name.contains(&0) {
            return refused("has a zero in its name");
        }
        let mut path = Vec::with_capacity(name.len());
        for part in name.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return refused("leads outside: its name has .. in it"),
                _ if part.len() > NAME_BYTES => return refused("has a part longer than 255 bytes"),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        Ok(LayerPath(path))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The folder's path and the name in it; `None` for the root.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        let slash = self.0.iter().rposition(|&byte| byte == b'/');
        Some(match slash {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&[], &self.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<String> {
        let path = LayerPath::parse(name.as_bytes()).ok()?;
        Some(String::from_utf8(path.0).expect("text"))
    }

    #[test]
    fn names_become_relative() {
        assert_eq!(parsed("./a//b/./c/").as_deref(), Some("a/b/c"));
        assert_eq!(parsed("/etc/passwd").as_deref(), Some("etc/passwd"));
        assert_eq!(parsed("./").as_deref(), Some(""));
        assert_eq!(parsed("..a/b..").as_deref(), Some("..a/b.."));
    }

    #[test]
    fn names_that_lead_outside_or_are_too_long_are_refused() {
        for name in ["..", "../x", "a/../b", "a/..", "/../x", "a\0b"] {
            assert_eq!(parsed(name), None, "{name:?}");
        }
        assert_eq!(parsed(&"x".repeat(256)), None);
        assert_eq!(parsed(&"x/".repeat(2048)), None);
        assert!(parsed(&"x".repeat(255)).is_some());
    }
}
