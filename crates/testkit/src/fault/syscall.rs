//! System calls as the tracer sees them: which one, with what, and whether anything but the caller can notice it.
//!
//! Called by the fault injection. The list of what cannot change the world must err on the side of "it can".

use std::fmt;

use nix::libc;

/// One system call at its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syscall {
    /// Its number on this architecture.
    pub number: i64,
    /// Its arguments, raw.
    pub arguments: [u64; 6],
}

/// Calls that touch nothing but the caller's own memory, threads' scheduling and descriptors: what a SIGKILL right after
/// leaves is what a SIGKILL right before leaves.
const PRIVATE: [libc::c_long; 58] = [
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_dup,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getdents64,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_pipe2,
    libc::SYS_poll,
    libc::SYS_pread64,
    libc::SYS_prlimit64,
    libc::SYS_read,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_socket,
    libc::SYS_statfs,
    libc::SYS_statx,
];

impl Syscall {
    /// Whether something outside of the process can be another after it.
    pub fn may_change_the_world(&self) -> bool {
        if self.number == libc::SYS_openat {
            // Only with these flags can opening make, or empty, a file.
            let makes = libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);
            return self.arguments[2] & u64::from(makes.cast_unsigned()) != 0;
        }
        if self.number == libc::SYS_ioctl {
            // By the request's kind (include/uapi/asm-generic/ioctl.h): btrfs and shared extents, loop devices, what XFS
            // began and all file systems took over, ext4.
            let kind = (self.arguments[1] >> 8) & 0xff;
            return matches!(kind, 0x94 | 0x4c | 0x58 | 0x66);
        }
        !PRIVATE.contains(&self.number)
    }

    /// Whether it can fail, and its caller learn of it: an exit does not return, and a lock that is held is always released.
    pub(super) fn can_fail(&self) -> bool {
        let releases = u64::from(libc::LOCK_UN.cast_unsigned());
        let unlocks = self.number == libc::SYS_flock && self.arguments[1] == releases;
        !unlocks && ![libc::SYS_exit, libc::SYS_exit_group].contains(&self.number)
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = [
            (libc::SYS_openat, "openat"),
            (libc::SYS_write, "write"),
            (libc::SYS_sendto, "sendto"),
            (libc::SYS_sendmsg, "sendmsg"),
            (libc::SYS_rename, "rename"),
            (libc::SYS_renameat2, "renameat2"),
            (libc::SYS_linkat, "linkat"),
            (libc::SYS_unlink, "unlink"),
            (libc::SYS_unlinkat, "unlinkat"),
            (libc::SYS_mkdir, "mkdir"),
            (libc::SYS_setns, "setns"),
            (libc::SYS_flock, "flock"),
            (libc::SYS_execve, "execve"),
            (libc::SYS_clone3, "clone3"),
            (libc::SYS_fsync, "fsync"),
            (libc::SYS_ftruncate, "ftruncate"),
            (libc::SYS_exit_group, "exit_group"),
        ];
        match known.iter().find(|(number, _)| *number == self.number) {
            Some((_, name)) => write!(f, "{name}")?,
            None => write!(f, "system call {}", self.number)?,
        }
        let [first, second, third, ..] = self.arguments;
        write!(f, "({first:#x}, {second:#x}, {third:#x}, ...)")
    }
}
