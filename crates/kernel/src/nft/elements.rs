//! Adding, finding and deleting elements, for one attachment or for all.
//! Called by the engine's operations; every call is one transaction, or one round of questions.
//! It must never delete an element that bears another owner's tag.

use std::collections::BTreeMap;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetAttribute, SetElementAttribute,
    SetElementList, SetElementMessage, SetMessage,
};
use nix::errno::Errno;

use super::Nft;
use super::element::{Element, Place, Rest};
use super::socket::Refusals;
use super::table::Table;
use super::tag::Tag;
use super::wire::{Refusal, Request, attribute, attributes, comment, comment_of, number, text};
use crate::error::{KernelError, Result};

const NFTA_DATA_VALUE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_USERDATA: u16 = 6;
const NFTA_SET_ELEM_EXPR: u16 = 7;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_PACKETS: u16 = 2;
/// How many elements one message adds at most: the list's length is a number of 16 bits.
const TOGETHER: usize = 128;

/// Who stands where an element was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    /// The element as it is in the kernel: the same key, perhaps another target.
    pub element: Element,
    /// Its owner; absent: not put there by us.
    pub tag: Option<Tag>,
}

impl Nft {
    /// Adds elements that must not be there yet, all or none (`NLM_F_EXCL`).
    ///
    /// # Errors
    /// EEXIST names the first element whose key is taken; [`Nft::occupant`] tells by whom. ENOENT: the table is gone.
    pub fn create(&mut self, elements: &[Element], tag: &Tag) -> Result<()> {
        let (changes, added) = additions(elements.iter().map(|element| (element, tag)), NLM_F_EXCL);
        let mut refusals = self.change(changes)?;
        for (_, refusal) in &mut refusals {
            // What some kernels say of a key that leads elsewhere (nft_add_set_elem() in net/netfilter/nf_tables_api.c).
            if refusal.errno == Errno::EBUSY {
                refusal.errno = Errno::EEXIST;
            }
        }
        self.refused_addition(refusals, &added)
    }

    /// Adds elements that may be there; a map's element with another target is refused with EBUSY or EEXIST.
    pub fn ensure(&mut self, elements: &[Element], tag: &Tag) -> Result<()> {
        let (changes, added) = additions(elements.iter().map(|element| (element, tag)), 0);
        let refusals = self.change_perhaps(changes)?;
        self.refused_addition(refusals, &added)?;
        self.vouch_for_elements(elements);
        Ok(())
    }

    /// Fills a table that was just laid.
    pub(super) fn fill(&mut self, elements: &[&(Element, Tag)]) -> Result<()> {
        let (changes, added) = additions(elements.iter().copied(), 0);
        let refusals = self.change_perhaps(changes)?;
        self.refused_addition(refusals, &added)
    }

    /// Names the element that a message failed for, of those that it was to add.
    fn refused_addition(&mut self, refusals: Refusals, added: &[Vec<&Element>]) -> Result<()> {
        let Some((position, refusal)) = refusals.into_iter().next() else {
            return Ok(());
        };
        let together = added.get(position).into_iter().flatten();
        let together: Vec<Element> = together.copied().cloned().collect();
        let present = match refusal.errno {
            Errno::EEXIST => self.look_up(&together)?.iter().position(Option::is_some),
            _ => None,
        };
        Err(refused("add", together.get(present.unwrap_or(0)), refusal))
    }

    /// Deletes elements; those that are absent, or that bear another tag than `tag`, are left and no error.
    /// Without a tag whatever stands under the key goes: for elements that a network's attachments share.
    pub fn delete(&mut self, elements: &[Element], tag: Option<&Tag>) -> Result<()> {
        let mut doomed: Vec<&Element> = match tag {
            None => elements.iter().collect(),
            Some(tag) => self
                .look_up(elements)?
                .into_iter()
                .zip(elements)
                .filter(|(found, _)| matches!(found, Some(found) if found.tag == Some(*tag)))
                .map(|(_, element)| element)
                .collect(),
        };
        self.doubt(elements);
        // An absent element fails the whole transaction, and the kernel names all that are absent; kernels before 6.3
        // have no deletion that forgives. Who deletes at the same time can make it so again.
        while !doomed.is_empty() {
            let changes = doomed
                .iter()
                .map(|element| {
                    let table = element.table();
                    let key = SetKey::from(element.place()).without_data();
                    Request::new(table.family(), 0, delete(&table, &key))
                })
                .collect();
            let refusals = self.change(changes)?;
            if refusals.is_empty() {
                break;
            }
            let mut absent = Vec::new();
            for (position, refusal) in refusals {
                if refusal.errno != Errno::ENOENT {
                    return Err(refused("delete", doomed.get(position).copied(), refusal));
                }
                absent.push(position);
            }
            let mut position = 0..;
            doomed.retain(|_| !position.next().is_some_and(|at| absent.contains(&at)));
        }
        Ok(())
    }

