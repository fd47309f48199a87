//! `wharf network rm`: has the plugins give up what they keep for the network, then removes its file.
//! `cli` calls it.
//! It must never remove a network that something is attached to, nor a file that wharf did not write.

use std::fs;

use wharfline_spec::cni::ConfList;

use super::{find, inspect};
use crate::container;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output;

/// Removes one of wharf's networks.
pub(crate) fn rm(home: &Home, name: &str) -> Result<()> {
    let known = find(home, name)?;
    if !known.own {
        return Err(Error::ForeignNetwork {
            name: name.to_owned(),
            path: known.path,
        });
    }
    let users = users(home, name)?;
    if !users.is_empty() {
        return Err(Error::NetworkInUse {
            name: name.to_owned(),
            containers: users,
        });
    }
    give_up(home, &known.list)?;
    fs::remove_file(&known.path).map_err(Error::file("remove", &known.path))?;
    output::print(&format!("{name}\n"));
    Ok(())
}

/// Who is attached, or about to be: wharf's containers that are not at rest, and other runtimes' cached results.
fn users(home: &Home, name: &str) -> Result<Vec<String>> {
    let mut users = Vec::new();
    for (about, folder) in container::all(home)? {
        if folder.life()?.at_rest() {
            continue;
        }
        let attached = about
            .wish
            .attachments
            .iter()
            .any(|made| made.network.as_str() == name);
        if attached {
            users.push(about.name);
        }
    }
    let others = inspect::connections(home, name)?;
    let others = others.into_iter().filter(|other| other.source != "wharf");
    users.extend(others.map(|other| other.container));
    Ok(users)
}

/// GC with no valid attachment: the plugins let go of addresses, links and rules that crashed containers left.
///
/// Below version 1.1.0 there is no GC, and nothing is sent.
pub(crate) fn give_up(home: &Home, list: &ConfList) -> Result<()> {
    Ok(home.client().gc(list, &[])?)
}
