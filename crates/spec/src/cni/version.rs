//! Versions of the CNI specification.
//! Chosen by the configuration, answered by every document that a plugin prints.
//! Must never order versions by their text.

use std::fmt;
use std::str::FromStr;

/// A released version of the CNI specification, in the order of release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "the variants are the version numbers themselves"
)]
pub enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Version; 7] = [
        Version::V0_1_0,
        Version::V0_2_0,
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];

    /// The newest version.
    pub const NEWEST: Version = Version::V1_1_0;

    /// What a document that names no version is written in (as the reference decodes it).
    pub const UNSTATED: Version = Version::V0_1_0;

    /// The version as the specification writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version that no released specification has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no CNI specification has the version {0:?}")]
pub struct BadVersion(pub String);

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Version, BadVersion> {
        let found = Version::ALL.into_iter().find(|v| v.as_str() == text);
        found.ok_or_else(|| BadVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_back_and_they_are_in_order() {
        for version in Version::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert!(Version::ALL.is_sorted());
        assert!("1.1".parse::<Version>().is_err() && "v1.0.0".parse::<Version>().is_err());
    }
}
