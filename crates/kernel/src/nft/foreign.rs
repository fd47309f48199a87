//! Forward chains of other firewalls that drop: one rule in each that accepts what bears our mark.
//! The engine calls it when it ensures a network, and withdraws the rules with the last one.
//! It must never touch a rule that does not bear our comment, nor run iptables.

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, Expressions, Immediate, Meta,
    MetaKey, NfTablesMessage, Operator, Register, RuleAttribute, RuleMessage, Verdict,
    VerdictAttribute,
};
use nix::errno::Errno;

use super::Nft;
use super::rule::{Rule, chain_rules};
use super::table::MARK;
use super::wire::{Request, attribute, comment, number, text};
use crate::error::{KernelError, Result};

/// What the rule says of itself, in `nft list` and `iptables -S`.
const COMMENT: &str = "wharfline: forwarded for containers";
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_NUMBER: u16 = 1;
const NF_INET_FORWARD: u64 = 2;
const NF_DROP: u64 = 0;
const NF_ACCEPT: u32 = 1;
/// Where the firewalls that are in use put their forward chain; looked up by name, whatever else the host has.
const KNOWN: [(NetfilterProtoFamily, &str, &str); 6] = [
    (NetfilterProtoFamily::IPv4, "filter", "FORWARD"),
    (NetfilterProtoFamily::IPv6, "filter", "FORWARD"),
    (NetfilterProtoFamily::Inet, "firewalld", "filter_FORWARD"),
    (NetfilterProtoFamily::Inet, "filter", "forward"),
    (NetfilterProtoFamily::IPv4, "filter", "forward"),
    (NetfilterProtoFamily::IPv6, "filter", "forward"),
];

/// How far to look for forward chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Chains of the known firewalls, by name: the same cost on every host, for each verb.
    Known,
    /// Every chain: a dump, for laying, GC and STATUS.
    All,
}

/// A forward chain that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardChain {
    family: NetfilterProtoFamily,
    table: String,
    chain: String,
    drops_by_policy: bool,
}

impl std::fmt::Display for ForwardChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = match self.family {
            NetfilterProtoFamily::IPv4 => "ip",
            NetfilterProtoFamily::IPv6 => "ip6",
            _ => "inet",
        };
        write!(f, "{family} {} {}", self.table, self.chain)
    }
}

impl Nft {
    /// Sees to it that each foreign forward chain that drops has our rule, and returns those chains.
    /// The rule follows a leading jump to DOCKER-USER, the administrator's own chain; else it comes first.
    pub fn let_through(&mut self, search: Search) -> Result<Vec<ForwardChain>> {
        if search == Search::Known && self.is_unopposed() {
            return Ok(Vec::new());
        }
        let mut dropping = Vec::new();
        for chain in self.forward_chains(search)? {
            let rules = chain_rules(self, chain.family, &chain.table, Some(&chain.chain))?;
            let trailing = rules.last().is_some_and(Rule::drops_everything);
            if !chain.drops_by_policy && !trailing {
                continue;
            }
            if !rules.iter().any(is_ours) {
                self.insert(&chain, &rules)?;
            }
            dropping.push(chain);
        }
        if dropping.is_empty() {
            self.vouch_unopposed()?;
        }
        Ok(dropping)
    }

    /// Whether a foreign forward chain drops without letting us through; for CHECK and STATUS.
    pub fn barriers(&mut self, search: Search) -> Result<Vec<ForwardChain>> {
        let mut barriers = Vec::new();
        for chain in self.forward_chains(search)? {
            let rules = chain_rules(self, chain.family, &chain.table, Some(&chain.chain))?;
            let drops = chain.drops_by_policy || rules.last().is_some_and(Rule::drops_everything);
            if drops && !rules.iter().any(is_ours) {
                barriers.push(chain);
            }
        }
        Ok(barriers)
    }

    /// The foreign forward chains that have our rule.
    pub fn accepting(&mut self) -> Result<Vec<ForwardChain>> {
        let mut accepting = Vec::new();
        for chain in self.forward_chains(Search::All)? {
            let rules = chain_rules(self, chain.family, &chain.table, Some(&chain.chain))?;
            if rules.iter().any(is_ours) {
                accepting.push(chain);
            }
        }
        Ok(accepting)
    }

    /// Takes our rules out of all foreign forward chains.
    pub fn withdraw(&mut self) -> Result<()> {
        for chain in self.forward_chains(Search::All)? {
            for rule in chain_rules(self, chain.family, &chain.table, Some(&chain.chain))? {
                if is_ours(&rule) {
                    self.forget_rule(&chain, rule.handle)?;
                }
            }
        }
        Ok(())
    }

