//! `portmap`: ports of the host published for containers, over CNI, chained after the plugin that made the interface.

mod cni;
mod config;
mod driver;
mod rivals;

use std::process::ExitCode;

fn main() -> ExitCode {
    wharfline_cni::main(&cni::PortmapPlugin)
}
