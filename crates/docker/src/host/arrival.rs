//! Containers' addresses, told to their segment when dockerd has moved and raised their link.
//! Join starts it; nobody waits for it.
//! It must never keep a call waiting, or fail one: who is not told asks.

use std::path::Path;

use ipnetwork::IpNetwork;
use tokio::runtime::Handle;
use wharfline_core::attachment::AttachmentKey;
use wharfline_kernel::arrival::{Moving, announce_arrival};

use crate::options::Announcements;

/// Follows an endpoint's link into the container, beside the server's calls; it ends with the server.
pub(super) fn announce(
    key: &AttachmentKey,
    sandbox: &Path,
    addresses: &[IpNetwork],
    how: Announcements,
) {
    let moving = Moving {
        link: key.ifname.clone(),
        netns: sandbox.to_owned(),
        addresses: addresses.iter().map(IpNetwork::ip).collect(),
        times: how.times,
        interval: how.interval,
    };
    // A call without a server (a test's) has nothing to run it on.
    if let (Ok(server), false) = (Handle::try_current(), moving.addresses.is_empty()) {
        server.spawn(follow(moving));
    }
}

async fn follow(moving: Moving) {
    let link = &moving.link;
    match announce_arrival(&moving).await {
        Ok(true) => tracing::debug!("announced {:?} of link {link}", moving.addresses),
        Ok(false) => tracing::debug!("link {link} did not come up: nothing is announced"),
        Err(failure) => tracing::debug!("announce the addresses of link {link}: {failure}"),
    }
}
