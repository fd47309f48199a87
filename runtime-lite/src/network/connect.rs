//! `wharf network connect` and `disconnect`: one interface more or less for a container, at once if it runs.
//! `main` calls both.
//! It must never leave a container's file and its namespace in different states.

use std::fs;

use wharf_protocol::event;

use super::find;
use crate::container::{self, Container, Folder, Mode};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{attach, cli, connection, etc, turn};

/// Attaches the container to a further network.
pub(crate) fn connect(home: &Home, asked: &cli::Connect) -> Result<()> {
    let (_, folder) = container::find(home, &asked.container)?;
    let _claim = folder.claim(&asked.container)?;
    let mut about = folder.container()?;
    if !about.owns_netns() {
        return Err(Error::NoNamespace(about.name));
    }
    let made = connection::one_more(home, &asked.network, &about.wish.attachments)?;
    let network = made.network.clone();
    let _turn = turn::shared(home)?;
    about.wish.mode = Mode::Networks;
    about.wish.attachments.push(made.clone());
    // Told first: whoever puts the container away after a crash has to know of it.
    folder.rewrite(&about)?;
    if !folder.life()?.at_rest() {
        attach::keep(&folder, &made, &find(home, network.as_str())?.list)?;
        if let Err(error) = attach::add(&home.client(), &about, &folder, &made) {
            about.wish.attachments.pop();
            let _ = fs::remove_file(folder.conflist(&made.ifname));
            folder.rewrite(&about)?;
            return Err(error);
        }
        tell(home, &about, &folder)?;
    }
    event::tell(home.run(), about.id.as_str(), "connect", network.as_str());
    Ok(())
}

/// Detaches the container from a network.
pub(crate) fn disconnect(home: &Home, network: &str, wanted: &str) -> Result<()> {
    let (_, folder) = container::find(home, wanted)?;
    let _claim = folder.claim(wanted)?;
    let mut about = folder.container()?;
    let mut attachments = about.wish.attachments.iter();
    let at = attachments.position(|made| made.network.as_str() == network);
    let at = at.ok_or_else(|| Error::NotConnected {
        container: about.name.clone(),
        network: network.to_owned(),
    })?;
    let _turn = turn::shared(home)?;
    let leaving = about.wish.attachments[at].clone();
    attach::del(&home.client(), &about, &folder, &leaving)?;
    about.wish.attachments.remove(at);
    folder.rewrite(&about)?;
    let _ = fs::remove_file(folder.conflist(&leaving.ifname));
    if !folder.life()?.at_rest() {
        tell(home, &about, &folder)?;
    }
    event::tell(home.run(), about.id.as_str(), "disconnect", network);
    Ok(())
}

/// The container's own files, and those of the containers that know it by name, say where it is now.
fn tell(home: &Home, about: &Container, folder: &Folder) -> Result<()> {
    let made = attach::results(&home.client(), about);
    etc::fill(home, about, folder, &made)?;
    etc::tell_linked(home, about)
}
