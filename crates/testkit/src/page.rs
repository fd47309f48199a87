//! A page of documentation whose commands are run as they are printed: `    $ COMMAND`, and below it the lines that it prints.
//!
//! Called by tests of recipes. It must never forgive a line more or less than the page shows.

use std::path::Path;

/// A part of a page, below a heading of the second level.
#[derive(Debug)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// Its commands, in order.
    pub steps: Vec<Step>,
}

/// A command, and the lines that it prints.
#[derive(Debug)]
pub struct Step {
    /// For a shell.
    pub command: String,
    /// Where `...` stands for anything.
    pub prints: Vec<String>,
}

impl Section {
    /// All of the page in the file `path`.
    ///
    /// # Panics
    ///
    /// It cannot be read; a line is printed by no command.
    pub fn all(path: &Path) -> Vec<Section> {
        let page = std::fs::read_to_string(path);
        let page = page.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut sections: Vec<Section> = Vec::new();
        for line in page.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                sections.push(Section {
                    title: title.to_owned(),
                    steps: Vec::new(),
                });
            }
            let (Some(shown), Some(section)) = (line.strip_prefix("    "), sections.last_mut())
            else {
                continue;
            };
            match (shown.strip_prefix("$ "), section.steps.last_mut()) {
                (Some(command), _) => section.steps.push(Step {
                    command: command.to_owned(),
                    prints: Vec::new(),
                }),
                (None, Some(step)) => step.prints.push(shown.to_owned()),
                (None, None) => panic!("{shown:?} is printed by no command"),
            }
        }
        sections
    }
}

impl Step {
    /// Compares what a run of it printed, on standard output and then on standard error.
    ///
    /// # Panics
    ///
    /// It is not what the page shows.
    #[track_caller]
    pub fn printed(&self, section: &Section, output: &crate::Output) {
        let printed = output.stdout.lines().chain(output.stderr.lines());
        let printed: Vec<&str> = printed.collect();
        let same = printed.len() == self.prints.len()
            && self
                .prints
                .iter()
                .zip(&printed)
                .all(|(shown, line)| is_as_shown(shown, line));
        assert!(
            same,
            "{}: {}\nshown: {:#?}\nprinted: {printed:#?}",
            section.title, self.command, self.prints
        );
    }
}

/// Whether a line is what the page shows, where `...` stands for anything.
fn is_as_shown(shown: &str, line: &str) -> bool {
    match shown.split_once("...") {
        None => shown == line,
        Some((before, after)) => {
            line.len() >= before.len() + after.len()
                && line.starts_with(before)
                && line.ends_with(after)
        }
    }
}
