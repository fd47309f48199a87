//! `bridge`: containers on a bridge, over CNI; for Docker after the word `serve`.

#![cfg_attr(not(test), no_main)]

wharfline_cni::program!(wharfline_bridge::bridge);
