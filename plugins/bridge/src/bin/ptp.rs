//! `ptp`: containers on a link to the host alone, routed, over CNI.

#![cfg_attr(not(test), no_main)]

wharfline_cni::program!(wharfline_bridge::ptp);
