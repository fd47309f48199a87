//! The tables of ours: their names, what stands in them, and the conditions that give a network one of its own.
//! `Element` says which table it lives in; `base` lays and verifies tables.
//! It must never touch the kernel.

use std::fmt;

use netlink_packet_netfilter::NetfilterProtoFamily;
use serde::{Deserialize, Serialize};

use crate::hash::stable_hash;

/// Raised with every change of the rules: a table of an older version is laid anew, a newer one is left alone.
pub const BASE_VERSION: u32 = 2;

/// The one bit that we take of the packet mark and of the connection mark (docs/reserved.md).
pub const MARK: u32 = 0x1000;

const NAME: &str = "wharfline";
const PUBLISH: &str = include_str!("rules/publish.nft");
const MAIN: &str = include_str!("rules/main.nft");
const BRIDGE: &str = include_str!("rules/bridge.nft");
const BOUNDARY: &str = include_str!("rules/boundary.nft");

/// A table of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `inet wharfline`: publishing, masquerading, and the mark that lets our traffic through other firewalls.
    Main,
    /// `bridge wharfline`: MAC addresses bound to ports, isolation across cascaded bridges.
    Bridge,
    /// `inet wharfline-boundary`: what keeps networks apart that ask for it; there only where one does.
    Boundary,
    /// `inet wharfline-<hash>`: ports published under conditions, one table for each distinct set of them.
    Conditional(Conditions),
}

/// What must hold for a packet besides the port: matches in the syntax of nft(8).
/// Portmap's `conditionsV4`, `conditionsV6` and `excludeDestinations`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conditions {
    v4: String,
    v6: String,
}

/// Conditions that could end the rule they stand in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a match of one nft rule: no line break, ';', '#' or unbalanced brace may stand in it"
)]
pub struct BadConditions(String);

impl Conditions {
    /// Checks only that the text stays within its rule; what it means is for nft to judge.
    pub fn new(v4: &str, v6: &str) -> Result<Self, BadConditions> {
        for text in [v4, v6] {
            let mut depth = 0i32;
            for symbol in text.chars() {
                depth += i32::from(symbol == '{') - i32::from(symbol == '}');
                if depth < 0 || "\n\r;#".contains(symbol) {
                    return Err(BadConditions(text.to_owned()));
                }
            }
            if depth != 0 {
                return Err(BadConditions(text.to_owned()));
            }
        }
        Ok(Self {
            v4: v4.trim().to_owned(),
            v6: v6.trim().to_owned(),
        })
    }

    fn hash(&self) -> u64 {
        stable_hash(&[self.v4.as_bytes(), self.v6.as_bytes()])
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conditions \"{}\" and \"{}\"", self.v4, self.v6)
    }
}

impl Table {
    /// The table's name, without the family.
    pub fn name(&self) -> String {
        match self {
            Table::Main | Table::Bridge => NAME.to_owned(),
            Table::Boundary => format!("{NAME}-boundary"),
            Table::Conditional(conditions) => format!("{NAME}-{:016x}", conditions.hash()),
        }
    }

    pub(super) fn family(&self) -> NetfilterProtoFamily {
        match self {
            Table::Main | Table::Boundary | Table::Conditional(_) => NetfilterProtoFamily::Inet,
            Table::Bridge => NetfilterProtoFamily::Bridge,
        }
    }

    /// The chains whose presence and policy are part of the seal.
    pub(super) fn chains(&self) -> &'static [&'static str] {
        match self {
            Table::Main => &[
                "prerouting",
                "output",
                "publish",
                "loopback_guard",
                "loopback_out",
                "loopback_in",
                "forward",
                "postrouting",
                "published",
            ],
            Table::Conditional(_) => &["prerouting", "output", "publish"],
            Table::Bridge => &["prerouting", "forward"],
            Table::Boundary => &["forward", "turned", "postrouting"],
        }
    }

    /// The script for nft(8) that creates the table; it fails as a whole when the table is there.
    pub(super) fn script(&self) -> String {
        let (text, priority, v4, v6) = match self {
            Table::Main => (format!("{PUBLISH}\n{MAIN}"), "-105", "", ""),
            Table::Bridge => (BRIDGE.to_owned(), "", "", ""),
            Table::Boundary => (BOUNDARY.to_owned(), "", "", ""),
            // One earlier than the unconditional ports: the narrower rule wins.
            Table::Conditional(conditions) => (
                PUBLISH.to_owned(),
                "-106",
                conditions.v4.as_str(),
                conditions.v6.as_str(),
            ),
        };
        text.replace("TABLE", &self.name())
            .replace("VERSION", &BASE_VERSION.to_string())
            .replace("PRIORITY", priority)
            .replace("CONDITIONS4", v4)
            .replace("CONDITIONS6", v6)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self {
            Table::Main | Table::Boundary | Table::Conditional(_) => "inet",
            Table::Bridge => "bridge",
        };
        write!(f, "{family} {}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_the_code_is_the_mark_of_the_rules() {
        let text = [PUBLISH, MAIN, BRIDGE, BOUNDARY].concat();
        for word in text
            .split_whitespace()
            .filter(|word| word.starts_with("0x"))
        {
            let value = u32::from_str_radix(&word[2..], 16).expect("hex");
            assert!(value == MARK || value == !MARK, "{word}");
        }
    }

    #[test]
    fn conditions_stay_within_their_rule() {
        assert!(Conditions::new("ip saddr { 10.0.0.0/8, 192.0.2.1 }", "").is_ok());
        for bad in [
            "ip saddr 1.1.1.1\naccept",
            "a; b",
            "} chain x {",
            "{",
            "x # y",
        ] {
            assert!(Conditions::new(bad, "").is_err(), "{bad}");
            assert!(Conditions::new("", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_placeholder_of_a_script_is_filled() {
        let conditions = Conditions::new("iifname eth0", "").expect("one match");
        let conditional = Table::Conditional(conditions);
        for table in [Table::Main, Table::Bridge, Table::Boundary, conditional] {
            let script = table.script();
            for placeholder in ["TABLE", "VERSION", "PRIORITY", "CONDITIONS"] {
                assert!(!script.contains(placeholder), "{placeholder} in {table}");
            }
        }
    }
}
