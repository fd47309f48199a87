//! `bridge`: containers on a bridge, over CNI.

mod answer;
mod cni;
mod config;
mod driver;
mod egress;
#[cfg(test)]
mod golden_tests;
mod plan;
mod traces;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    wharfline_cni::main(&cni::BridgePlugin)
}
