//! Digests: `sha256:` and 64 hexadecimal digits (OCI image specification, "Digests").
//! Layers, configurations and blobs are known by them.
//! It must never take a digest of another form: its digits become names of files.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:...`.
    ///
    /// # Errors
    /// Another algorithm, or anything but 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Digest> {
        let bad = |problem: &str| Err(Error::malformed(format!("digest {text:?}"), problem));
        match text.split_once(':') {
            Some(("sha256", hex)) if is_hex(hex) => Ok(Digest(hex.to_owned())),
            Some(("sha256", _)) => bad("has not 64 hexadecimal digits"),
            _ => bad("is not of SHA-256"),
        }
    }

    /// Of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_hasher(Sha256::new_with_prefix(bytes))
    }

    pub(crate) fn from_hasher(hasher: Sha256) -> Digest {
        let digits = hasher.finalize();
        Digest(digits.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits alone: a name for a file.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, which is how people meet it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// Whether contents are what was announced.
    pub(crate) fn verify(&self, found: &Digest, what: impl FnOnce() -> String) -> Result<()> {
        match self == found {
            true => Ok(()),
            false => Err(Error::Digest {
                what: what(),
                expected: self.to_string(),
                found: found.to_string(),
            }),
        }
    }
}

fn is_hex(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(digit)
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest> {
        Digest::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_in_lower_case_digits_is_a_digest() {
        let digest = Digest::of(b"");
        assert_eq!(
            digest.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Digest::parse(&digest.to_string()).ok(), Some(digest));
        for text in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            "sha512:00",
            "md5:x",
        ] {
            assert!(Digest::parse(text).is_err(), "{text}");
        }
        assert!(Digest::parse(&format!("sha256:{}", "A".repeat(64))).is_err());
    }
}
