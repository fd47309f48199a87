//! `ipvlan`: interfaces that share their parent's MAC, over CNI.

#![cfg_attr(not(test), no_main)]

use wharfline_macvlan::Family;

wharfline_cni::program!(|| wharfline_macvlan::main(Family::Ipvlan));
