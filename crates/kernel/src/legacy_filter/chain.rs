//! The bytes of an iptables-legacy chain: whether a packet with our mark gets through it.
//! `legacy_filter` hands it what the kernel answered; struct ipt_entry and ip6t_entry (linux/netfilter_ipv4/ip_tables.h,
//! linux/netfilter_ipv6/ip6_tables.h) say what the bytes are. It must never panic on them, whatever they are.

use crate::nft::MARK;

/// sizeof(struct xt_entry_match), also of xt_entry_target: size, name and revision, before what is particular to each.
const EXTENSION: usize = 32;
/// Verdicts of the standard target: -NF_ACCEPT - 1 and -NF_DROP - 1.
const ACCEPT: u32 = -2_i32 as u32;
const DROP: u32 = -1_i32 as u32;

/// Where the parts of an entry are: they differ by the size of an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// sizeof(struct ipt_ip): what the rule asks of addresses, interfaces and protocol; zeros where it asks nothing.
    ip: usize,
    /// offsetof(target_offset); next_offset follows it.
    offsets: usize,
    /// sizeof(struct ipt_entry): the matches begin there.
    entry: usize,
}

impl Layout {
    pub(super) const V4: Layout = Layout {
        ip: 84,
        offsets: 88,
        entry: 112,
    };
    pub(super) const V6: Layout = Layout {
        ip: 136,
        offsets: 140,
        // 148 bytes, padded to the 64-bit counters.
        entry: 148_usize.next_multiple_of(align_of::<u64>()) + 16,
    };
}

/// What a chain does with a forwarded packet that no rule names in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// It lets everything through.
    Open,
    /// It lets through what bears our mark.
    Marked,
    /// It drops or rejects everything.
    Closed,
}

/// The first rule that every packet with our mark meets decides. The policy is the last entry.
pub(super) fn passage(chain: &[u8], layout: Layout) -> Passage {
    let mut rest = chain;
    while let Some((entry, behind)) = first(rest, layout) {
        if let Some(passage) = verdict(entry, layout) {
            return passage;
        }
        rest = behind;
    }
    Passage::Open
}

/// Where the entry at `begin` of the table ends.
pub(super) fn end_of(table: &[u8], begin: usize, layout: Layout) -> usize {
    let entry = table.get(begin..).and_then(|rest| first(rest, layout));
    begin + entry.map_or(0, |(entry, _)| entry.len())
}

/// A number of 32 bits in the host's byte order.
pub(super) fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn short(bytes: &[u8], offset: usize) -> Option<usize> {
    let bytes = bytes.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?).into())
}

/// The first entry, and what follows it.
fn first(chain: &[u8], layout: Layout) -> Option<(&[u8], &[u8])> {
    let length = short(chain, layout.offsets + 2)?;
    (length >= layout.entry).then(|| chain.split_at_checked(length))?
}

/// What the entry does with packets that bear our mark; `None`: it asks for more than that, or decides nothing.
fn verdict(entry: &[u8], layout: Layout) -> Option<Passage> {
    let target_offset = short(entry, layout.offsets)?;
    let asks_nothing = entry.get(..layout.ip)?.iter().all(|byte| *byte == 0);
    let by_mark = asks_for_mark_only(entry.get(layout.entry..target_offset)?)?;
    let target = entry.get(target_offset..)?;
    match (name(target)?, number(target, EXTENSION)) {
        _ if !asks_nothing => None,
        (b"", Some(ACCEPT)) if by_mark => Some(Passage::Marked),
        (b"", Some(ACCEPT)) => Some(Passage::Open),
        (b"", Some(DROP)) | (b"REJECT", _) => Some(Passage::Closed),
        _ => None,
    }
}

