//! ptrace(2) over a plugin, its threads and its children.
//!
//! Called by the fault injection on a thread of its own, which is the only one that may wait for these processes. It must
//! never leave one of them alive: they die with it (PTRACE_O_EXITKILL).

#![expect(
    unsafe_code,
    reason = "PTRACE_TRACEME between fork and exec, and the kernel's union of a stop's details"
)]

use std::collections::{HashMap, HashSet};
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::syscall::Syscall;
use crate::process::{Output, Streams, spawn_piped};

/// What is to happen at a system call.
pub(super) enum Strike {
    /// It takes place.
    Nothing,
    /// Everything dies before it.
    Kill,
    /// It does not take place, and returns this.
    Fail(Errno),
    /// It takes place as the decider has altered it, in these words.
    Noted(String),
}

/// A plugin under trace.
pub(super) struct Tracer {
    main: Pid,
    streams: std::thread::JoinHandle<(String, String)>,
    /// Threads that are inside a system call, with what is to be returned from it.
    inside: HashMap<Pid, Option<Errno>>,
    known: HashSet<Pid>,
    netlink: HashMap<u64, i32>,
    opening: HashMap<Pid, i32>,
    struck: Option<String>,
}

/// The memory and descriptors of one tracee at a stop.
pub(super) struct Memory<'a> {
    pid: Pid,
    netlink: &'a HashMap<u64, i32>,
}

impl Tracer {
    /// Starts the command stopped at its first instruction, and feeds it.
    pub(super) fn start(mut command: Command, stdin: &[u8]) -> Tracer {
        // SAFETY: one system call between fork and exec.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        let mut child = spawn_piped(&mut command);
        let main = Pid::from_raw(child.id().cast_signed());
        let streams = Streams::of(&mut child);
        let stdin = stdin.to_vec();
        let streams = std::thread::spawn(move || streams.drain(&stdin));
        waitpid(main, Some(WaitPidFlag::__WALL)).expect("wait for the first stop");
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(main, options).expect("set ptrace options");
        Tracer {
            main,
            streams,
            inside: HashMap::new(),
            known: HashSet::from([main]),
            netlink: HashMap::new(),
            opening: HashMap::new(),
            struck: None,
        }
    }

