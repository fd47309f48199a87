//! The ruleset's generation: nf_tables counts the transactions committed in a namespace, whoever made them.
//! `base.rs` vouches for tables at a generation, `elements.rs` moves the count along, the engine keeps it in a note.
//! It must never vouch for what was not verified: a table is whole only as long as nothing at all was committed since.

use std::collections::BTreeSet;

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{GenMessage, NfTablesMessage};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::Nft;
use super::element::Element;
use super::socket::{Object, Refusals};
use super::table::Table;
use super::wire::{Refusal, Request, attribute, number};
use crate::error::{KernelError, Result};

const NFTA_GEN_ID: u16 = 1;

/// How many shared elements are vouched for: a host with more networks looks for them now and then.
const SHARED: usize = 32;

/// What was so at one generation of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// The namespace's cookie (`SO_NETNS_COOKIE`), which is never given to another until the machine boots anew.
    pub namespace: u64,
    /// The generation (`NFTA_GEN_ID`, nft_base_seq() in net/netfilter/nf_tables_api.c).
    pub generation: u32,
    /// The tables that stood as they were laid.
    pub tables: BTreeSet<Table>,
    /// Elements that several attachments share, and that were there.
    #[serde(default)]
    pub shared: BTreeSet<Element>,
    /// Whether no forward chain of the firewalls known by name ([`super::Search::Known`]) dropped.
    #[serde(default)]
    pub unopposed: bool,
}

impl Nft {
    /// Which tables are whole now, so far as this socket knows.
    pub fn vouched(&self) -> Option<&Vouched> {
        self.vouched.as_ref()
    }

    /// Takes over what an earlier verb vouched for, if nothing was committed in this namespace since.
    pub fn believe(&mut self, noted: Vouched) -> Result<bool> {
        let holds = self.socket.namespace() == Some(noted.namespace)
            && self.generation()? == noted.generation;
        if holds {
            self.vouched = Some(noted);
        }
        Ok(holds)
    }

    /// Vouches for a table that was looked at from one generation to another.
    pub(super) fn vouch(&mut self, table: &Table, from: u32, to: u32) {
        let Some(namespace) = self.socket.namespace().filter(|_| from == to) else {
            return;
        };
        match &mut self.vouched {
            Some(vouched) if vouched.generation == to => {
                vouched.tables.insert(table.clone());
            }
            other => {
                *other = Some(Vouched {
                    namespace,
                    generation: to,
                    tables: BTreeSet::from([table.clone()]),
                    shared: BTreeSet::new(),
                    unopposed: false,
                });
            }
        }
    }

    /// Whether all these are vouched for; otherwise they are to be ensured.
    pub fn stands(&self, elements: &[Element]) -> bool {
        let vouched = self.vouched.as_ref();
        vouched.is_some_and(|vouched| {
            elements
                .iter()
                .all(|element| vouched.shared.contains(element))
        })
    }

    /// Vouches for shared elements no longer: whoever relies on them ensures them.
    pub fn doubt_shared(&mut self) {
        if let Some(vouched) = &mut self.vouched {
            vouched.shared.clear();
        }
    }

    /// Vouches no longer for what stands under the keys of these.
    pub(super) fn doubt(&mut self, elements: &[Element]) {
        let is_among = |shared: &Element| elements.iter().any(|element| element.same_key(shared));
        if let Some(vouched) = &mut self.vouched {
            vouched.shared.retain(|shared| !is_among(shared));
        }
    }

    /// Vouches for elements that are known to be there at the generation vouched for.
    pub(super) fn vouch_for_elements(&mut self, elements: &[Element]) {
        let Some(vouched) = &mut self.vouched else {
            return;
        };
        if vouched.shared.len() + elements.len() > SHARED {
            vouched.shared.clear();
        }
        if elements.len() <= SHARED {
            vouched.shared.extend(elements.iter().cloned());
        }
    }

    /// Whether it is vouched for that no known firewall drops.
    pub(super) fn is_unopposed(&self) -> bool {
        self.vouched
            .as_ref()
            .is_some_and(|vouched| vouched.unopposed)
    }

    /// Notes that no known firewall drops, if the look at them fell into the generation vouched for.
    pub(super) fn vouch_unopposed(&mut self) -> Result<()> {
        if let Some(mut vouched) = self.vouched.take() {
            vouched.unopposed = true;
            let stands = self.generation()? == vouched.generation;
            self.vouched = Some(vouched).filter(|_| stands);
        }
        Ok(())
    }

    /// A transaction that changes something if it is committed. Where nobody else committed one meanwhile, the tables
    /// vouched for still are, one generation later.
    pub(super) fn change(&mut self, changes: Vec<Request>) -> Result<Refusals> {
        if changes.is_empty() {
            return Ok(Refusals::new());
        }
        let mut vouched = self.vouched.take();
        let guard = vouched.as_ref().map(|vouched| vouched.generation);
        let outcome = self.socket.transact(changes, guard)?;
        if outcome.unguarded {
            return Ok(outcome.refusals);
        }
        if let Some(vouched) = vouched.as_mut().filter(|_| outcome.refusals.is_empty()) {
            vouched.generation = after(vouched.generation);
        }
        self.vouched = vouched;
        Ok(outcome.refusals)
    }

    /// A transaction that may change nothing, when all it adds is there already: the generation tells afterwards.
    pub(super) fn change_perhaps(&mut self, changes: Vec<Request>) -> Result<Refusals> {
        let refusals = self.socket.transact(changes, None)?.refusals;
        if let Some(vouched) = self.vouched.take() {
            let stands = self.generation()? == vouched.generation;
            self.vouched = Some(vouched).filter(|_| stands);
        }
        Ok(refusals)
    }

    fn generation(&mut self) -> Result<u32> {
        let answer = self.socket.ask(vec![question()])?.pop();
        read(answer.unwrap_or_else(|| Ok(Object::default())))
    }
}

/// Asks for the generation; may stand among other questions.
pub(super) fn question() -> Request {
    let message = GenMessage {
        attributes: Vec::new(),
    };
    Request::new(
        NetfilterProtoFamily::Unspec,
        0,
        NfTablesMessage::GetGen(message),
    )
}

/// The generation in the answer to [`question`].
pub(super) fn read(answer: std::result::Result<Object, Refusal>) -> Result<u32> {
    const TRIED: &str = "ask for the generation of the nftables ruleset";
    let object = answer
        .map_err(|refusal| KernelError::new(TRIED, refusal.errno).with_extack(refusal.extack))?;
    attribute(&object.attributes, NFTA_GEN_ID)
        .map(|id| number(id) as u32)
        .ok_or_else(|| KernelError::new(TRIED, Errno::EBADMSG))
}

/// The generation that a transaction makes of this one: nf_tables_commit() passes over 0.
fn after(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}
