//! Laying our tables and telling whether they still stand as they were laid.
//! Each verb verifies before it relies on a table; a table that is gone or altered is laid anew and refilled.
//! It must never change a table of a newer version, nor exec anything while the table stands.

use std::cmp::Ordering;
use std::collections::HashSet;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute,
    TableMessage,
};
use nftables::helper::{NftablesError, get_current_ruleset_raw};
use nix::errno::Errno;

use super::Nft;
use super::element::Element;
use super::elements::{self, SetKey};
use super::generation;
use super::table::{BASE_VERSION, Table};
use super::tag::Tag;
use super::wire::{Request, attribute, comment_of};
use crate::error::{KernelError, Result};
use crate::hash::stable_hash;

const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_USERDATA: u16 = 6;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
/// How many elements one transaction of a refill carries.
const REFILL: usize = 2048;
/// How often a table is looked at again before its seal, while no two looks agree.
const LOOKS: usize = 8;
/// Where nft is looked for when PATH, which a runtime may have emptied, does not lead to it.
const NFT_PLACES: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

/// How a table of ours stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As it was laid, or of a newer version; elements may be added.
    Sealed,
    /// There, but its rules are not those that were laid, the refill never ended, or it is of an older version.
    Altered,
    /// Not there.
    Absent,
}

impl Nft {
    /// Whether the table stands as it was laid: its flags, chains, policies and rules against the seal within.
    /// One that does, and that nobody changed meanwhile, is vouched for ([`Nft::vouched`]).
    pub fn verify(&mut self, table: &Table) -> Result<Standing> {
        match self.judge(table)? {
            // By two looks only: see `look_twice`.
            Standing::Altered => self.judge(table),
            standing => Ok(standing),
        }
    }

    fn judge(&mut self, table: &Table) -> Result<Standing> {
        let Some(seen) = self.look_at(table)? else {
            return Ok(Standing::Absent);
        };
        // A version that does not read (another program's table of that name) counts as 0.
        match seen.version.cmp(&BASE_VERSION) {
            Ordering::Less => return Ok(Standing::Altered),
            // How a newer release seals its rules is not ours to know; ours must not take their place.
            Ordering::Greater => return Ok(Standing::Sealed),
            Ordering::Equal => {}
        }
        let seal = elements::get(table, &seen.seal());
        let questions = vec![
            Request::new(table.family(), 0, seal),
            generation::question(),
        ];
        let mut answers = self.socket.ask(questions)?.into_iter();
        match answers.next() {
            Some(Ok(_)) => {}
            Some(Err(refusal)) if refusal.errno != Errno::ENOENT => {
                return Err(KernelError::new(
                    format!("look up the seal of table {table}"),
                    refusal.errno,
                )
                .with_extack(refusal.extack));
            }
            _ => return Ok(Standing::Altered),
        }
        if let Some(answer) = answers.next() {
            self.vouch(table, seen.generation, generation::read(answer)?);
        }
        Ok(Standing::Sealed)
    }

    /// Lays the table and fills it with `elements`; an altered one is replaced in one transaction.
    /// Returns false when another process laid it first: its elements are then the other's business.
    ///
    /// Runs `nft` in the calling thread's network namespace, which must be the socket's.
    /// Without an nft the error's errno is ENOPKG.
    pub fn lay(&mut self, table: &Table, elements: &[(Element, Tag)]) -> Result<bool> {
        let standing = self.verify(table)?;
        let script = match standing {
            Standing::Sealed => return Ok(false),
            Standing::Absent => table.script(),
            Standing::Altered => format!("delete table {table}\n{}", table.script()),
        };
        if let Err(error) = run_nft(table, &script) {
            // Who lost a race finds the table there now.
            let lost = standing == Standing::Absent && self.look_at(table)?.is_some();
            return if lost { Ok(false) } else { Err(error) };
        }
        self.refill(table, elements)?;
        Ok(true)
    }

