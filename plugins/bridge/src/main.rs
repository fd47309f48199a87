//! `bridge`: containers on a bridge, over CNI.

mod cni;
mod config;
mod driver;
mod egress;

use std::process::ExitCode;

fn main() -> ExitCode {
    wharfline_cni::main(&cni::BridgePlugin)
}
