//! `wharf doctor`: what is missing or in the way on this host, each with its remedy.
//! People call it when something does not work, and before they install; docs/wharf.md lists what is looked at.
//! It must never change anything, nor need the network to work.

mod docker;
mod kernel;
mod plugins;
mod settings;
mod state;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::home::Home;
use crate::output::{self, Colour, Table, coloured};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As it should be.
    Fine,
    /// Worth knowing; containers work all the same.
    Note,
    /// Something does not work, or will not.
    Problem,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Fine => "ok",
            State::Note => "note",
            State::Problem => "problem",
        }
    }

    fn colour(self) -> Colour {
        match self {
            State::Fine => Colour::Green,
            State::Note => Colour::Yellow,
            State::Problem => Colour::Red,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    state: State,
    /// What was looked at.
    object: String,
    /// How it is.
    told: String,
    /// What to do about it; empty where nothing is to be done.
    remedy: String,
}

impl Finding {
    fn fine(object: impl Into<String>, told: impl Into<String>) -> Self {
        Self::new(State::Fine, (object.into(), told.into()), "")
    }

    fn note(object: impl Into<String>, told: impl Into<String>, remedy: &str) -> Self {
        Self::new(State::Note, (object.into(), told.into()), remedy)
    }

    fn problem(object: impl Into<String>, told: impl Into<String>, remedy: &str) -> Self {
        Self::new(State::Problem, (object.into(), told.into()), remedy)
    }

    fn new(state: State, (object, told): (String, String), remedy: &str) -> Self {
        Self {
            state,
            object,
            told,
            remedy: remedy.to_owned(),
        }
    }
}

/// Looks at everything and tells it; an error if there is any problem.
pub(crate) fn examine(home: &Home, as_json: bool) -> Result<()> {
    let mut findings = kernel::features();
    findings.extend(settings::all(home));
    findings.extend(plugins::all(home));
    findings.extend(docker::all(home));
    findings.extend(state::all(home));
    if as_json {
        output::print_json(&findings.iter().map(document).collect());
    } else {
        output::print(&page(&findings));
    }
    let problems = findings.iter().filter(|one| one.state == State::Problem);
    match problems.count() {
        0 => Ok(()),
        count => Err(Error::Unwell(count)),
    }
}

fn page(findings: &[Finding]) -> String {
    let mut table = Table::new(&["STATE", "WHAT", "FOUND"]);
    for finding in findings {
        let state = coloured(finding.state.colour(), finding.state.word());
        table.row(vec![state, finding.object.clone(), finding.told.clone()]);
    }
    let mut text = table.render();
    let unwell = findings.iter().filter(|one| !one.remedy.is_empty());
    for finding in unwell {
        text += &format!("\n{}: {}\n", finding.object, finding.told);
        text += &format!("  {}\n", finding.remedy);
    }
    text
}

fn document(finding: &Finding) -> Value {
    json!({
        "state": finding.state.word(),
        "what": finding.object,
        "found": finding.told,
        "remedy": finding.remedy,
    })
}
