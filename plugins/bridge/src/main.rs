//! `bridge`: containers on a bridge, over CNI.

#![cfg_attr(not(test), no_main)]

mod answer;
mod cni;
mod config;
mod driver;
mod egress;
#[cfg(test)]
mod golden_tests;
mod plan;
mod traces;
mod view;

wharfline_cni::program!(|| wharfline_cni::main(&cni::BridgePlugin));
