//! `bridge`: containers on a bridge, over CNI; for Docker after the word `serve`.

#![cfg_attr(not(test), no_main)]

mod answer;
mod cni;
mod config;
mod docker;
mod driver;
mod egress;
#[cfg(test)]
mod golden_tests;
mod plan;
mod traces;
mod view;

use std::process::ExitCode;

wharfline_cni::program!(run);

fn run() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "serve" => docker::main(),
        _ => wharfline_cni::main(&cni::BridgePlugin),
    }
}
