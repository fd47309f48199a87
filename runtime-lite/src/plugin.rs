//! Docker's plugins as wharf calls them: where they listen, and one call with its answer.
//! `volume` has drivers keep volumes by it, `gc` has the network driver dissolve endpoints, `network` asks dockerd for names.
//! It must never wait without a deadline for whoever listens there.

pub(crate) mod address;
pub(crate) mod exchange;

pub(crate) use address::Address;
pub(crate) use exchange::Refusal;
