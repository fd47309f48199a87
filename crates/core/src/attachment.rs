//! Who an attachment is: network, container and interface; and what is derived from that for ever.
//! Every verb of every plugin starts from it.
//! It must never depend on anything that a DEL without record, prevResult and netns lacks.

use std::fmt;
use std::net::IpAddr;

use macaddr::MacAddr6;
use wharfline_kernel::hash::stable_hash;
use wharfline_kernel::nft::Tag;
use wharfline_spec::names::{ContainerId, IfName, NetworkName};

/// The identity of one attachment: an interface of a container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachmentKey {
    /// The network.
    pub network: NetworkName,
    /// The container.
    pub container: ContainerId,
    /// The interface's name inside the container.
    pub ifname: IfName,
}

/// Crockford's base 32 without vowels that spell: five bits a letter, fit for an interface name.
const LETTERS: &[u8; 32] = b"0123456789abcdfghjklmnpqrstvwxyz";

impl AttachmentKey {
    /// The name of the link's host end: "wl" and 60 bits of the identity. `salt` counts collisions.
    pub fn host_end(&self, salt: u8) -> IfName {
        derived_name("wl", self.hash(salt))
    }

    /// The text beside the link's host end, for people and for finding it again.
    pub fn alias(&self) -> String {
        format!(
            "wharfline {} {} {}",
            self.network, self.container, self.ifname
        )
    }

    /// The identity that an alias of ours tells.
    pub fn from_alias(alias: &str) -> Option<Self> {
        let mut words = alias.strip_prefix("wharfline ")?.split(' ');
        let key = Self {
            network: NetworkName::new(words.next()?).ok()?,
            container: ContainerId::new(words.next()?).ok()?,
            ifname: IfName::new(words.next()?).ok()?,
        };
        words.next().is_none().then_some(key)
    }

    /// A 32-bit number for BPF keys, marks and policy.
    pub fn id(&self) -> u32 {
        (self.hash(0) >> 32) as u32
    }

    /// The mark on this attachment's nft elements.
    pub fn tag(&self) -> Tag {
        Tag::attachment(
            self.network.as_str(),
            self.container.as_str(),
            self.ifname.as_str(),
        )
    }

    /// A MAC for the container's end. An IPv4 address makes it: 0a:58 and the four bytes, so that a reused address
    /// comes back with the same MAC, and nobody who remembers it is wrong (moby#36069).
    pub fn mac(&self, first_address: Option<IpAddr>) -> MacAddr6 {
        let tail = match first_address {
            Some(IpAddr::V4(ip)) => ip.octets(),
            Some(IpAddr::V6(ip)) => (stable_hash(&[&ip.octets()]) as u32).to_be_bytes(),
            None => self.id().to_be_bytes(),
        };
        MacAddr6::new(0x0a, 0x58, tail[0], tail[1], tail[2], tail[3])
    }

    /// A MAC for the host's end, of another prefix than any container's.
    pub fn host_mac(&self) -> MacAddr6 {
        let tail = self.id().to_be_bytes();
        MacAddr6::new(0x0a, 0x59, tail[0], tail[1], tail[2], tail[3])
    }

    fn hash(&self, salt: u8) -> u64 {
        stable_hash(&[
            self.network.as_str().as_bytes(),
            self.container.as_str().as_bytes(),
            self.ifname.as_str().as_bytes(),
            &[salt],
        ])
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of container {} on network {}",
            self.ifname, self.container, self.network
        )
    }
}

/// A MAC for a bridge that we make: the same each time that a bridge of this name is made.
pub fn bridge_mac(bridge: &IfName) -> MacAddr6 {
    let tail = (stable_hash(&[bridge.as_str().as_bytes()]) as u32).to_be_bytes();
    MacAddr6::new(0x0a, 0x5a, tail[0], tail[1], tail[2], tail[3])
}

/// A MAC for the host's own link on a parent. The parent's MAC tells it from that of another host on the segment.
pub fn shim_mac(shim: &IfName, parent: MacAddr6) -> MacAddr6 {
    let hash = stable_hash(&[shim.as_str().as_bytes(), parent.as_bytes()]);
    let tail = (hash as u32).to_be_bytes();
    MacAddr6::new(0x0a, 0x5b, tail[0], tail[1], tail[2], tail[3])
}

/// A link name of ours: `prefix` and 60 bits of a hash, at most 15 bytes for a prefix of three.
pub fn derived_name(prefix: &str, hash: u64) -> IfName {
    let mut name = String::with_capacity(15);
    name.push_str(prefix);
    for digit in 0..12 {
        let five_bits = (hash >> (digit * 5)) & 31;
        name.push(char::from(LETTERS[five_bits as usize]));
    }
    // A prefix of ours and twelve letters are always a valid name of at most fifteen bytes.
    IfName::new(&name).unwrap_or_else(|_| unreachable!("{name} is a valid interface name"))
}

#[cfg(test)]
mod tests {
    use wharfline_spec::cni::mac_text;

    use super::*;

    fn key(container: &str) -> AttachmentKey {
        AttachmentKey {
            network: NetworkName::new("lab").expect("name"),
            container: ContainerId::new(container).expect("id"),
            ifname: IfName::new("eth0").expect("name"),
        }
    }

    #[test]
    fn what_is_derived_never_changes() {
        // Containers of an older release are found by these: a change here is a migration.
        let key = key("c1");
        assert_eq!(key.host_end(0).as_str(), "wlgbskack71v0s");
        assert_eq!(key.id(), 0xec83_613c);
        assert_eq!(mac_text(key.host_mac()), "0a:59:ec:83:61:3c");
        assert_eq!(mac_text(key.mac(None)), "0a:58:ec:83:61:3c");
        let bridge = IfName::new("cni0").expect("name");
        assert_eq!(mac_text(bridge_mac(&bridge)), "0a:5a:59:54:88:ef");
    }

    #[test]
    fn derived_names_are_interface_names_of_at_most_fifteen_bytes() {
        for hash in [0, 1, u64::MAX, 0x8421_0842_1084_2108] {
            for prefix in ["wl", "abc"] {
                let name = derived_name(prefix, hash);
                assert_eq!(name.as_str().len(), prefix.len() + 12);
            }
        }
        assert_ne!(derived_name("wl", 1), derived_name("wl", 2));
    }

    #[test]
    fn an_alias_tells_whose_it_is_and_another_text_nobody() {
        let key = key("c1");
        assert_eq!(AttachmentKey::from_alias(&key.alias()), Some(key));
        for other in [
            "",
            "uplink",
            "wharfline",
            "wharfline lab c1",
            "wharfline lab c1 eth0 x",
            "wharfline member 1 of cni0",
        ] {
            assert_eq!(AttachmentKey::from_alias(other), None, "{other}");
        }
    }

    #[test]
    fn a_collision_is_left_by_the_next_salt() {
        assert_ne!(key("c1").host_end(0), key("c1").host_end(1));
        assert_ne!(key("c1").host_end(0), key("c2").host_end(0));
    }

    #[test]
    fn a_reused_address_has_the_same_mac() {
        let ip = Some("10.88.0.7".parse().expect("address"));
        assert_eq!(key("c1").mac(ip), key("c2").mac(ip));
        assert_eq!(mac_text(key("c1").mac(ip)), "0a:58:0a:58:00:07");
        assert_ne!(key("c1").mac(None), key("c2").mac(None));
    }
}
