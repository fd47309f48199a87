//! Containers at the end of a veth pair: the CNI types bridge, whose other end is a port of one, and ptp, whose other end the
//! host routes to. Each has a binary of its own in `bin/`; `bridge serve` answers Docker.
//! It must never let one of them pay for the other: what a binary doesn't call is not linked into it.

mod answer;
mod cni;
mod config;
mod docker;
mod driver;
mod egress;
#[cfg(test)]
mod golden_tests;
mod plan;
mod ptp;
mod traces;
mod view;

use std::process::ExitCode;

/// The whole of `bridge`'s process: over CNI, for Docker after the word `serve`.
pub fn bridge() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "serve" => docker::main(),
        _ => wharfline_cni::main(&cni::BridgePlugin),
    }
}

/// The whole of `ptp`'s process.
pub fn ptp() -> ExitCode {
    wharfline_cni::main(&ptp::PtpPlugin)
}
