//! Faults on demand: kill a plugin at its n-th system call, or let one of its operations fail.
//!
//! Called by the crash and failure tests, which count `n` up until the plugin ends by itself. It needs no support in the
//! plugin: everything goes through ptrace(2).

mod netlink;
mod syscall;
mod tracer;

use std::process::Command;

use nix::errno::Errno;

pub use syscall::Syscall;

use crate::lab::Lab;
use crate::plugin::{Call, Outcome};
use crate::process::Output;
use tracer::{Strike, Tracer};

/// A call that was struck, or that ended before its turn came.
#[derive(Debug, Clone)]
pub struct Struck {
    /// What became of the plugin.
    pub outcome: Outcome,
    /// The system call that was struck, in words; `None` if the plugin made fewer than that.
    pub at: Option<String>,
}

/// Which system calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stops {
    /// Every one.
    EveryCall,
    /// Those before which something outside of the plugin's own memory can have changed since the last one counted: a
    /// kill in between leaves the same world as a kill at the next.
    EveryChange,
}

/// Kills the plugin and all its children with SIGKILL where it is about to make its `nth` system call (from 1), all its
/// threads and children counted together.
pub fn killed_at(lab: &Lab, call: &Call, nth: usize, stops: Stops) -> Struck {
    let mut counted = 0;
    let mut changed = true;
    strike(lab, call, |syscall, _| {
        if stops == Stops::EveryCall || std::mem::take(&mut changed) {
            counted += 1;
        }
        changed |= syscall.may_change_the_world();
        if counted == nth {
            Strike::Kill
        } else {
            Strike::Nothing
        }
    })
}

/// The same of any command, fed with `stdin`. Past its last stop it ends by itself; how many there were is told then.
pub fn command_killed_at(
    command: Command,
    stdin: &[u8],
    nth: usize,
    stops: Stops,
) -> StruckCommand {
    let mut counted = 0;
    let mut changed = true;
    let decide = |syscall: &Syscall, _: &tracer::Memory<'_>| {
        if stops == Stops::EveryCall || std::mem::take(&mut changed) {
            counted += 1;
        }
        changed |= syscall.may_change_the_world();
        match counted == nth {
            true => Strike::Kill,
            false => Strike::Nothing,
        }
    };
    let (output, at) = traced(|| Tracer::start(command, stdin).run(decide));
    StruckCommand {
        output,
        at,
        stops: counted,
    }
}

/// A command that was killed, or that ended before its turn came.
#[derive(Debug)]
pub struct StruckCommand {
    /// What it printed, and how it ended.
    pub output: Output,
    /// The system call that was struck, in words; `None` if it made fewer than that.
    pub at: Option<String>,
    /// Stops that it came to.
    pub stops: usize,
}

/// Runs a command that stands still before its first system call of number `call` while `meanwhile` happens to the world
/// around it; panics if it never makes one.
pub fn interrupted_at(command: Command, call: i64, meanwhile: impl FnOnce() + Send) -> Output {
    let mut meanwhile = Some(meanwhile);
    let decide = |syscall: &Syscall, _: &tracer::Memory<'_>| {
        if let Some(happen) = meanwhile.take_if(|_| syscall.number == call) {
            happen();
        }
        Strike::Nothing
    };
    let (output, _) = traced(|| Tracer::start(command, &[]).run(decide));
    assert!(
        meanwhile.is_none(),
        "it never makes call {call}: {output:?}"
    );
    output
}

/// Lets the `nth` system call (from 1) of those that touch something outside of the plugin's own memory fail with
/// `errno`, not executed.
pub fn failing_at(lab: &Lab, call: &Call, nth: usize, errno: Errno) -> Struck {
    let mut counted = 0;
    strike(lab, call, |syscall, _| {
        let counts = syscall.may_change_the_world() && syscall.can_fail();
        counted += usize::from(counts);
        if counts && counted == nth {
            Strike::Fail(errno)
        } else {
            Strike::Nothing
        }
    })
}

/// Lets the kernel itself refuse the `nth` netlink message (from 1) that would change something: its type is replaced on
/// the way by one that no kernel knows, so the answer is a true negative acknowledgement.
pub fn refused_at(lab: &Lab, call: &Call, nth: usize) -> Struck {
    let mut seen = 0;
    strike(lab, call, |syscall, memory| {
        let Some(message) = netlink::changes_in(syscall, memory).nth(nth.wrapping_sub(seen + 1))
        else {
            seen += netlink::changes_in(syscall, memory).count();
            return Strike::Nothing;
        };
        seen = nth;
        message.spoil(memory);
        Strike::Noted(message.to_string())
    })
}

/// Runs the call to its end, and returns every system call that it made.
pub fn trace(lab: &Lab, call: &Call) -> (Outcome, Vec<Syscall>) {
    let mut made = Vec::new();
    let struck = strike(lab, call, |syscall, _| {
        made.push(*syscall);
        Strike::Nothing
    });
    (struck.outcome, made)
}

/// Runs the call and asks `decide` at each system call until it has struck once.
fn strike(
    lab: &Lab,
    call: &Call,
    decide: impl FnMut(&Syscall, &tracer::Memory) -> Strike + Send,
) -> Struck {
    let (output, at) = traced(|| Tracer::start(call.command(lab), call.stdin()).run(decide));
    Struck {
        outcome: Outcome::new(call, output),
        at,
    }
}

/// The tracer must be the thread that starts the tracee, and must wait for nobody else's children.
fn traced<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let tracing = scope.spawn(work);
        tracing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
