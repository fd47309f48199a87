//! `wharf network status` and `wharf network check`: the plugins' STATUS and CHECK, for people and scripts.
//! `cli` calls both.
//! It must never repair: it says what the plugins say.

use serde_json::{Value, json};

use super::find;
use crate::attach;
use crate::container::{self, life::Life};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output::{self, Colour, Table, coloured};

/// One answer.
struct Answer {
    object: Vec<String>,
    /// `None`: all is well.
    complaint: Option<String>,
}

/// STATUS of one network or of all: can they take containers?
pub(crate) fn status(home: &Home, name: Option<&str>, as_json: bool) -> Result<()> {
    let networks = match name {
        Some(name) => vec![find(home, name)?],
        None => super::all(home)?.0,
    };
    let client = home.client();
    let ask = |known: &super::Known| Answer {
        object: vec![known.list.name.to_string()],
        complaint: client
            .status(&known.list)
            .err()
            .map(|error| error.to_string()),
    };
    let answers: Vec<Answer> = networks.iter().map(ask).collect();
    report(&["NETWORK"], &answers, as_json);
    match count(&answers) {
        0 => Ok(()),
        wrong => Err(Error::StatusFailed(wrong)),
    }
}

/// CHECK of the attachments of one container, or of all that run: are they as they were made?
pub(crate) fn check(home: &Home, wanted: Option<&str>, as_json: bool) -> Result<()> {
    let containers = match wanted {
        Some(wanted) => vec![container::find(home, wanted)?],
        None => container::all(home)?,
    };
    let client = home.client();
    let mut answers = Vec::new();
    for (about, folder) in &containers {
        if folder.life()? != Life::Running {
            continue;
        }
        for made in &about.wish.attachments {
            let checked = attach::check(&client, about, folder, made);
            answers.push(Answer {
                object: vec![
                    about.short_id().to_owned(),
                    about.name.clone(),
                    made.ifname.to_string(),
                    made.network.to_string(),
                ],
                complaint: checked.err().map(|error| error.chain()),
            });
        }
    }
    let headings = ["CONTAINER", "NAME", "INTERFACE", "NETWORK"];
    report(&headings, &answers, as_json);
    match count(&answers) {
        0 => Ok(()),
        wrong => Err(Error::CheckFailed(wrong)),
    }
}

fn count(answers: &[Answer]) -> usize {
    let wrong = answers.iter().filter(|answer| answer.complaint.is_some());
    wrong.count()
}

fn report(headings: &[&str], answers: &[Answer], as_json: bool) {
    if as_json {
        let one = |answer: &Answer| {
            let mut document = json!({"ok": answer.complaint.is_none()});
            for (heading, value) in headings.iter().zip(&answer.object) {
                document[heading.to_lowercase()] = value.as_str().into();
            }
            if let Some(complaint) = &answer.complaint {
                document["complaint"] = complaint.as_str().into();
            }
            document
        };
        output::print_json(&answers.iter().map(one).collect::<Value>());
        return;
    }
    let mut table = Table::new(&[headings, &["ANSWER"]].concat());
    for answer in answers {
        let mut row = answer.object.clone();
        row.push(match &answer.complaint {
            None => coloured(Colour::Green, "ok"),
            Some(complaint) => coloured(Colour::Red, complaint),
        });
        table.row(row);
    }
    output::print(&table.render());
}
