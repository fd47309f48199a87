//! A container's networks: ADD, DEL and CHECK of its attachments, by the plugins' own protocol.
//! `start` attaches, `settle` detaches, `network connect` and `disconnect` do either, `network check` checks.
//! It must never configure anything itself: every link, address and rule is a plugin's work.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use wharf_protocol::write_atomically;
use wharfline_cni::client::{Attach, Client};
use wharfline_spec::cni::{CniResult, ConfList};
use wharfline_spec::{IfName, NetworkName};

use crate::container::{Attachment, Container, Folder, Rank};
use crate::error::{Error, Result};
use crate::gateway;
use crate::home::Home;

/// The interface that every namespace has.
const LOOPBACK: &str = "lo";
/// The network of that interface, under the name that containerd gives it.
const LOOPBACK_NETWORK: &str = "cni-loopback";

/// One made attachment.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) ifname: IfName,
    pub(crate) result: CniResult,
}

/// The attachment that brings `lo` up, and its network; `None` if the host has no plugin for it.
pub(crate) fn loopback(home: &Home) -> Result<Option<(Attachment, ConfList)>> {
    if !home
        .plugins()
        .iter()
        .any(|dir| dir.join("loopback").is_file())
    {
        return Ok(None);
    }
    let document = json!({
        "cniVersion": "1.0.0",
        "name": LOOPBACK_NETWORK,
        "plugins": [{"type": "loopback"}],
    });
    let list =
        ConfList::parse(document.to_string().as_bytes()).map_err(|source| Error::Config {
            object: LOOPBACK_NETWORK.to_owned(),
            source,
        })?;
    let attachment = Attachment {
        network: NetworkName::new(LOOPBACK_NETWORK)?,
        ifname: IfName::new(LOOPBACK)?,
        capabilities: Map::new(),
        args: Vec::new(),
        gateway: Rank::default(),
    };
    Ok(Some((attachment, list)))
}

/// Whether this is the interface that every namespace has.
pub(crate) fn is_loopback(attachment: &Attachment) -> bool {
    attachment.network.as_str() == LOOPBACK_NETWORK
}

/// Keeps a network's configuration in the container's folder, complete and as it is now: its DEL must find
/// the configuration of its ADD, whatever happens to the network's file.
pub(crate) fn keep(folder: &Folder, attachment: &Attachment, list: &ConfList) -> Result<()> {
    let path = folder.conflist(&attachment.ifname);
    let mut document = list.raw.clone();
    let mut plugins: Vec<Value> = list.plugins.iter().map(|p| p.raw.clone().into()).collect();
    gateway::give_metrics(list, &mut plugins, attachment.gateway);
    document.insert("plugins".to_owned(), Value::Array(plugins));
    // The plugins that the loader found beside the list are inside it now.
    document.insert("loadOnlyInlinedPlugins".to_owned(), true.into());
    let text = format!("{:#}\n", Value::Object(document));
    write_atomically(&path, text.as_bytes()).map_err(Error::file("write", path))
}

/// The configuration that [`keep`] kept.
pub(crate) fn kept(folder: &Folder, ifname: &IfName) -> Result<ConfList> {
    let path = folder.conflist(ifname);
    let text = fs::read(&path).map_err(Error::file("read", &path))?;
    ConfList::parse(&text).map_err(|source| Error::Config {
        object: path.display().to_string(),
        source,
    })
}

/// ADD: makes every attachment of the container, at once if they depend on nothing of each other.
pub(crate) fn attach(home: &Home, container: &Container, folder: &Folder) -> Result<Vec<Made>> {
    let client = home.client();
    let one = |attachment: &Attachment| add(&client, container, folder, attachment);
    let attachments = &container.wish.attachments;
    for attachment in attachments {
        if !gateway::is_by_metric(&kept(folder, &attachment.ifname)?) {
            // Whoever comes first has the default route then.
            let mut ranked: Vec<_> = attachments.iter().collect();
            ranked.sort_by_key(|attachment| attachment.gateway.metric());
            return ranked.into_iter().map(one).collect();
        }
    }
    in_parallel(attachments, one).into_iter().collect()
}

/// ADD of one attachment.
pub(crate) fn add(
    client: &Client,
    container: &Container,
    folder: &Folder,
    attachment: &Attachment,
) -> Result<Made> {
    let list = kept(folder, &attachment.ifname)?;
    let asked = asked(container, attachment, container.netns.clone());
    let result = client.add(&list, &asked)?;
    Ok(Made {
        ifname: attachment.ifname.clone(),
        result,
    })
}

/// DEL: undoes every attachment, also half-made ones and such that were never made; returns what failed.
pub(crate) fn detach(home: &Home, container: &Container, folder: &Folder) -> Vec<Error> {
    let client = home.client();
    let one = |attachment: &Attachment| del(&client, container, folder, attachment);
    let outcomes = in_parallel(&container.wish.attachments, one);
    outcomes.into_iter().filter_map(Result::err).collect()
}

/// DEL of one attachment.
pub(crate) fn del(
    client: &Client,
    container: &Container,
    folder: &Folder,
    attachment: &Attachment,
) -> Result<()> {
    if !folder.conflist(&attachment.ifname).is_file() {
        return Ok(());
    }
    // A namespace that is gone is told as none: plugins then clean up by names alone (CNI SPEC 1.1.0, DEL).
    let netns = container
        .netns
        .clone()
        .filter(|path| crate::netns::exists(path));
    let list = kept(folder, &attachment.ifname)?;
    Ok(client.del(&list, &asked(container, attachment, netns))?)
}

/// CHECK: whether the attachment is still as its ADD made it.
pub(crate) fn check(
    client: &Client,
    container: &Container,
    folder: &Folder,
    attachment: &Attachment,
) -> Result<()> {
    let list = kept(folder, &attachment.ifname)?;
    Ok(client.check(
        &list,
        &asked(container, attachment, container.netns.clone()),
    )?)
}

/// What the plugins answered at ADD, from wharf's cache.
pub(crate) fn result(
    client: &Client,
    container: &Container,
    attachment: &Attachment,
) -> Result<Option<CniResult>> {
    let asked = asked(container, attachment, None);
    let cached = client.cached(&attachment.network, &asked)?;
    Ok(cached.and_then(|cached| cached.result))
}

/// What the plugins answered at every ADD of a container that runs.
pub(crate) fn results(client: &Client, container: &Container) -> Vec<Made> {
    let all = container.wish.attachments.iter().filter_map(|attachment| {
        let result = result(client, container, attachment).ok().flatten()?;
        Some(Made {
            ifname: attachment.ifname.clone(),
            result,
        })
    });
    all.collect()
}

fn asked(container: &Container, attachment: &Attachment, netns: Option<PathBuf>) -> Attach {
    let mut asked = Attach::new(container.id.clone(), netns, attachment.ifname.clone());
    asked.capabilities = attachment.capabilities.clone();
    asked.args = attachment.args.clone();
    asked
}

/// Does `work` for all items, each in a thread of its own if there are several.
fn in_parallel<I: Sync, O: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<O> + Sync,
) -> Vec<Result<O>> {
    let Some((last, others)) = items.split_last() else {
        return Vec::new();
    };
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = others
            .iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        let last = work(last);
        let mut outcomes: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(Error::Thread)))
            .collect();
        outcomes.push(last);
        outcomes
    })
}
