//! The program `kernel-features` on this machine's kernel, and on Debian's in an emulated machine.

use std::process::{Command, Output};

/// Far slower than the machine itself: see `wharfline_testkit::patience`.
const SCALE: &str = "WHARFLINE_TEST_TIME_SCALE=20";
const CASES: &str = env!("CARGO_BIN_EXE_kernel-features");

fn run(mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let told = format!(
        "{}\n{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    assert!(status.success(), "{status}\n{told}");
    told
}

#[test]
fn a_debian_kernel_in_an_emulated_machine_passes_every_case() {
    let vm = concat!(env!("CARGO_MANIFEST_DIR"), "/../vm/run");
    let binaries = wharfline_netns_tests::ours()
        .directory()
        .display()
        .to_string();
    let mut command = Command::new(vm);
    command.args([
        "-t",
        "2700",
        "-e",
        SCALE,
        "-e",
        "CI=true",
        "-e",
        &format!("WHARFLINE_BIN_DIR={binaries}"),
    ]);
    command.args(["--", CASES, "--test-threads=1"]);
    let told = run(command);
    assert!(
        told.contains(" 0 ignored"),
        "a case did not run there:\n{told}"
    );
}

#[test]
fn this_kernel_passes_every_case_that_it_can() {
    run(Command::new(CASES));
}
