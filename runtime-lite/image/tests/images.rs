//! Images on a real kernel: archives by real tools and by hand, every hostile one by name, overlays in private mounts.
//! One binary; it must be run as root.
//! No test may mount anything outside a mount namespace of its own.

#[path = "suite/support.rs"]
mod support;

#[path = "suite/hostile.rs"]
mod hostile;
#[path = "suite/layers.rs"]
mod layers;
#[path = "suite/overlay.rs"]
mod overlay;
#[path = "suite/store.rs"]
mod store;
#[path = "suite/tools.rs"]
mod tools;
