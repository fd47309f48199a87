//! `wharf` on a real kernel: each test has a throwaway host of its own, the release binaries and a busybox root.
//! One binary, so that it can run in the emulated machine as well. Run ./build first.
//! No test may touch the machine's own namespaces.

#[path = "suite/images.rs"]
mod images;
#[path = "suite/keeper.rs"]
mod keeper;
#[path = "suite/support.rs"]
mod support;

#[path = "suite/commit.rs"]
mod commit;
#[path = "suite/connect.rs"]
mod connect;
#[path = "suite/crash.rs"]
mod crash;
#[path = "suite/doctor.rs"]
mod doctor;
#[path = "suite/drivers.rs"]
mod drivers;
#[path = "suite/escape.rs"]
mod escape;
#[path = "suite/from_image.rs"]
mod from_image;
#[path = "suite/gc.rs"]
mod gc;
#[path = "suite/image.rs"]
mod image;
#[path = "suite/isolation.rs"]
mod isolation;
#[path = "suite/lifecycle.rs"]
mod lifecycle;
#[path = "suite/limits.rs"]
mod limits;
#[path = "suite/load.rs"]
mod load;
#[path = "suite/machine.rs"]
mod machine;
#[path = "suite/networks.rs"]
mod networks;
#[path = "suite/observe.rs"]
mod observe;
#[path = "suite/options.rs"]
mod options;
#[path = "suite/policy.rs"]
mod policy;
#[path = "suite/recipes.rs"]
mod recipes;
#[path = "suite/run.rs"]
mod run;
#[path = "suite/runtimes.rs"]
mod runtimes;
#[path = "suite/streams.rs"]
mod streams;
#[path = "suite/uninstall.rs"]
mod uninstall;
#[path = "suite/volume_bucket.rs"]
mod volume_bucket;
#[path = "suite/volume_local.rs"]
mod volume_local;