/// Whether the matches ask for our mark (struct xt_mark_mtinfo1: mark, mask, invert), or, comments aside, for nothing
/// at all; `None`: for something else.
fn asks_for_mark_only(matches: &[u8]) -> Option<bool> {
    let mut by_mark = false;
    let mut rest = matches;
    while !rest.is_empty() {
        let size = short(rest, 0).filter(|size| *size >= EXTENSION)?;
        let (this, behind) = rest.split_at_checked(size)?;
        match name(this)? {
            b"comment" => {}
            b"mark" => {
                let asked = [0, 4].map(|offset| number(this, EXTENSION + offset));
                let inverted = this.get(EXTENSION + 8) != Some(&0);
                by_mark = (asked == [Some(MARK); 2] && !inverted).then_some(true)?;
            }
            _ => return None,
        }
        rest = behind;
    }
    Some(by_mark)
}

/// The extension's name, up to its zero byte.
fn name(extension: &[u8]) -> Option<&[u8]> {
    let name = extension.get(2..EXTENSION - 1)?;
    name.split(|byte| *byte == 0).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(name: &str, body: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; EXTENSION];
        bytes[..2].copy_from_slice(&((EXTENSION + body.len() * 4) as u16).to_ne_bytes());
        bytes[2..2 + name.len()].copy_from_slice(name.as_bytes());
        bytes.extend(body.iter().flat_map(|number| number.to_ne_bytes()));
        bytes
    }

    fn entry(layout: Layout, matches: &[Vec<u8>], target: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; layout.entry];
        bytes.extend(matches.concat());
        let target_offset = bytes.len() as u16;
        bytes.extend(target);
        let next_offset = bytes.len() as u16;
        bytes[layout.offsets..layout.offsets + 2].copy_from_slice(&target_offset.to_ne_bytes());
        bytes[layout.offsets + 2..layout.offsets + 4].copy_from_slice(&next_offset.to_ne_bytes());
        bytes
    }

    fn both(rules: impl Fn(Layout) -> Vec<Vec<u8>>) -> [Passage; 2] {
        [Layout::V4, Layout::V6].map(|layout| passage(&rules(layout).concat(), layout))
    }

    #[test]
    fn the_first_rule_that_every_marked_packet_meets_decides() {
        let accept = extension("", &[ACCEPT]);
        let drop = extension("", &[DROP]);
        let reject = extension("REJECT", &[0]);
        let mark = |mark| vec![extension("mark", &[mark, MARK, 0])];
        let tcp = [extension("tcp", &[0])];
        assert_eq!(both(|l| vec![entry(l, &[], &drop)]), [Passage::Closed; 2]);
        assert_eq!(both(|l| vec![entry(l, &[], &accept)]), [Passage::Open; 2]);
        for (matches, expected) in [
            (mark(MARK).as_slice(), Passage::Marked),
            (mark(0).as_slice(), Passage::Closed),
            (&tcp, Passage::Closed),
            (&[extension("comment", &[0; 64])], Passage::Open),
        ] {
            let rules = |l| vec![entry(l, matches, &accept), entry(l, &[], &drop)];
            assert_eq!(both(rules), [expected; 2]);
        }
        let rules = |l| vec![entry(l, &[], &reject), entry(l, &[], &accept)];
        assert_eq!(both(rules), [Passage::Closed; 2]);
    }

    #[test]
    fn rules_of_some_packets_only_decide_nothing() {
        let mut from_one = entry(Layout::V4, &[], &extension("", &[DROP]));
        from_one[0] = 10;
        let policy = entry(Layout::V4, &[], &extension("", &[ACCEPT]));
        assert_eq!(
            passage(&[from_one, policy].concat(), Layout::V4),
            Passage::Open
        );
    }

    #[test]
    fn a_chain_cut_anywhere_is_no_panic() {
        let matches = [extension("mark", &[MARK, MARK, 0])];
        let whole = entry(Layout::V4, &matches, &extension("", &[DROP]));
        for length in 0..whole.len() {
            let cut = passage(&whole[..length], Layout::V4);
            assert_eq!(cut, Passage::Open, "{length}");
            assert_eq!(end_of(&whole[..length], 0, Layout::V4), 0);
        }
        let mut wrong = whole;
        for size in [0, 1, EXTENSION as u8 - 1, u8::MAX] {
            wrong[Layout::V4.entry] = size;
            assert_eq!(passage(&wrong, Layout::V4), Passage::Open);
        }
    }
}
