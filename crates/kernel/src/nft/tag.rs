//! Whose an nftables element is: a network, and within it an attachment, as two short hashes in the comment.
//! The engine makes one per attachment; dumps are sorted by it when no record is left.
//! It must never be used to find an attachment's names: it only recognises them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hash::stable_hash;

/// The owner of an element: `<network>:<attachment>` in hex. Attachment 0 stands for the network as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag {
    network: u64,
    attachment: u64,
}

/// A comment that is not a tag of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a tag: two 16-digit hex numbers with a colon between them")]
pub struct BadTag(String);

impl Tag {
    /// The tag of what a network's attachments share.
    pub fn network(name: &str) -> Self {
        Self {
            network: stable_hash(&[name.as_bytes()]),
            attachment: 0,
        }
    }

    /// The tag of one attachment: network, container and interface together are unique (CNI SPEC 1.1.0, "Parameters").
    pub fn attachment(network: &str, container: &str, ifname: &str) -> Self {
        let parts = [network.as_bytes(), container.as_bytes(), ifname.as_bytes()];
        Self {
            network: stable_hash(&parts[..1]),
            attachment: stable_hash(&parts).max(1),
        }
    }

    /// Whether both belong to one network.
    pub fn same_network(&self, other: &Tag) -> bool {
        self.network == other.network
    }

    /// Whether it marks what a whole network shares.
    pub fn is_shared(&self) -> bool {
        self.attachment == 0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{:016x}", self.network, self.attachment)
    }
}

impl FromStr for Tag {
    type Err = BadTag;

    fn from_str(text: &str) -> Result<Self, BadTag> {
        let parsed = || {
            let (network, attachment) = text.split_once(':')?;
            if network.len() != 16 || attachment.len() != 16 {
                return None;
            }
            Some(Tag {
                network: u64::from_str_radix(network, 16).ok()?,
                attachment: u64::from_str_radix(attachment, 16).ok()?,
            })
        };
        parsed().ok_or_else(|| BadTag(text.to_owned()))
    }
}

impl TryFrom<String> for Tag {
    type Error = BadTag;

    fn try_from(text: String) -> Result<Self, BadTag> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> String {
        tag.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_back_and_foreign_comments_do_not() {
        let tag = Tag::attachment("web", "c1", "eth0");
        assert_eq!(tag.to_string().parse(), Ok(tag));
        for foreign in [
            "",
            "web",
            "1:2",
            "docker0",
            "zzzzzzzzzzzzzzzz:0000000000000000",
        ] {
            assert!(foreign.parse::<Tag>().is_err(), "{foreign}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let tag = Tag::attachment("web", "c1", "eth0");
        assert_ne!(tag, Tag::attachment("web", "c1e", "th0"));
        assert!(tag.same_network(&Tag::network("web")));
        assert!(!tag.same_network(&Tag::network("we")));
        assert!(Tag::network("web").is_shared() && !tag.is_shared());
    }
}
