//! What happens when no descriptor is left for a client that waits.
//! Both sockets' loops come here when accept(2) refuses.
//! It must never ask again at once: the client would still be there, and the processor be kept busy by nothing.

use std::fs::File;
use std::future::Future;
use std::io;

use tokio::task::JoinSet;

/// A descriptor that is given up to take a client just to turn him away.
pub(crate) struct Spare(Option<File>);

impl Spare {
    pub(crate) fn keep() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Waits for one of our own clients to go. Where there is none, descriptors are short for another reason, whose end
    /// nobody tells: then the client that waits is taken by `accept`, and turned away.
    pub(crate) async fn make_room<T>(
        &mut self,
        refusal: &io::Error,
        clients: &mut JoinSet<()>,
        accept: impl Future<Output = io::Result<T>>,
    ) {
        tracing::warn!("accept a connection: {refusal}");
        if clients.join_next().await.is_none() {
            self.0 = None;
            tokio::select! {
                biased;
                turned_away = accept => drop(turned_away),
                // He has gone by himself: whoever comes next is not to pay for it.
                () = std::future::ready(()) => {}
            }
            *self = Self::keep();
        }
    }
}
