//! Tells the testkit for which target triple it is built: the static plugins lie in a directory of that name.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=WHARFLINE_TEST_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
