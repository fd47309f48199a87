//! `loopback`: the container's lo is up.

mod cni;
mod driver;

use std::process::ExitCode;

fn main() -> ExitCode {
    wharfline_cni::main(&cni::LoopbackPlugin)
}
