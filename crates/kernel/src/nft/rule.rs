//! Rules of other programs as a dump shows them: as much of each as we need to judge it.
//! `foreign` and `predecessor` read chains through it.
//! It must never change a rule.

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleAttribute, RuleMessage};
use nix::errno::Errno;

use super::Nft;
use super::wire::{Request, attribute, attributes, comment_of, number, text};
use crate::error::Result;

const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_TARGET_NAME: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NF_DROP: u64 = 0;

/// One rule.
pub(super) struct Rule {
    pub(super) chain: String,
    pub(super) handle: u64,
    pub(super) comment: Option<String>,
    expressions: Vec<u8>,
}

/// The rules of a table, or of one of its chains; none when table or chain is absent.
pub(super) fn chain_rules(
    nft: &mut Nft,
    family: NetfilterProtoFamily,
    table: &str,
    chain: Option<&str>,
) -> Result<Vec<Rule>> {
    let make = || {
        let mut attributes = vec![RuleAttribute::Table(table.to_owned())];
        attributes.extend(chain.map(|name| RuleAttribute::Chain(name.to_owned())));
        let message = NfTablesMessage::GetRule(RuleMessage { attributes });
        Request::new(family, 0, message)
    };
    let tried = format!("dump the rules of {table} {}", chain.unwrap_or_default());
    match nft.socket.dump(&tried, make) {
        Ok(rules) => Ok(rules
            .iter()
            .map(|rule| Rule::read(&rule.attributes))
            .collect()),
        Err(error) if error.errno() == Errno::ENOENT => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Rule {
    fn read(rule: &[u8]) -> Self {
        Self {
            chain: attribute(rule, NFTA_RULE_CHAIN)
                .map(text)
                .unwrap_or_default(),
            handle: attribute(rule, NFTA_RULE_HANDLE)
                .map(number)
                .unwrap_or_default(),
            comment: attribute(rule, NFTA_RULE_USERDATA).and_then(comment_of),
            expressions: attribute(rule, NFTA_RULE_EXPRESSIONS)
                .unwrap_or_default()
                .to_vec(),
        }
    }

    fn expressions(&self) -> impl Iterator<Item = (String, &[u8])> {
        attributes(&self.expressions).map(|(_, expression)| {
            (
                attribute(expression, NFTA_EXPR_NAME)
                    .map(text)
                    .unwrap_or_default(),
                attribute(expression, NFTA_EXPR_DATA).unwrap_or_default(),
            )
        })
    }

    fn verdict(&self) -> Option<&[u8]> {
        let (name, data) = self.expressions().last()?;
        if name != "immediate" {
            return None;
        }
        attribute(attribute(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VERDICT)
    }

    /// The chain that the rule jumps or goes to.
    pub(super) fn target(&self) -> Option<String> {
        attribute(self.verdict()?, NFTA_VERDICT_CHAIN).map(text)
    }

    pub(super) fn jumps_to(&self, chain: &str) -> bool {
        self.target().as_deref() == Some(chain)
    }

    /// Whether it drops or rejects without looking at the packet; counting and logging do not count as looking.
    pub(super) fn drops_everything(&self) -> bool {
        let matches_nothing = self.expressions().all(|(name, _)| {
            [
                "immediate",
                "counter",
                "log",
                "limit",
                "reject",
                "target",
                "last",
            ]
            .contains(&&*name)
        });
        let drops = self
            .verdict()
            .and_then(|verdict| attribute(verdict, NFTA_VERDICT_CODE))
            .is_some_and(|code| number(code) == NF_DROP);
        let rejects = self.expressions().last().is_some_and(|(name, data)| {
            let target = attribute(data, NFTA_TARGET_NAME).map(text);
            name == "reject" || (name == "target" && target.as_deref() == Some("REJECT"))
        });
        matches_nothing && (drops || rejects)
    }

    /// Whether the text stands anywhere in the rule's expressions: where iptables-nft keeps its comments.
    pub(super) fn says(&self, words: &str) -> bool {
        let said = |bytes: &[u8]| {
            !words.is_empty()
                && bytes
                    .windows(words.len())
                    .any(|window| window == words.as_bytes())
        };
        said(&self.expressions) || self.comment.as_deref().is_some_and(|c| said(c.as_bytes()))
    }
}
