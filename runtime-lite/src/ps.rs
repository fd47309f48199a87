//! `wharf ps` and `wharf port`: the containers and how they are.
//! `main` calls them.
//! It must never hide a container that it can't read.

use serde_json::{Value, json};
use wharf_protocol::{Status, WellbeingState, clock};

use crate::attach;
use crate::container::life::Life;
use crate::container::{self, Container, Folder, Mode};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::network::inspect::published;
use crate::output::{self, Colour, Table, coloured};
use crate::{cli, format};

/// Prints the containers that are not at rest, or all.
pub(crate) fn ps(home: &Home, asked: &cli::Ps) -> Result<()> {
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
    let all = asked.all
        || asked
            .filter
            .iter()
            .any(|filter| filter.starts_with("status="));
    lines.retain(|line| all || !line.life.at_rest());
    for filter in &asked.filter {
        let matches = matching(filter)?;
        lines.retain(|line| matches(line));
    }
    // The youngest first, as with Docker.
    lines.sort_by_key(|line| std::cmp::Reverse(line.about.created_at));
    print(&lines, asked)
}

fn print(lines: &[Line], asked: &cli::Ps) -> Result<()> {
    if asked.json {
        output::print_json(&lines.iter().map(Line::document).collect());
    } else if let Some(template) = &asked.format {
        for line in lines {
            let text = format::fill(template, &line.fields(asked.no_trunc))?;
            output::print(&format!("{text}\n"));
        }
    } else if asked.quiet {
        for line in lines {
            output::print(&format!("{}\n", line.id(asked.no_trunc)));
        }
    } else {
        output::print(&table(lines, asked.no_trunc).render());
    }
    Ok(())
}

type Filter = Box<dyn Fn(&Line) -> bool>;

/// The `--filter` option.
fn matching(filter: &str) -> Result<Filter> {
    let refuse = || Error::BadValue {
        given: filter.to_owned(),
        rule: "is none of the filters name=, id=, status=, label=, network=",
    };
    let (key, value) = filter.split_once('=').ok_or_else(refuse)?;
    let value = value.to_owned();
    Ok(match key {
        "name" => Box::new(move |line| line.about.name.contains(&value)),
        "id" => Box::new(move |line| line.about.id.as_str().starts_with(&value)),
        "status" => Box::new(move |line| line.life.as_str() == value),
        "network" => Box::new(move |line| line.networks().contains(&value.as_str())),
        "label" => Box::new(move |line| {
            let labels = &line.about.wish.labels;
            match value.split_once('=') {
                Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
                None => labels.contains_key(&value),
            }
        }),
        _ => return Err(refuse()),
    })
}

/// `wharf port`: `80/tcp -> 0.0.0.0:8080`.
pub(crate) fn port(home: &Home, name: &str) -> Result<()> {
    let (about, _) = container::find(home, name)?;
    for made in &about.wish.attachments {
        for mapping in published(&made.capabilities) {
            // [IP:]HOST:CONTAINER/PROTOCOL
            let (host, inside) = mapping.rsplit_once(':').unwrap_or(("", &mapping));
            let host = match host.contains(':') {
                true => host.to_owned(),
                false => format!("0.0.0.0:{host}"),
            };
            output::print(&format!("{inside} -> {host}\n"));
        }
    }
    Ok(())
}

struct Line {
    about: Container,
    life: Life,
    status: Option<Status>,
    addresses: Vec<String>,
    ports: Vec<String>,
}

fn line(home: &Home, folder: &Folder) -> Result<Line> {
    let about = folder.container()?;
    let life = folder.life()?;
    let client = home.client();
    let mut addresses = Vec::new();
    if !life.at_rest() {
        for made in attach::results(&client, &about) {
            if made.ifname.as_str() != "lo" {
                let ips = made.result.ips.iter();
                addresses.extend(ips.map(|ip| ip.address.ip().to_string()));
            }
        }
    }
    let ports = about.wish.attachments.iter();
    Ok(Line {
        life,
        status: folder.status()?,
        addresses,
        ports: ports
            .flat_map(|made| published(&made.capabilities))
            .collect(),
        about,
    })
}

