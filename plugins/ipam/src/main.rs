//! The binary `host-local`: the CNI plugin without arguments, the operator's tool with them, Docker's IPAM driver after
//! the word `serve`.
//! Exec'd by interface plugins and runtimes; typed by people.
//! Must never look at command lines on the way of a container.

#![cfg_attr(not(test), no_main)]

mod cli;
mod docker;
mod plugin;

use std::process::ExitCode;

wharfline_cni::program!(run);

fn run() -> ExitCode {
    match std::env::args_os().nth(1) {
        None => wharfline_cni::main(&plugin::HostLocal),
        Some(word) if word == "serve" => docker::main(),
        Some(_) => cli::main(),
    }
}
