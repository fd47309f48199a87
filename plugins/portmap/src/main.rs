//! `portmap`: ports of the host published for containers, over CNI, chained after the plugin that made the interface.

#![cfg_attr(not(test), no_main)]

mod cni;
mod config;
mod driver;

wharfline_cni::program!(|| wharfline_cni::main(&cni::PortmapPlugin));