/// How a container is, in Docker's words: `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`.
pub(crate) fn in_words(life: Life, status: Option<&Status>) -> String {
    let now = clock::now();
    let since = |time: Option<&String>| {
        let time = time.and_then(|time| clock::parse(time)).unwrap_or_default();
        clock::ago(u64::try_from(time / 1_000_000_000).unwrap_or(0), now)
    };
    let Some(status) = status else {
        return capitalized(life.as_str());
    };
    let code = status.exit_code.unwrap_or_default();
    match life {
        Life::Running => {
            let up = since(status.started.as_ref());
            let up = format!("Up {}", up.trim_end_matches(" ago"));
            match status.health.as_ref().map(|health| health.state) {
                Some(WellbeingState::Healthy) => format!("{up} (healthy)"),
                Some(WellbeingState::Unhealthy) => format!("{up} (unhealthy)"),
                Some(WellbeingState::Starting) => format!("{up} (health: starting)"),
                None => up,
            }
        }
        Life::Exited => format!("Exited ({code}) {}", since(status.finished.as_ref())),
        Life::Restarting => format!("Restarting ({code}) {}", since(status.finished.as_ref())),
        other => capitalized(other.as_str()),
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

impl Line {
    fn networks(&self) -> Vec<&str> {
        match self.about.wish.mode {
            Mode::None => vec!["none"],
            Mode::Host => vec!["host"],
            Mode::Joined => vec!["container"],
            Mode::Networks => {
                let made = self.about.wish.attachments.iter();
                let made = made.filter(|made| !attach::is_loopback(made));
                made.map(|made| made.network.as_str()).collect()
            }
        }
    }

    fn id(&self, whole: bool) -> &str {
        match whole {
            true => self.about.id.as_str(),
            false => self.about.short_id(),
        }
    }

    fn pid(&self) -> Option<i32> {
        let pid = self.status.as_ref().map(|status| status.pid);
        pid.filter(|pid| *pid > 0)
    }

    fn document(&self) -> Value {
        json!({
            "id": self.about.id.as_str(),
            "name": self.about.name,
            "state": self.life.as_str(),
            "status": in_words(self.life, self.status.as_ref()),
            "pid": self.pid(),
            "exitCode": self.status.as_ref().and_then(|status| status.exit_code),
            "created": self.about.created,
            "image": self.about.wish.image,
            "rootfs": self.about.wish.rootfs,
            "command": self.about.wish.process.command,
            "labels": self.about.wish.labels,
            "netns": self.about.netns,
            "networks": self.networks(),
            "addresses": self.addresses,
            "ports": self.ports,
        })
    }

    /// The names that Docker's templates know.
    fn fields(&self, whole: bool) -> Value {
        let labels = self.about.wish.labels.iter();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        json!({
            "ID": self.id(whole),
            "Image": self.about.wish.image,
            "Command": self.about.wish.process.command.join(" "),
            "CreatedAt": self.about.created,
            "RunningFor": clock::ago(self.about.created_at, clock::now()),
            "State": self.life.as_str(),
            "Status": in_words(self.life, self.status.as_ref()),
            "Ports": self.ports.join(", "),
            "Names": self.about.name,
            "Labels": labels.join(","),
            "Networks": self.networks().join(","),
            "Addresses": self.addresses.join(","),
            "Pid": self.pid(),
        })
    }
}

fn table(lines: &[Line], whole: bool) -> Table {
    let mut table = Table::new(&[
        "CONTAINER",
        "NAME",
        "STATUS",
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
            _ => Colour::Yellow,
        };
        let command = line.about.wish.process.command.join(" ");
        table.row(vec![
            line.id(whole).to_owned(),
            line.about.name.clone(),
            coloured(colour, &in_words(line.life, line.status.as_ref())),
            clock::ago(line.about.created_at, now),
            line.networks().join(" "),
            line.addresses.join(" "),
            line.ports.join(" "),
            if whole { command } else { shortened(&command) },
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
