//! The hash behind derived names and tags: it names things that outlive a process and a release.
//! Link names, MACs (core), and the tags, table names and seals of nftables are made from it.
//! It must never change.

/// FNV-1a of 64 bits over the parts, a zero byte after each so that they do not run into each other.
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
