//! docs/recipes.md, word for word: its commands are run, and what they print is compared.

use std::fs;
use std::process::Command;

use crate::support::Host;

/// The page's folder in the lab.
const FOLDER: &str = "/var/lib/recipes";
/// The section that the others build on.
const FIRST: &str = "A root filesystem";

/// A part of the page.
struct Section {
    title: String,
    steps: Vec<Step>,
}

/// A command, and the lines that it prints.
struct Step {
    command: String,
    prints: Vec<String>,
}

fn sections() -> Vec<Section> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/recipes.md");
    let page = fs::read_to_string(path).expect("the page");
    let mut sections: Vec<Section> = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section {
                title: title.to_owned(),
                steps: Vec::new(),
            });
        }
        let (Some(shown), Some(section)) = (line.strip_prefix("    "), sections.last_mut()) else {
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

fn run(host: &Host, section: &Section) {
    for Step { command, prints } in &section.steps {
        let mut shell: Command = host.lab.command("bash");
        let bin = host.bin("");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
        shell.env("PATH", path).env("CNI_PATH", host.plugins());
        shell.args(["-c", &format!("cd {FOLDER} && {command}")]);
        let output = host.lab.run_command(shell, b"");
        let printed = output.stdout.lines().chain(output.stderr.lines());
        let printed: Vec<&str> = printed.collect();
        let same = printed.len() == prints.len()
            && prints
                .iter()
                .zip(&printed)
                .all(|(shown, line)| is_as_shown(shown, line));
        assert!(
            same,
            "{}: {command}\nshown: {prints:#?}\nprinted: {printed:#?}",
            section.title
        );
    }
}

#[test]
fn every_command_of_the_page_prints_what_the_page_shows() {
    let sections = sections();
    let (first, others) = sections.split_first().expect("sections");
    assert_eq!(first.title, FIRST);
    assert!(others.len() >= 13, "{}", others.len());
    let host = Host::new();
    fs::create_dir_all(host.lab.path(FOLDER)).expect("made");
    run(&host, first);
    for section in others {
        run(&host, section);
        let left = host.wharf(&["ps", "-aq"]).ok();
        assert_eq!(left, "", "{} leaves containers", section.title);
    }
}
