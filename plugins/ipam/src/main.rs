//! The binary `host-local`: the CNI plugin without arguments, the operator's tool with them.
//! Exec'd by interface plugins and runtimes; typed by people.
//! Must never look at command lines on the way of a container.

#![cfg_attr(not(test), no_main)]

mod cli;
mod plugin;

use std::process::ExitCode;

wharfline_cni::program!(run);

fn run() -> ExitCode {
    if std::env::args_os().len() > 1 {
        cli::main()
    } else {
        wharfline_cni::main(&plugin::HostLocal)
    }
}
