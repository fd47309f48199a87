//! Children that die with us: a foreign plugin or `nft` must not go on changing things for nobody.
//! Called by whoever execs during a verb: `cni` for address plugins, `nft` for the base ruleset.
//! It must never be used for a child that is to outlive the thread that starts it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

/// Has the kernel kill the child when the thread that starts it ends (PR_SET_PDEATHSIG(2const): the
/// parent is that thread, not its process).
pub fn die_with_this_thread(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec the closure makes two system calls (prctl, getppid) and builds an
    // error from a number; it neither allocates nor takes a lock.
    #[expect(
        unsafe_code,
        reason = "std has no safe way to set the parent death signal"
    )]
    unsafe {
        command.pre_exec(move || ask_to_die_with(parent));
    }
}

fn ask_to_die_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // A parent that ended before the request never sends the signal.
    if getppid() == parent {
        Ok(())
    } else {
        Err(nix::errno::Errno::ESRCH.into())
    }
}
