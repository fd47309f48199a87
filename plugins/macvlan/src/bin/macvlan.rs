//! `macvlan`: interfaces with a MAC of their own on the host's segment, over CNI.

#![cfg_attr(not(test), no_main)]

use wharfline_macvlan::Family;

wharfline_cni::program!(|| wharfline_macvlan::main(Family::Macvlan));
