//! What kernel parameters of the host were before we changed them, so that an uninstall can put them back.
//! `perform` notes each change, `uninstall` reads them.
//! It must never overwrite the first value noted: that is the one from before us.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use wharfline_kernel::link::LinkKey;
use wharfline_spec::names::IfName;

use crate::attachment::{AttachmentKey, bridge_mac};
use crate::error::{Error, Result};
use crate::lock::{Lock, Mode};
use crate::session::Session;
use crate::state;

/// One parameter: its value before us, and the one that we wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Former {
    pub(crate) before: String,
    pub(crate) ours: String,
}

fn path(session: &Session) -> PathBuf {
    session.state().note("sysctls.json")
}

/// Every parameter that we changed, by key.
pub(crate) fn all(session: &Session) -> Result<BTreeMap<String, Former>> {
    match fs::read(path(session)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(Error::io("read the note of kernel parameters", e)),
    }
}

/// A parameter of a link that we made goes with it.
fn is_of_our_link(session: &Session, key: &str) -> Result<bool> {
    let Some(name) = key
        .split('/')
        .nth(3)
        .and_then(|name| IfName::new(name).ok())
    else {
        return Ok(false);
    };
    let link = session.host().link(LinkKey::Name(&name))?;
    Ok(link.is_some_and(|link| {
        let key = link.alias.as_deref().and_then(AttachmentKey::from_alias);
        let is_end = key.is_some_and(|key| key.ifname == name || link.mac == Some(key.host_mac()));
        is_end || link.mac == Some(bridge_mac(&name))
    }))
}

/// Notes that `key` was `before` and is `ours` now. Rare: forwarding is switched on once per boot.
pub(crate) fn note(session: &Session, key: &str, before: String, ours: &str) -> Result<()> {
    if is_of_our_link(session, key)? {
        return Ok(());
    }
    let _alone = Lock::acquire(&session.state().lock("shared"), Mode::Exclusive)?;
    let mut noted = all(session)?;
    noted.entry(key.to_owned()).or_insert_with(|| Former {
        before,
        ours: ours.to_owned(),
    });
    let text = serde_json::to_vec(&noted)
        .map_err(|e| Error::io("write the note of kernel parameters", io::Error::other(e)))?;
    state::write_whole(&path(session), &text)
}
