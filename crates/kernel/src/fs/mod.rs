//! What volumes need of the kernel: mounts, loop devices, subvolumes, quotas, shared extents, frozen file systems.
//! plugins/volume-local decides what of it is done; nothing of the network side comes here.
//! It must never follow a symlink that somebody else could have planted: what is below a volume is reached by descriptors.

pub mod beneath;
pub mod btrfs;
pub mod freeze;
pub mod grow;
mod ioctl;
pub mod loop_device;
pub mod mount;
pub mod mountinfo;
pub mod project;
pub mod share;
pub mod space;

/// The kernel's refusal of what rustix tried.
fn refused(
    tried: impl Into<String>,
) -> impl FnOnce(rustix::io::Errno) -> crate::error::KernelError {
    let tried = tried.into();
    move |errno| {
        crate::error::KernelError::new(tried, nix::errno::Errno::from_raw(errno.raw_os_error()))
    }
}