    /// Lets it run, asking at each system call until one was struck. Returns its output and what was struck.
    pub(super) fn run(
        mut self,
        mut decide: impl FnMut(&Syscall, &Memory) -> Strike,
    ) -> (Output, Option<String>) {
        resume(self.main, None);
        let mut status = ExitStatus::from_raw(0);
        // __WNOTHREAD: other threads of the test have children of their own to wait for.
        let ours = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
        loop {
            match waitpid(None, ours) {
                Ok(WaitStatus::PtraceSyscall(pid)) => self.at_syscall(pid, &mut decide),
                Ok(WaitStatus::Stopped(pid, signal)) => self.at_signal(pid, signal),
                Ok(WaitStatus::PtraceEvent(pid, _, _)) => resume(pid, None),
                Ok(WaitStatus::Exited(pid, code)) => {
                    self.forget(pid, &mut status, ExitStatus::from_raw(code << 8));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.forget(pid, &mut status, ExitStatus::from_raw(signal as i32));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => break,
                Err(e) => panic!("wait for tracees: {e}"),
            }
        }
        let (stdout, stderr) = self.streams.join().expect("read the plugin's output");
        (
            Output {
                status,
                stdout,
                stderr,
            },
            self.struck,
        )
    }

    fn at_syscall(&mut self, pid: Pid, decide: &mut impl FnMut(&Syscall, &Memory) -> Strike) {
        if let Some(forced) = self.inside.remove(&pid) {
            self.at_exit(pid, forced);
            return resume(pid, None);
        }
        let Some(syscall) = entered(pid) else {
            return resume(pid, None);
        };
        self.inside.insert(pid, None);
        if self.struck.is_none() {
            match decide(
                &syscall,
                &Memory {
                    pid,
                    netlink: &self.netlink,
                },
            ) {
                Strike::Nothing => {}
                Strike::Noted(words) => self.struck = Some(words),
                Strike::Fail(errno) => {
                    self.struck = Some(format!("{syscall} returning {errno}"));
                    self.inside.insert(pid, Some(errno));
                    skip_call(pid);
                }
                Strike::Kill => {
                    self.struck = Some(syscall.to_string());
                    return self.kill_all();
                }
            }
        }
        if syscall.number == libc::SYS_socket && syscall.arguments[0] == libc::AF_NETLINK as u64 {
            self.opening.insert(pid, syscall.arguments[2] as i32);
        }
        resume(pid, None);
    }

    fn at_exit(&mut self, pid: Pid, forced: Option<Errno>) {
        if let Some(errno) = forced {
            set_result(pid, -(errno as i64));
        }
        if let Some(protocol) = self.opening.remove(&pid)
            && let Some(descriptor) = result_of(pid)
        {
            self.netlink.insert(descriptor, protocol);
        }
    }

    fn at_signal(&mut self, pid: Pid, signal: Signal) {
        // A new thread or child begins with a SIGSTOP that is the tracer's, not its own.
        let newborn = self.known.insert(pid) && signal == Signal::SIGSTOP;
        resume(
            pid,
            (!newborn && signal != Signal::SIGTRAP).then_some(signal),
        );
    }

    fn forget(&mut self, pid: Pid, status: &mut ExitStatus, ended: ExitStatus) {
        self.known.remove(&pid);
        if pid == self.main {
            *status = ended;
        }
    }

    fn kill_all(&self) {
        for pid in &self.known {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }
}

/// Lets a tracee go on to its next stop. One that was killed meanwhile is gone, which its wait status will tell.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}

/// The system call that a stopped tracee is about to make; `None` when the tracee is gone.
fn entered(pid: Pid) -> Option<Syscall> {
    let info = ptrace::syscall_info(pid).ok()?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: `op` says that the kernel filled in this member.
    let entry = unsafe { info.u.entry };
    Some(Syscall {
        number: entry.nr.cast_signed(),
        arguments: entry.args,
    })
}

/// What the system call that a stopped tracee leaves returns, if it succeeded.
fn result_of(pid: Pid) -> Option<u64> {
    let info = ptrace::syscall_info(pid).ok()?;
    if info.op != libc::PTRACE_SYSCALL_INFO_EXIT {
        return None;
    }
    // SAFETY: `op` says that the kernel filled in this member.
    u64::try_from(unsafe { info.u.exit }.sval).ok()
}

/// Makes the kernel skip the call: no system call has the number -1.
#[cfg(target_arch = "x86_64")]
fn skip_call(pid: Pid) {
    let mut registers = ptrace::getregs(pid).expect("read a tracee's registers");
    registers.orig_rax = u64::MAX;
    ptrace::setregs(pid, registers).expect("write a tracee's registers");
}

#[cfg(target_arch = "x86_64")]
fn set_result(pid: Pid, value: i64) {
    let mut registers = ptrace::getregs(pid).expect("read a tracee's registers");
    registers.rax = value.cast_unsigned();
    ptrace::setregs(pid, registers).expect("write a tracee's registers");
}

#[cfg(not(target_arch = "x86_64"))]
fn skip_call(_: Pid) {
    panic!("failing a system call is written for x86-64 only");
}

#[cfg(not(target_arch = "x86_64"))]
fn set_result(_: Pid, _: i64) {}

impl Memory<'_> {
    /// The netlink protocol of a descriptor, if it is a netlink socket.
    pub(super) fn netlink_protocol(&self, descriptor: u64) -> Option<i32> {
        self.netlink.get(&descriptor).copied()
    }

    /// Bytes at an address; fewer (none) where the tracee has no memory.
    pub(super) fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let remote = [RemoteIoVec {
            base: address as usize,
            len: length,
        }];
        let read = process_vm_readv(self.pid, &mut [IoSliceMut::new(&mut bytes)], &remote);
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// Replaces bytes at an address.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) {
        let remote = [RemoteIoVec {
            base: address as usize,
            len: bytes.len(),
        }];
        process_vm_writev(self.pid, &[IoSlice::new(bytes)], &remote)
            .expect("write a tracee's memory");
    }

    /// Addresses and lengths of the buffers of a struct msghdr (name, its length, then the vector and its count).
    pub(super) fn buffers_of_msghdr(&self, address: u64) -> Vec<(u64, u64)> {
        let header = self.read(address, 32);
        let words = words_of(&header);
        let (Some(&vector), Some(&count)) = (words.get(2), words.get(3)) else {
            return Vec::new();
        };
        let vector = self.read(vector, usize::try_from(count).unwrap_or_default() * 16);
        words_of(&vector)
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect()
    }
}

fn words_of(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}