    /// Removes the table with all that is in it; an absent one is success.
    pub fn remove(&mut self, table: &Table) -> Result<()> {
        let message = NfTablesMessage::DeleteTable(TableMessage {
            attributes: vec![TableAttribute::Name(table.name())],
        });
        let request = Request::new(table.family(), 0, message);
        self.vouched = None;
        match self.change(vec![request])?.pop() {
            Some((_, refusal)) if refusal.errno != Errno::ENOENT => Err(KernelError::new(
                format!("delete table {table}"),
                refusal.errno,
            )
            .with_extack(refusal.extack)),
            _ => Ok(()),
        }
    }

    /// The seal goes in last: a refill that a SIGKILL cut short leaves an unsealed table.
    fn refill(&mut self, table: &Table, elements: &[(Element, Tag)]) -> Result<()> {
        // A key has one owner; of two records that claim it (one of the dead) the first is believed.
        let mut taken = HashSet::new();
        let own: Vec<&(Element, Tag)> = elements
            .iter()
            .filter(|(element, _)| element.table() == *table)
            .filter(|(element, _)| {
                let place = element.place();
                taken.insert((place.set, place.key))
            })
            .collect();
        for part in own.chunks(REFILL) {
            self.fill(part)?;
        }
        let Some(seen) = self.look_twice(table)? else {
            return Err(KernelError::new(
                format!("seal table {table}"),
                Errno::ENOENT,
            ));
        };
        let seal = elements::add(table, &seen.seal(), None);
        let request = Request::new(table.family(), NLM_F_CREATE, seal);
        match self.change_perhaps(vec![request])?.pop() {
            Some((_, refusal)) => Err(KernelError::new(
                format!("seal table {table}"),
                refusal.errno,
            )
            .with_extack(refusal.extack)),
            None => Ok(()),
        }
    }

    /// The table as two looks in a row saw it. Where memory is short the kernel dumps the rules in parts, and what another's
    /// transaction adds in between shifts them without notice, should it fail (nf_tables_dump_rules() and netlink_dump()).
    fn look_twice(&mut self, table: &Table) -> Result<Option<Seen>> {
        let mut seen = self.look_at(table)?;
        for _ in 0..LOOKS {
            let again = self.look_at(table)?;
            let digest = |seen: &Option<Seen>| seen.as_ref().map(|seen| seen.digest);
            if digest(&seen) == digest(&again) {
                return Ok(again);
            }
            seen = again;
        }
        Ok(seen)
    }

    /// The table as it stands; `None`: there is no such table.
    fn look_at(&mut self, table: &Table) -> Result<Option<Seen>> {
        let name = table.name();
        let get_table = NfTablesMessage::GetTable(TableMessage {
            attributes: vec![TableAttribute::Name(name.clone())],
        });
        let mut questions = vec![
            generation::question(),
            Request::new(table.family(), 0, get_table),
        ];
        for chain in table.chains() {
            let get_chain = NfTablesMessage::GetChain(ChainMessage {
                attributes: vec![
                    ChainAttribute::Table(name.clone()),
                    ChainAttribute::Name((*chain).to_owned()),
                ],
            });
            questions.push(Request::new(table.family(), 0, get_chain));
        }
        let mut answers = self.socket.ask(questions)?.into_iter();
        let generation = answers.next().map_or(Ok(0), generation::read)?;
        let head = match answers.next() {
            Some(Ok(object)) => object.attributes,
            Some(Err(refusal)) if refusal.errno == Errno::ENOENT => return Ok(None),
            Some(Err(refusal)) => {
                return Err(
                    KernelError::new(format!("look up table {table}"), refusal.errno)
                        .with_extack(refusal.extack),
                );
            }
            None => return Ok(None),
        };
        let mut parts = vec![
            attribute(&head, NFTA_TABLE_FLAGS)
                .unwrap_or_default()
                .to_vec(),
        ];
        for answer in answers {
            let chain = answer.map(|object| object.attributes).unwrap_or_default();
            parts.push(
                attribute(&chain, NFTA_CHAIN_HOOK)
                    .unwrap_or_default()
                    .to_vec(),
            );
            parts.push(
                attribute(&chain, NFTA_CHAIN_POLICY)
                    .unwrap_or_default()
                    .to_vec(),
            );
        }
        for rule in self.rules(table)? {
            for kind in [NFTA_RULE_CHAIN, NFTA_RULE_HANDLE, NFTA_RULE_EXPRESSIONS] {
                parts.push(attribute(&rule, kind).unwrap_or_default().to_vec());
            }
        }
        let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
        Ok(Some(Seen {
            generation,
            version: version(&head),
            digest: stable_hash(&parts),
        }))
    }

