//! `loopback`: the container's lo is up.

#![cfg_attr(not(test), no_main)]

mod cni;
mod driver;

wharfline_cni::program!(|| wharfline_cni::main(&cni::LoopbackPlugin));
