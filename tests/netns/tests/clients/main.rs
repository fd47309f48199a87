//! Real container runtimes over our binaries, each in a host of its own: containerd through its CRI, podman with its CNI
//! backend, and dockerd, beside us with its default settings, with our drivers for its networks, and under systemd with the
//! units that we ship.

mod containerd;
mod docker;
mod docker_crash;
mod docker_macvlan;
mod docker_managed;
mod docker_networks;
mod docker_options;
mod docker_volumes;
mod podman;
mod systemd;
mod volume_recipes;