    /// Which of the elements the kernel does not have, or has with another target. Point look-ups, no dump.
    pub fn missing(&mut self, elements: &[Element]) -> Result<Vec<Element>> {
        let found = self.look_up(elements)?;
        Ok(elements
            .iter()
            .zip(found)
            .filter(|(element, found)| {
                found
                    .as_ref()
                    .is_none_or(|found| found.element.place() != element.place())
            })
            .map(|(element, _)| element.clone())
            .collect())
    }

    /// What stands under the element's key, whatever its target and owner.
    pub fn occupant(&mut self, element: &Element) -> Result<Option<Occupant>> {
        Ok(self.look_up(std::slice::from_ref(element))?.pop().flatten())
    }

    /// What stands under each element's key, in the elements' order.
    pub fn look_up(&mut self, elements: &[Element]) -> Result<Vec<Option<Occupant>>> {
        let questions = elements
            .iter()
            .map(|element| {
                let table = element.table();
                let key = SetKey::from(element.place()).without_data();
                Request::new(table.family(), 0, get(&table, &key))
            })
            .collect();
        let answers = self.socket.ask(questions)?;
        elements
            .iter()
            .zip(answers)
            .map(|(element, answer)| match answer {
                Ok(object) => {
                    let set = element.place().set;
                    Ok(read_list(&element.table(), set, &object.attributes).pop())
                }
                Err(refusal) if refusal.errno == Errno::ENOENT => Ok(None),
                Err(refusal) => Err(refused("look up", Some(element), refusal)),
            })
            .collect()
    }

    /// Every element of the table that bears a tag of ours: a dump of all its sets, for when no record is left.
    pub fn dump(&mut self, table: &Table) -> Result<Vec<(Element, Tag)>> {
        let mut found = Vec::new();
        for set in self.sets(table)? {
            for occupant in self.dump_set(table, &set)? {
                if let Some(tag) = occupant.tag {
                    found.push((occupant.element, tag));
                }
            }
        }
        Ok(found)
    }

    /// How many packets a guarded port sent from addresses that are not bound to it; `None`: it is not guarded.
    pub fn dropped(&mut self, ifname: &str) -> Result<Option<u64>> {
        let element = Element::Guarded {
            ifname: ifname.to_owned(),
        };
        let key = SetKey::from(element.place());
        let question = Request::new(Table::Bridge.family(), 0, get(&Table::Bridge, &key));
        match self.socket.ask(vec![question])?.pop() {
            Some(Ok(object)) => Ok(list(&object.attributes).next().map(packets)),
            Some(Err(refusal)) if refusal.errno != Errno::ENOENT => {
                Err(refused("look up", Some(&element), refusal))
            }
            _ => Ok(None),
        }
    }

    fn sets(&mut self, table: &Table) -> Result<Vec<String>> {
        let make = || {
            let attributes = vec![SetAttribute::Table(table.name())];
            Request::new(
                table.family(),
                0,
                NfTablesMessage::GetSet(SetMessage { attributes }),
            )
        };
        let tried = format!("dump the sets of table {table}");
        match self.socket.dump(&tried, make) {
            Ok(sets) => Ok(sets
                .iter()
                .filter_map(|set| attribute(&set.attributes, NFTA_SET_NAME).map(text))
                .collect()),
            Err(error) if error.errno() == Errno::ENOENT => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn dump_set(&mut self, table: &Table, set: &str) -> Result<Vec<Occupant>> {
        let make = || {
            let attributes = vec![
                SetElementList::Table(table.name()),
                SetElementList::Set(set.to_owned()),
            ];
            let message = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
            Request::new(table.family(), 0, message)
        };
        let tried = format!("dump the elements of {set} in table {table}");
        let parts = match self.socket.dump(&tried, make) {
            Ok(parts) => parts,
            Err(error) if error.errno() == Errno::ENOENT => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(parts
            .iter()
            .flat_map(|part| read_list(table, set, &part.attributes))
            .collect())
    }
}

/// The messages that add elements, each with all that go into one set, and the elements of each.
fn additions<'a>(
    elements: impl IntoIterator<Item = impl Into<Tagged<'a>>>,
    flags: u16,
) -> (Vec<Request>, Vec<Vec<&'a Element>>) {
    let mut of_set: BTreeMap<(Table, &str), Vec<Tagged<'a>>> = BTreeMap::new();
    for item in elements {
        let item: Tagged<'a> = item.into();
        let place = (item.element.table(), item.element.set());
        of_set.entry(place).or_default().push(item);
    }
    let groups = of_set
        .iter()
        .flat_map(|(place, all)| all.chunks(TOGETHER).map(move |together| (place, together)));
    groups
        .map(|((table, set), together)| {
            let entry =
                |item: &Tagged<'_>| SetKey::from(item.element.place()).entry(Some(item.tag));
            let entries = together.iter().map(entry).collect();
            let message = NfTablesMessage::NewSetElement(message(table, set, entries));
            let change = Request::new(table.family(), NLM_F_CREATE | flags, message);
            let elements = together.iter().map(|item| item.element).collect();
            (change, elements)
        })
        .unzip()
}

/// An element and whose it is to be.
pub(super) struct Tagged<'a> {
    element: &'a Element,
    tag: &'a Tag,
}

impl<'a> From<(&'a Element, &'a Tag)> for Tagged<'a> {
    fn from((element, tag): (&'a Element, &'a Tag)) -> Self {
        Self { element, tag }
    }
}

impl<'a> From<&'a (Element, Tag)> for Tagged<'a> {
    fn from((element, tag): &'a (Element, Tag)) -> Self {
        Self { element, tag }
    }
}

