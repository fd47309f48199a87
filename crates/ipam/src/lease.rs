//! The content of a lease file: whose address it is.
//! Read and written by the store; compared byte for byte with what the reference's host-local writes.
//! Must never add anything to the two lines: the reference's DEL compares the whole file.

use std::fmt;

use wharfline_spec::{ContainerId, IfName};

/// Between the two lines of a lease file (the reference's backend/disk/backend.go).
const LINE_BREAK: &str = "\r\n";

/// Container id in the leases that `host-local reserve` makes for the operator.
const RESERVED: &str = "wharfline.reserved";

/// The content of a lease file without the white space around it.
///
/// Two lines, container and interface, of a current lease; the container alone of an old one, which
/// then stands for every interface of that container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(String);

/// Who asks for an address: one interface of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    current: Holder,
    old: Holder,
}

impl Owner {
    /// The interface `ifname` of `container`.
    #[must_use]
    pub fn new(container: &ContainerId, ifname: &IfName) -> Owner {
        Owner::of(container.as_str(), ifname.as_str())
    }

    /// The operator, who reserves an address for use outside containers.
    #[must_use]
    pub fn operator() -> Owner {
        Owner::of(RESERVED, "host")
    }

    fn of(container: &str, ifname: &str) -> Owner {
        Owner {
            current: Holder(format!("{container}{LINE_BREAK}{ifname}")),
            old: Holder(container.to_owned()),
        }
    }

    /// [`Holder::hash64`] of the current and of the old holder, for lists too long to keep as text.
    #[must_use]
    pub fn hashes(container: &ContainerId, ifname: &IfName) -> [u64; 2] {
        let old = fnv(FNV_START, container.as_str());
        let current = fnv(fnv(old, LINE_BREAK), ifname.as_str());
        [mixed(current), mixed(old)]
    }

    /// What a lease of this owner holds.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.current
    }

    /// What a lease of this owner held before interfaces were written.
    #[must_use]
    pub fn old_holder(&self) -> &Holder {
        &self.old
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.fmt(f)
    }
}

impl Holder {
    /// The holder that a lease file names; `None` when it names nobody: an empty file, or one of NULs
    /// after a power cut. Bytes that are no text are kept readable, and belong to no owner.
    #[must_use]
    pub fn of_content(content: &[u8]) -> Option<Holder> {
        let text = String::from_utf8_lossy(content);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| Holder(text.to_owned()))
    }

    /// The text of the lease file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The container.
    #[must_use]
    pub fn container(&self) -> &str {
        self.0
            .split_once(LINE_BREAK)
            .map_or(&self.0, |(container, _)| container)
    }

    /// The interface; `None` in an old lease.
    #[must_use]
    pub fn ifname(&self) -> Option<&str> {
        self.0.split_once(LINE_BREAK).map(|(_, ifname)| ifname)
    }

    /// Whether the operator reserved the address; no collection may free it.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.container() == RESERVED
    }

    /// A number for finding the holder in the index.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        mixed(fnv(FNV_START, &self.0))
    }
}

/// FNV-1a of 64 bits (draft-eastlake-fnv). Not the standard library's hash, whose numbers may change
/// from one build to the next while an index stays.
fn fnv(start: u64, text: &str) -> u64 {
    text.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV's low bits, which the index uses, say little about the last bytes; this spreads them.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// `container eth0`, on one line.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once(LINE_BREAK) {
            Some((container, ifname)) => write!(f, "{container} {ifname}"),
            None => f.write_str(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(container: &str, ifname: &str) -> Owner {
        Owner::new(
            &ContainerId::new(container).unwrap(),
            &IfName::new(ifname).unwrap(),
        )
    }

    #[test]
    fn the_content_is_the_reference_s() {
        assert_eq!(owner("abc", "eth0").holder().as_str(), "abc\r\neth0");
        assert_eq!(
            Holder::of_content(b"abc\r\neth0").as_ref(),
            Some(owner("abc", "eth0").holder())
        );
    }

    #[test]
    fn old_leases_name_the_container_alone() {
        let old = Holder::of_content(b"abc\n").unwrap();
        assert_eq!(&old, owner("abc", "eth1").old_holder());
        assert_eq!((old.container(), old.ifname()), ("abc", None));
    }

    #[test]
    fn hashes_need_no_text() {
        let (container, ifname) = (
            ContainerId::new("abc").unwrap(),
            IfName::new("eth0").unwrap(),
        );
        let owner = Owner::new(&container, &ifname);
        let expected = [owner.holder().hash64(), owner.old_holder().hash64()];
        assert_eq!(Owner::hashes(&container, &ifname), expected);
    }

    #[test]
    fn files_that_a_crash_left_name_nobody() {
        for content in [&b""[..], b"\r\n", b"\0\0\0\0"] {
            assert_eq!(Holder::of_content(content), None);
        }
        assert!(Holder::of_content(b"\xff\xfe").is_some());
    }
}