    fn forward_chains(&mut self, search: Search) -> Result<Vec<ForwardChain>> {
        let objects = match search {
            Search::Known => {
                let present = self.present_tables()?;
                let there = KNOWN
                    .iter()
                    .filter(|(family, table, _)| present.has(*family, table));
                let questions = there.map(|(family, table, chain)| {
                    let attributes = vec![
                        ChainAttribute::Table((*table).to_owned()),
                        ChainAttribute::Name((*chain).to_owned()),
                    ];
                    let message = NfTablesMessage::GetChain(ChainMessage { attributes });
                    Request::new(*family, 0, message)
                });
                let answers = self.socket.ask(questions.collect())?;
                answers
                    .into_iter()
                    .filter_map(std::result::Result::ok)
                    .collect()
            }
            Search::All => self.socket.dump("dump the nftables chains", || {
                let message = NfTablesMessage::GetChain(ChainMessage {
                    attributes: Vec::new(),
                });
                Request::new(NetfilterProtoFamily::Unspec, 0, message)
            })?,
        };
        Ok(objects
            .iter()
            .filter_map(|object| read_chain(object.family, &object.attributes))
            .collect())
    }

    fn insert(&mut self, chain: &ForwardChain, rules: &[Rule]) -> Result<()> {
        let mut attributes = vec![
            RuleAttribute::Table(chain.table.clone()),
            RuleAttribute::Chain(chain.chain.clone()),
            RuleAttribute::Expressions(accept_marked().into_iter().map(Into::into).collect()),
            RuleAttribute::UserData(comment(COMMENT)),
        ];
        let mut flags = NLM_F_CREATE;
        let first = rules.first().filter(|rule| rule.jumps_to("DOCKER-USER"));
        if let Some(rule) = first {
            attributes.push(RuleAttribute::Position(rule.handle));
            flags |= NLM_F_APPEND;
        }
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        let request = Request::new(chain.family, flags, message);
        match self.change(vec![request])?.pop() {
            None => Ok(()),
            Some((_, refusal)) => Err(KernelError::new(
                format!("let marked packets through {chain}"),
                refusal.errno,
            )
            .with_extack(refusal.extack)),
        }
    }

    fn forget_rule(&mut self, chain: &ForwardChain, handle: u64) -> Result<()> {
        let attributes = vec![
            RuleAttribute::Table(chain.table.clone()),
            RuleAttribute::Chain(chain.chain.clone()),
            RuleAttribute::Handle(handle),
        ];
        let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        let request = Request::new(chain.family, 0, message);
        match self.change(vec![request])?.pop() {
            Some((_, refusal)) if refusal.errno != Errno::ENOENT => Err(KernelError::new(
                format!("take our rule out of {chain}"),
                refusal.errno,
            )
            .with_extack(refusal.extack)),
            _ => Ok(()),
        }
    }
}

fn is_ours(rule: &Rule) -> bool {
    rule.comment.as_deref() == Some(COMMENT)
}

/// `None`: not a base chain of hook forward, or one of ours.
fn read_chain(family: u8, chain: &[u8]) -> Option<ForwardChain> {
    let family = NetfilterProtoFamily::from(family);
    let routed = [
        NetfilterProtoFamily::IPv4,
        NetfilterProtoFamily::IPv6,
        NetfilterProtoFamily::Inet,
    ];
    let hook = attribute(chain, NFTA_CHAIN_HOOK)?;
    let table = attribute(chain, NFTA_CHAIN_TABLE).map(text)?;
    let forward = number(attribute(hook, NFTA_HOOK_NUMBER)?) == NF_INET_FORWARD;
    let ours = table == "wharfline" || table.starts_with("wharfline-");
    (routed.contains(&family) && forward && !ours).then(|| ForwardChain {
        family,
        table,
        chain: attribute(chain, NFTA_CHAIN_NAME)
            .map(text)
            .unwrap_or_default(),
        drops_by_policy: attribute(chain, NFTA_CHAIN_POLICY).map(number) == Some(NF_DROP),
    })
}

/// `meta mark & MARK == MARK counter accept`, in the very expressions that iptables-nft writes for
/// `-m mark --mark MARK/MARK -j ACCEPT`: it refuses to work on a table with a rule that it cannot read.
fn accept_marked() -> [Expressions; 5] {
    let mark = DataAttribute::Value(MARK.to_ne_bytes().to_vec());
    let verdict = VerdictAttribute::Code(Verdict::Other(NF_ACCEPT));
    [
        Expressions::Meta(vec![
            Meta::Key(MetaKey::Mark),
            Meta::DestinationRegister(Register::Reg1),
        ]),
        Expressions::Bitwise(vec![
            Bitwise::SourceRegister(Register::Reg1),
            Bitwise::DestinationRegister(Register::Reg1),
            Bitwise::Length(4),
            Bitwise::Mask(mark.clone()),
            Bitwise::Xor(DataAttribute::Value(vec![0; 4])),
        ]),
        Expressions::Cmp(vec![
            Cmp::SourceRegister(Register::Reg1),
            Cmp::Op(Operator::Equal),
            Cmp::Data(mark),
        ]),
        Expressions::Other {
            expression_type: "counter".to_owned(),
            attributes: vec![
                DefaultNla::new(1, vec![0; 8]),
                DefaultNla::new(2, vec![0; 8]),
            ],
        },
        Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(vec![verdict])),
        ]),
    ]
}
