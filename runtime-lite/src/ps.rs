//! `wharf ps`: the containers and how they are.
//! `cli` calls it.
//! It must never hide a container that it can't read.

use serde_json::{Value, json};

use crate::attach;
use crate::clock;
use crate::container::{self, Container, Folder, Life, Mode};
use crate::error::Result;
use crate::home::Home;
use crate::network::inspect::published;
use crate::output::{self, Colour, Table, coloured};

/// Prints all containers.
pub(crate) fn ps(home: &Home, as_json: bool) -> Result<()> {
    let (folders, _) = container::folders(home)?;
    let mut lines = Vec::new();
    for folder in folders {
        match line(home, &folder) {
            Ok(line) => lines.push(line),
            // It may just have been removed; if not, say why it can't be shown.
            Err(_) if !folder.path().exists() => {}
            Err(error) => output::warn(&error.chain()),
        }
    }
    if as_json {
        output::print_json(&lines.iter().map(Line::document).collect());
    } else {
        output::print(&table(&lines).render());
    }
    Ok(())
}

struct Line {
    about: Container,
    life: Life,
    pid: Option<i32>,
    addresses: Vec<String>,
    ports: Vec<String>,
}

fn line(home: &Home, folder: &Folder) -> Result<Line> {
    let about = folder.container()?;
    let client = home.client();
    let mut addresses = Vec::new();
    for made in about
        .attachments
        .iter()
        .filter(|made| made.ifname.as_str() != "lo")
    {
        let result = attach::result(&client, &about, made).ok().flatten();
        let ips = result.map(|result| result.ips).unwrap_or_default();
        addresses.extend(ips.iter().map(|ip| ip.address.ip().to_string()));
    }
    let ports = about.attachments.iter();
    Ok(Line {
        life: folder.life()?,
        pid: folder
            .status()?
            .map(|status| status.pid)
            .filter(|pid| *pid > 0),
        addresses,
        ports: ports
            .flat_map(|made| published(&made.capabilities))
            .collect(),
        about,
    })
}

impl Line {
    fn networks(&self) -> Vec<&str> {
        match self.about.mode {
            Mode::None => vec!["none"],
            Mode::Host => vec!["host"],
            Mode::Networks => {
                let made = self.about.attachments.iter();
                let made = made.filter(|made| made.ifname.as_str() != "lo");
                made.map(|made| made.network.as_str()).collect()
            }
        }
    }

    fn document(&self) -> Value {
        json!({
            "id": self.about.id.as_str(),
            "name": self.about.name,
            "state": self.life.as_str(),
            "pid": self.pid,
            "created": self.about.created,
            "rootfs": self.about.rootfs,
            "command": self.about.command,
            "netns": self.about.netns,
            "networks": self.networks(),
            "addresses": self.addresses,
            "ports": self.ports,
        })
    }
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new(&[
        "CONTAINER",
        "NAME",
        "STATE",
        "CREATED",
        "NETWORK",
        "ADDRESS",
        "PORTS",
        "COMMAND",
    ]);
    let now = clock::now();
    for line in lines {
        let colour = match line.life {
            Life::Running => Colour::Green,
            Life::Dead => Colour::Red,
            Life::Starting | Life::Ending => Colour::Yellow,
        };
        table.row(vec![
            line.about.short_id().to_owned(),
            line.about.name.clone(),
            coloured(colour, line.life.as_str()),
            clock::ago(line.about.created_at, now),
            line.networks().join(" "),
            line.addresses.join(" "),
            line.ports.join(" "),
            shortened(&line.about.command.join(" ")),
        ]);
    }
    table
}

fn shortened(text: &str) -> String {
    const ROOM: usize = 40;
    match text.char_indices().nth(ROOM) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
