//! Which tables there are: one short dump that spares a question for each thing that is not there.
//! The searches for other firewalls and for the reference plugins' rules begin with it.
//! It must never be kept beyond one search: tables come and go.

use std::collections::HashSet;

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{NfTablesMessage, TableMessage};

use super::Nft;
use super::wire::{Request, attribute, text};
use crate::error::Result;

const NFTA_TABLE_NAME: u16 = 1;

/// The tables of all families.
pub(super) struct Present(HashSet<(u8, String)>);

impl Present {
    pub(super) fn has(&self, family: NetfilterProtoFamily, table: &str) -> bool {
        self.0.contains(&(u8::from(family), table.to_owned()))
    }
}

impl Nft {
    pub(super) fn present_tables(&mut self) -> Result<Present> {
        let tables = self.socket.dump("dump the nftables tables", || {
            let message = NfTablesMessage::GetTable(TableMessage {
                attributes: Vec::new(),
            });
            Request::new(NetfilterProtoFamily::Unspec, 0, message)
        })?;
        Ok(Present(
            tables
                .iter()
                .filter_map(|table| {
                    let name = attribute(&table.attributes, NFTA_TABLE_NAME).map(text)?;
                    Some((table.family, name))
                })
                .collect(),
        ))
    }
}