/// A set and the bytes of one of its elements.
pub(super) struct SetKey {
    set: &'static str,
    key: Vec<u8>,
    key_end: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
}

impl SetKey {
    pub(super) fn new(set: &'static str, key: Vec<u8>) -> Self {
        Self {
            set,
            key,
            key_end: None,
            data: None,
        }
    }

    /// For look-ups and deletions, which go by the key alone.
    fn without_data(self) -> Self {
        Self { data: None, ..self }
    }

    fn entry(&self, tag: Option<&Tag>) -> ListAttribute<SetElementAttribute> {
        let value = |bytes: &[u8]| DataAttribute::Value(bytes.to_vec());
        let mut element = vec![SetElementAttribute::Key(value(&self.key))];
        if let Some(end) = &self.key_end {
            let end = vec![DefaultNla::new(NFTA_DATA_VALUE, end.clone())];
            element.push(SetElementAttribute::KeyEnd(end));
        }
        if let Some(data) = &self.data {
            element.push(SetElementAttribute::Data(value(data)));
        }
        if let Some(tag) = tag {
            element.push(SetElementAttribute::UserData(comment(&tag.to_string())));
        }
        ListAttribute::Element(element)
    }

    fn message(&self, table: &Table, tag: Option<&Tag>) -> SetElementMessage {
        message(table, self.set, vec![self.entry(tag)])
    }
}

fn message(
    table: &Table,
    set: &str,
    entries: Vec<ListAttribute<SetElementAttribute>>,
) -> SetElementMessage {
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.name()),
            SetElementList::Set(set.to_owned()),
            SetElementList::Elements(entries),
        ],
    }
}

impl From<Place> for SetKey {
    fn from(place: Place) -> Self {
        Self {
            set: place.set,
            key: place.key,
            key_end: place.key_end,
            data: place.data,
        }
    }
}

pub(super) fn add(table: &Table, key: &SetKey, tag: Option<&Tag>) -> NfTablesMessage {
    NfTablesMessage::NewSetElement(key.message(table, tag))
}

fn delete(table: &Table, key: &SetKey) -> NfTablesMessage {
    NfTablesMessage::DeleteSetElement(key.message(table, None))
}

pub(super) fn get(table: &Table, key: &SetKey) -> NfTablesMessage {
    NfTablesMessage::GetSetElement(key.message(table, None))
}

/// The elements of one message of a dump or an answer.
fn list(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    attributes(attribute(message, NFTA_LIST_ELEMENTS).unwrap_or_default())
        .filter(|(kind, _)| *kind == NFTA_LIST_ELEM)
        .map(|(_, element)| element)
}

fn read_list(table: &Table, set: &str, message: &[u8]) -> Vec<Occupant> {
    list(message)
        .filter_map(|element| {
            let value = |kind| attribute(attribute(element, kind)?, NFTA_DATA_VALUE);
            let rest = Rest {
                key_end: value(NFTA_SET_ELEM_KEY_END),
                data: value(NFTA_SET_ELEM_DATA),
            };
            Some(Occupant {
                element: Element::read(table, set, value(NFTA_SET_ELEM_KEY)?, rest)?,
                tag: attribute(element, NFTA_SET_ELEM_USERDATA)
                    .and_then(comment_of)
                    .and_then(|comment| comment.parse().ok()),
            })
        })
        .collect()
}

fn packets(element: &[u8]) -> u64 {
    attribute(element, NFTA_SET_ELEM_EXPR)
        .and_then(|expression| attribute(expression, NFTA_EXPR_DATA))
        .and_then(|counter| attribute(counter, NFTA_COUNTER_PACKETS))
        .map(number)
        .unwrap_or_default()
}

fn refused(verb: &str, element: Option<&Element>, refusal: Refusal) -> KernelError {
    let tried = match element {
        Some(element) => format!("{verb} {element}"),
        None => format!("{verb} elements"),
    };
    KernelError::new(tried, refusal.errno).with_extack(refusal.extack)
}
