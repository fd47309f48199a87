//! docs/recipes.md, word for word: its commands are run, and what they print is compared.

use std::fs;
use std::path::Path;
use std::process::Command;

use wharfline_testkit::page::Section;

use crate::support::Host;

/// The page's folder in the lab.
const FOLDER: &str = "/var/lib/recipes";
/// The section that the others build on.
const FIRST: &str = "A root filesystem";

fn run(host: &Host, section: &Section) {
    for step in &section.steps {
        let mut shell: Command = host.lab.command("bash");
        let bin = host.bin("");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
        shell.env("PATH", path).env("CNI_PATH", host.plugins());
        shell.args(["-c", &format!("cd {FOLDER} && {}", step.command)]);
        step.printed(section, &host.lab.run_command(shell, b""));
    }
}

#[test]
fn every_command_of_the_page_prints_what_the_page_shows() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/recipes.md");
    let sections = Section::all(Path::new(page));
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
