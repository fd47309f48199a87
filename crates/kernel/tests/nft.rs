//! nftables on the real kernel: each test in network namespaces of its own, never in the machine's.
//! Needs root and the packages nftables, iproute2, iptables, conntrack and containernetworking-plugins.

#[path = "nft/conntrack.rs"]
mod conntrack;
#[path = "nft/elements.rs"]
mod elements;
#[path = "nft/foreign.rs"]
mod foreign;
#[path = "nft/generation.rs"]
mod generation;
#[path = "nft/lab.rs"]
mod lab;
#[path = "nft/legacy.rs"]
mod legacy;
#[path = "nft/predecessor.rs"]
mod predecessor;
#[path = "nft/standing.rs"]
mod standing;
#[path = "nft/traffic.rs"]
mod traffic;
