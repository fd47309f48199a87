//! The plugins on a real kernel. One binary, so that its tests share the processors whatever file they are in.

mod another;
mod architecture;
mod baseline;
mod beside;
mod bridge;
mod check;
mod chroot;
mod crash;
mod crowd;
mod disk;
mod docker;
mod docker_crowd;
mod docker_macvlan;
mod docker_replay;
mod docker_seen;
mod failure;
mod gc;
mod heal;
mod input;
mod ipv6;
mod leases;
mod macvlan;
mod ptp;
mod replay;
mod traffic;
mod volume;
