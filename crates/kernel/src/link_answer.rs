//! Reading the kernel's description of a link: the dozen attributes that we look at, of some sixty.
//! `link` reads every answer to RTM_GETLINK through it; decoding all of one takes longer than the kernel took to write it.
//! It must never fail on an attribute that it does not know.

use macaddr::MacAddr6;

use crate::bridge_port::BridgePort;
use crate::link::Link;

/// `struct ifinfomsg` (rtnetlink(7)): family and type, then index, flags and change mask of four bytes each.
const INDEX: std::ops::Range<usize> = 4..8;
const FLAGS: std::ops::Range<usize> = 8..12;
const ATTRIBUTES: usize = 16;
const IFF_UP: u32 = 0x1;
const IFF_PROMISC: u32 = 0x100;

// linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_NO: u16 = 18;
const IFLA_BRPORT_ISOLATED: u16 = 33;

impl Link {
    /// The link of an RTM_NEWLINK message's body; `None` where it is cut short.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let flags = number(body.get(FLAGS)?)?;
        let mut link = Self {
            index: number(body.get(INDEX)?)?,
            up: flags & IFF_UP != 0,
            promiscuous: flags & IFF_PROMISC != 0,
            ..Self::default()
        };
        for (kind, value) in attributes(body.get(ATTRIBUTES..)?) {
            match kind {
                IFLA_IFNAME => link.name = text(value),
                IFLA_ADDRESS => link.mac = <[u8; 6]>::try_from(value).ok().map(MacAddr6::from),
                IFLA_MTU => link.mtu = number(value)?,
                IFLA_LINK => link.lower = number(value),
                IFLA_LINK_NETNSID => link.lower_is_elsewhere = true,
                IFLA_MASTER => link.controller = number(value),
                IFLA_GROUP => link.group = number(value)?,
                IFLA_IFALIAS => link.alias = Some(text(value)),
                IFLA_LINKINFO => link.read_info(value),
                _ => {}
            }
        }
        Some(link)
    }

    fn read_info(&mut self, info: &[u8]) {
        for (kind, value) in attributes(info) {
            match kind {
                IFLA_INFO_KIND => self.kind = text(value),
                IFLA_INFO_DATA if self.kind == "bridge" => {
                    self.vlan_filtering = flag(value, IFLA_BR_VLAN_FILTERING);
                }
                // Its kind stands before it; ports of other controllers than bridges have no port number.
                IFLA_INFO_SLAVE_DATA => self.port = bridge_port(value),
                _ => {}
            }
        }
    }
}

fn bridge_port(settings: &[u8]) -> Option<BridgePort> {
    let mut numbers = attributes(settings).filter(|(kind, _)| *kind == IFLA_BRPORT_NO);
    let number = numbers.next()?.1.first_chunk::<2>()?;
    Some(BridgePort {
        number: u16::from_ne_bytes(*number),
        hairpin: flag(settings, IFLA_BRPORT_MODE),
        isolated: flag(settings, IFLA_BRPORT_ISOLATED),
    })
}

/// Whether the attribute `wanted` is there and its byte is not 0.
fn flag(nested: &[u8], wanted: u16) -> bool {
    attributes(nested).any(|(kind, value)| kind == wanted && value.first().is_some_and(|b| *b != 0))
}

/// The attributes up to the first that is cut short, without the nesting bits of their kinds.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk::<2>()?));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message() -> Vec<u8> {
        let mut body = vec![0; 16];
        body[4] = 7;
        body[8] = 1;
        body.extend(attribute(IFLA_IFNAME, b"eth0\0"));
        body.extend(attribute(IFLA_MTU, &1400_u32.to_ne_bytes()));
        body.extend(attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]));
        let port = [
            attribute(IFLA_BRPORT_NO, &1023_u16.to_ne_bytes()),
            attribute(IFLA_BRPORT_ISOLATED, &[1]),
        ]
        .concat();
        let info = [
            attribute(IFLA_INFO_KIND, b"veth\0"),
            attribute(IFLA_INFO_SLAVE_DATA | 0x8000, &port),
        ]
        .concat();
        body.extend(attribute(IFLA_LINKINFO, &info));
        body
    }

    #[test]
    fn what_is_looked_at_is_read() {
        let link = Link::read(&message()).expect("a whole message");
        assert_eq!(
            (link.index, link.name.as_str(), link.mtu),
            (7, "eth0", 1400)
        );
        assert!(link.up && !link.promiscuous);
        assert_eq!(link.mac, Some(MacAddr6::new(2, 0, 0, 0, 0, 9)));
        let port = link.port.expect("a bridge port");
        assert_eq!(
            (port.number, port.isolated, port.hairpin),
            (1023, true, false)
        );
    }

    #[test]
    fn a_message_cut_anywhere_is_no_panic() {
        let whole = message();
        for end in 0..whole.len() {
            let _ = Link::read(&whole[..end]);
        }
    }
}
