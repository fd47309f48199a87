//! `wharf` on a real kernel: each test has a throwaway host of its own, the release binaries and a busybox root.
//! One binary, so that it can run in the emulated machine as well. Run ./build first.
//! No test may touch the machine's own namespaces.

#[path = "suite/support.rs"]
mod support;

#[path = "suite/crash.rs"]
mod crash;
#[path = "suite/gc.rs"]
mod gc;
#[path = "suite/image.rs"]
mod image;
#[path = "suite/isolation.rs"]
mod isolation;
#[path = "suite/networks.rs"]
mod networks;
#[path = "suite/run.rs"]
mod run;
#[path = "suite/uninstall.rs"]
mod uninstall;
