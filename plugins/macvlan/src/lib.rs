//! Containers on sub-interfaces of a parent link: the CNI types macvlan, ipvlan and vlan, which differ in little.
//! Each has a binary of its own in `bin/`, which says its [`Family`] and nothing else; `macvlan serve` answers Docker.
//! It must never touch a parent that was there before us, but to set it up.

mod answer;
mod cni;
mod config;
mod docker;
mod driver;
mod plan;

use std::process::ExitCode;

pub use config::Family;

/// The whole of a plugin's process.
pub fn main(family: Family) -> ExitCode {
    wharfline_cni::main(&cni::SubInterfacePlugin::of(family))
}

/// The whole of `macvlan`'s process: over CNI, for Docker after the word `serve`.
pub fn macvlan() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "serve" => docker::main(),
        _ => main(Family::Macvlan),
    }
}
