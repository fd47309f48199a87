//! `macvlan`: interfaces with a MAC of their own on the host's segment, over CNI; for Docker after the word `serve`.

#![cfg_attr(not(test), no_main)]

wharfline_cni::program!(wharfline_macvlan::macvlan);
