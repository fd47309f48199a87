//! `vlan`: one VLAN of a link of the host's, over CNI.

#![cfg_attr(not(test), no_main)]

use wharfline_macvlan::Family;

wharfline_cni::program!(|| wharfline_macvlan::main(Family::Vlan));