    fn rules(&mut self, table: &Table) -> Result<Vec<Vec<u8>>> {
        let make = || {
            let attributes = vec![RuleAttribute::Table(table.name())];
            let message = NfTablesMessage::GetRule(RuleMessage { attributes });
            Request::new(table.family(), 0, message)
        };
        let dumped = self
            .socket
            .dump(&format!("dump the rules of table {table}"), make)?;
        Ok(dumped.into_iter().map(|rule| rule.attributes).collect())
    }
}

/// A table as it was found.
struct Seen {
    /// The ruleset's generation when the look began.
    generation: u32,
    version: u32,
    /// Hash of its flags, chains, policies and rules.
    digest: u64,
}

impl Seen {
    /// The element that is in the table if it stands as it was laid.
    fn seal(&self) -> SetKey {
        SetKey::new("seal", self.digest.to_be_bytes().to_vec())
    }
}

/// The version in the table's comment, "wharfline <version>".
fn version(table: &[u8]) -> u32 {
    attribute(table, NFTA_TABLE_USERDATA)
        .and_then(comment_of)
        .and_then(|comment| comment.strip_prefix("wharfline ")?.parse().ok())
        .unwrap_or_default()
}

/// Runs `nft -j SCRIPT`; what is not JSON is read as nft's own language (nft_run_cmd_from_buffer() in
/// libnftables.c). Of the crate's functions this one alone keeps what nft says when it refuses; it serves any command.
///
/// The child is not bound to our life (`child::die_with_this_thread`): the crate makes the Command itself and takes none.
/// What it may still do after our death is one whole transaction that lays an unsealed table, or fails where one
/// stands; the next verb replaces an unsealed one.
fn run_nft(table: &Table, script: &str) -> Result<()> {
    for program in NFT_PLACES {
        match get_current_ruleset_raw(Some(program), [script]) {
            Ok(_) => return Ok(()),
            Err(NftablesError::NftExecution { inner, .. })
                if inner.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(table, error)),
        }
    }
    Err(KernelError::new(
        format!("run nft to lay table {table} (install the package nftables)"),
        Errno::ENOPKG,
    ))
}

fn refused(table: &Table, error: NftablesError) -> KernelError {
    let tried = match table {
        Table::Conditional(conditions) => format!("lay table {table} with nft ({conditions})"),
        Table::Main | Table::Bridge | Table::Boundary => format!("lay table {table} with nft"),
    };
    match error {
        NftablesError::NftExecution { inner, .. } => KernelError::from_io(tried, &inner),
        NftablesError::NftFailed { stderr, .. } => {
            let words: Vec<_> = stderr.lines().map(str::trim).collect();
            KernelError::new(tried, Errno::EINVAL).with_extack(Some(words.join(" | ")))
        }
        other => KernelError::new(tried, Errno::EIO).with_extack(Some(other.to_string())),
    }
}

/// Whether there is an nft to lay tables with; for STATUS.
pub fn tool_is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).any(|folder| folder.join("nft").is_file());
    in_path
        || NFT_PLACES
            .iter()
            .any(|place| place.starts_with('/') && std::path::Path::new(place).is_file())
}
