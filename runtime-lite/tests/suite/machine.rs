//! This suite once more on another kernel: Debian's in the emulated machine, with control groups of version 2 alone.

use std::process::Command;

use wharfline_testkit::Plugins;

/// What depends on the version of control groups, and what must hold on every kernel.
const THERE: [&str; 4] = ["limits::", "isolation::", "escape::", "runtimes::a_further"];
/// Far slower than the machine itself: see `wharfline_testkit::patience`.
const SCALE: &str = "WHARFLINE_TEST_TIME_SCALE=20";

#[test]
fn limits_isolation_and_escapes_hold_on_control_groups_of_version_2() {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vm/run"));
    let binaries = Plugins::ours().directory().display().to_string();
    let binaries = format!("WHARFLINE_BIN_DIR={binaries}");
    command.args([
        "-t", "1800", "-e", SCALE, "-e", "CI=true", "-e", &binaries, "--",
    ]);
    command.arg(std::env::current_exe().expect("this suite"));
    command.args(THERE).arg("--test-threads=1");
    let output = command.output().expect("tests/vm/run");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{told}\n{complaints}",
        output.status
    );
    assert!(told.contains("limits::memory_and_processes"), "{told}");
}
