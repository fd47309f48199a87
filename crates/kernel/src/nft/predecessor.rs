//! Rules that the reference plugins left for a container which ours now delete (features.md G6).
//! Called on DEL, over nfnetlink, for their iptables-nft and nftables back ends.
//! It must never touch a rule whose comment does not name the container.

use netlink_packet_netfilter::NetfilterProtoFamily as Family;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage,
};
use nix::errno::Errno;

use super::Nft;
use super::rule::{Rule, chain_rules};
use super::wire::Request;
use crate::error::{KernelError, Result};

/// A chain in which the reference plugins keep a rule per container.
struct Haunt {
    family: Family,
    table: &'static str,
    chain: &'static str,
    /// How its comments name the container.
    naming: Naming,
}

#[derive(Clone, Copy)]
enum Naming {
    /// `name: "NETWORK" id: "CONTAINER"`, with "dnat " before it in portmap's (pkg/utils/utils.go).
    Quoted,
    /// `HASH-HASH, net: NETWORK, if: IFNAME, id: CONTAINER`, cut at 128 bytes (pkg/ip/ipmasq_nftables_linux.go).
    Listed,
    /// The container id and nothing else (plugins/meta/portmap/portmap_nftables.go).
    Bare,
}

const fn haunt(family: Family, table: &'static str, chain: &'static str, naming: Naming) -> Haunt {
    Haunt {
        family,
        table,
        chain,
        naming,
    }
}

/// With iptables bridge and ptp masquerade in POSTROUTING, portmap translates in CNI-HOSTPORT-DNAT; the
/// tables of their own are the nftables back end's.
const HAUNTS: [Haunt; 11] = [
    haunt(Family::IPv4, "nat", "POSTROUTING", Naming::Quoted),
    haunt(Family::IPv6, "nat", "POSTROUTING", Naming::Quoted),
    haunt(Family::IPv4, "nat", "CNI-HOSTPORT-DNAT", Naming::Quoted),
    haunt(Family::IPv6, "nat", "CNI-HOSTPORT-DNAT", Naming::Quoted),
    haunt(
        Family::Inet,
        "cni_plugins_masquerade",
        "masq_checks",
        Naming::Listed,
    ),
    haunt(Family::IPv4, "cni_hostport", "hostports", Naming::Bare),
    haunt(Family::IPv6, "cni_hostport", "hostports", Naming::Bare),
    haunt(
        Family::IPv4,
        "cni_hostport",
        "hostip_hostports",
        Naming::Bare,
    ),
    haunt(
        Family::IPv6,
        "cni_hostport",
        "hostip_hostports",
        Naming::Bare,
    ),
    haunt(Family::IPv4, "cni_hostport", "masquerading", Naming::Bare),
    haunt(Family::IPv6, "cni_hostport", "masquerading", Naming::Bare),
];

/// The container as the reference plugins' comments name it.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The network's name.
    pub network: &'a str,
    /// CNI_CONTAINERID.
    pub container: &'a str,
    /// CNI_IFNAME.
    pub ifname: &'a str,
}

impl Naming {
    fn names(self, rule: &Rule, whom: &Named<'_>) -> bool {
        match self {
            Naming::Quoted => rule.says(&format!(
                "name: \"{}\" id: \"{}\"",
                whom.network, whom.container
            )),
            Naming::Bare => rule.comment.as_deref() == Some(whom.container),
            Naming::Listed => {
                let whole = format!(
                    "net: {}, if: {}, id: {}",
                    whom.network, whom.ifname, whom.container
                );
                let said = rule
                    .comment
                    .as_deref()
                    .and_then(|said| said.split_once(", "));
                // A cut comment must still show enough of the id to tell containers apart.
                let enough = whole.len().min(whole.len() - whom.container.len() + 12);
                said.is_some_and(|(_, said)| said.len() >= enough && whole.starts_with(said))
            }
        }
    }
}

impl Nft {
    /// Deletes what the reference plugins left for the container, and says how many rules of theirs named it.
    /// On a host that never had them it costs one round of look-ups.
    pub fn clear_predecessor(&mut self, whom: &Named<'_>) -> Result<usize> {
        let present = self.present_tables()?;
        let haunts: Vec<_> = HAUNTS
            .iter()
            .filter(|haunt| present.has(haunt.family, haunt.table))
            .collect();
        let questions = haunts.iter().map(|haunt| chain_question(haunt)).collect();
        let answers = self.socket.ask(questions)?;
        let mut cleared = 0;
        for (haunt, _) in haunts
            .into_iter()
            .zip(answers)
            .filter(|(_, answer)| answer.is_ok())
        {
            let rules = chain_rules(self, haunt.family, haunt.table, Some(haunt.chain))?;
            let theirs: Vec<_> = rules
                .iter()
                .filter(|rule| haunt.naming.names(rule, whom))
                .collect();
            if !theirs.is_empty() {
                self.clear(haunt, &theirs)?;
                cleared += theirs.len();
            }
        }
        Ok(cleared)
    }

    /// The rules, and the chains of the container's own that they jump to, in one transaction.
    fn clear(&mut self, haunt: &Haunt, rules: &[&Rule]) -> Result<()> {
        let rule = |chain: &str, handle: Option<u64>| {
            let mut attributes = vec![
                RuleAttribute::Table(haunt.table.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
            ];
            attributes.extend(handle.map(RuleAttribute::Handle));
            let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
            Request::new(haunt.family, 0, message)
        };
        let mut changes: Vec<_> = rules
            .iter()
            .map(|found| rule(&found.chain, Some(found.handle)))
            .collect();
        let mut chains: Vec<_> = rules.iter().filter_map(|rule| rule.target()).collect();
        chains.retain(|chain| chain.starts_with("CNI-") && !chain.starts_with("CNI-HOSTPORT-"));
        chains.sort();
        chains.dedup();
        for chain in chains {
            changes.push(rule(&chain, None));
            let attributes = vec![
                ChainAttribute::Table(haunt.table.to_owned()),
                ChainAttribute::Name(chain),
            ];
            let message = NfTablesMessage::DeleteChain(ChainMessage { attributes });
            changes.push(Request::new(haunt.family, 0, message));
        }
        match self.change(changes)?.into_iter().next() {
            // Somebody else (the reference itself) was faster.
            Some((_, refusal)) if refusal.errno != Errno::ENOENT => Err(KernelError::new(
                format!(
                    "delete the reference plugins' rules in {} {}",
                    haunt.table, haunt.chain
                ),
                refusal.errno,
            )
            .with_extack(refusal.extack)),
            _ => Ok(()),
        }
    }
}

fn chain_question(haunt: &Haunt) -> Request {
    let attributes = vec![
        ChainAttribute::Table(haunt.table.to_owned()),
        ChainAttribute::Name(haunt.chain.to_owned()),
    ];
    let message = NfTablesMessage::GetChain(ChainMessage { attributes });
    Request::new(haunt.family, 0, message)
}
