//! `wharf inspect`: all that is known of containers, as JSON: what was asked for, where it is, what the plugins answered.
//! `main` calls it.
//! It must never show what is not in a file or a lock.

use serde_json::{Value, json};

use crate::attach;
use crate::container;
use crate::error::Result;
use crate::home::Home;
use crate::network::inspect::Connection;
use crate::{cli, format, output};

/// Prints a list of documents, or a text for each.
pub(crate) fn inspect(home: &Home, asked: &cli::Inspect) -> Result<()> {
    let mut documents = Vec::new();
    for name in &asked.containers {
        documents.push(document(home, name)?);
    }
    match &asked.format {
        None => output::print_json(&Value::Array(documents)),
        Some(template) => {
            for document in &documents {
                output::print(&format!("{}\n", format::fill(template, document)?));
            }
        }
    }
    Ok(())
}

fn document(home: &Home, name: &str) -> Result<Value> {
    let (about, folder) = container::find(home, name)?;
    let life = folder.life()?;
    let status = folder.status()?.unwrap_or_default();
    let networks = match life.at_rest() {
        true => Vec::new(),
        false => networks(home, &about),
    };
    Ok(json!({
        "id": about.id,
        "name": about.name,
        "created": about.created,
        "state": {
            "status": life.as_str(),
            "running": life == container::life::Life::Running,
            "pid": status.pid,
            "exitCode": status.exit_code,
            "startedAt": status.started,
            "finishedAt": status.finished,
            "restartCount": status.restarts,
            "stopped": status.stopped,
            "error": status.error,
            "health": status.health,
        },
        "config": about.wish,
        "netns": about.netns,
        "folder": folder.path(),
        "networks": networks,
    }))
}

fn networks(home: &Home, about: &container::Container) -> Vec<Value> {
    let client = home.client();
    let mut all = Vec::new();
    for made in &about.wish.attachments {
        if let Ok(Some(result)) = attach::result(&client, about, made)
            && !attach::is_loopback(made)
        {
            let connection = Connection::of(about, made, &result);
            all.push(json!({
                "network": made.network,
                "interface": connection.ifname,
                "hostSide": connection.host_side,
                "mac": connection.mac,
                "addresses": connection.addresses,
                "ports": connection.ports,
            }));
        }
    }
    all
}
