//! Names of images: `[host[:port]/]path[:tag]` as Docker and OCI registries have them (distribution, "reference").
//! `import` gives them, every command looks images up by them.
//! It must never let a name be a path: it is checked, and its slashes are written otherwise in a file's name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest name, in bytes, so that it fits a file's name with every slash written as three bytes.
const LONGEST: usize = 200;
/// What a name without a tag means.
const DEFAULT_TAG: &str = "latest";

/// A name with its tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Reads a name; one without a tag gets `latest`.
    ///
    /// # Errors
    /// What no registry would take: capitals or spaces in the path, an empty part, a digest, more than 200 bytes.
    pub fn parse(given: &str) -> Result<Name> {
        let refused = |rule| {
            Err(Error::BadName {
                given: given.chars().take(LONGEST).collect(),
                rule,
            })
        };
        if given.len() > LONGEST {
            return refused("is longer than 200 bytes");
        }
        if given.contains('@') {
            return refused("names a digest; give a name and a tag");
        }
        let (path, tag) = split_tag(familiar(given));
        let tag = tag.unwrap_or(DEFAULT_TAG);
        let mut parts = path.split('/');
        let first = parts.next().unwrap_or_default();
        let first_is_host = path.contains('/') && is_host(first);
        if !(first_is_host || is_part(first)) || !parts.all(is_part) {
            return refused("its parts are of a-z, 0-9 and single . _ - between them");
        }
        if !is_tag(tag) {
            return refused(
                "its tag is of at most 128 letters, digits, . _ -, and begins with none of the last two",
            );
        }
        Ok(Name(format!("{path}:{tag}")))
    }

    /// The name with its tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `self` is what a person means by `wanted`: the same, or its end from a slash on.
    pub(crate) fn is_meant_by(&self, wanted: &Name) -> bool {
        let before = self.0.strip_suffix(&wanted.0);
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }

    /// As the name of a file.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.json", self.0.replace('/', "%2F"))
    }
}

/// A name made of a file's: its stem in what letters a name can have.
pub(crate) fn of_file(stem: &str) -> Name {
    let fit = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9') => letter,
        _ => '-',
    };
    let mut text: String = stem.chars().take(100).map(fit).collect();
    while text.contains("--") {
        text = text.replace("--", "-");
    }
    let text = text.trim_matches('-');
    let text = if text.is_empty() { "image" } else { text };
    Name(format!("{text}:{DEFAULT_TAG}"))
}

/// Docker's own registry is not said: `docker save` leaves it out, podman and skopeo write it.
fn familiar(given: &str) -> &str {
    let path = given.strip_prefix("docker.io/").unwrap_or(given);
    match path.strip_prefix("library/") {
        Some(short) if path.len() < given.len() => short,
        _ => path,
    }
}

/// A colon after the last slash begins the tag; before it, a port.
fn split_tag(given: &str) -> (&str, Option<&str>) {
    match given.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (given, None),
    }
}

fn is_part(part: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(word) && part.bytes().last().is_some_and(word);
    let separators = ["..", "._", ".-", "_.", "___", "_-", "-.", "-_"];
    let allowed = |byte: u8| word(byte) || b"._-".contains(&byte);
    ends && part.bytes().all(allowed) && !separators.iter().any(|pair| part.contains(pair))
}

fn is_host(part: &str) -> bool {
    let (host, port) = part.split_once(':').unwrap_or((part, "0"));
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(allowed)
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    digits && host.split('.').all(label)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let allowed = |byte: u8| word(byte) || b".-".contains(&byte);
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(allowed)
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(text: String) -> Result<Name> {
        Name::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(given: &str) -> Option<String> {
        Name::parse(given).ok().map(|name| name.0)
    }

    #[test]
    fn names_get_a_tag() {
        assert_eq!(parsed("busybox").as_deref(), Some("busybox:latest"));
        assert_eq!(
            parsed("docker.io/library/busybox:1").as_deref(),
            Some("busybox:1")
        );
        assert_eq!(parsed("docker.io/a/b").as_deref(), Some("a/b:latest"));
        assert_eq!(parsed("library/a").as_deref(), Some("library/a:latest"));
        assert_eq!(parsed("a/b_c:1.2-rc").as_deref(), Some("a/b_c:1.2-rc"));
        let full = "Registry.example:5000/team/app";
        assert_eq!(parsed(full), Some(format!("{full}:latest")));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for given in [
            "",
            ":",
            "a:",
            ":a",
            "../x",
            "a/../b",
            "/etc",
            "a//b",
            "A",
            "a b",
            "a@sha256:00",
            "a:b:c",
            "a\n",
            "a/",
            "a..b",
            "-a",
            "a:-b",
            "host:x/a",
            "%2F",
        ] {
            assert_eq!(parsed(given), None, "{given:?}");
        }
        assert_eq!(parsed(&"a".repeat(201)), None);
    }

    #[test]
    fn a_name_may_be_meant_by_its_end() {
        let full = Name::parse("registry.example/library/busybox").expect("a name");
        let means = |wanted: &str| full.is_meant_by(&Name::parse(wanted).expect("a name"));
        assert!(means("busybox") && means("library/busybox:latest"));
        assert!(!means("box") && !means("busybox:1"));
    }

    #[test]
    fn a_file_gives_a_name() {
        assert_eq!(
            of_file("Alpine_3.20 (x86)").as_str(),
            "alpine-3-20-x86:latest"
        );
        assert_eq!(of_file("..").as_str(), "image:latest");
    }
}
