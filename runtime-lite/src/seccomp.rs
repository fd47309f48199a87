//! The default system call filter of a container: Docker's rules, for the capabilities that the container has.
//! `bundle` puts it into the OCI configuration; libseccomp turns it into BPF in the shim.
//! It must never allow more because a kernel or a libseccomp does not know a name: unknown names are left out there.

use serde_json::{Value, json};

/// What an unlisted system call answers: EPERM, as with Docker.
const REFUSED: u32 = 1;
/// ENOSYS, for `clone3`: the C library then falls back to `clone`, whose flags a filter can see.
const UNKNOWN: u32 = 38;
/// The address family of vsock, which reaches past the network namespace to the hypervisor.
const AF_VSOCK: u32 = 40;
/// `clone` flags that make a namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
/// `personality` values that are harmless: Linux, 32-bit Linux, both with old uname, and the query.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The OCI `linux.seccomp` object for a container with these capabilities (names as in capabilities(7)).
pub(crate) fn profile(capabilities: &[&str]) -> Value {
    let mut rules = vec![
        allow(&words(&ALWAYS)),
        allow(&["arch_prctl", "modify_ldt"]),
        allow_if("socket", 0, AF_VSOCK, "SCMP_CMP_NE"),
    ];
    rules.extend(PERSONALITIES.map(|value| allow_if("personality", 0, value, "SCMP_CMP_EQ")));
    for (capability, calls) in WITH_CAPABILITY {
        if capabilities.contains(&capability) {
            rules.push(allow(&words(&[calls])));
        }
    }
    if !capabilities.contains(&"CAP_SYS_ADMIN") {
        rules.push(clone_without_namespaces());
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": UNKNOWN}));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": REFUSED,
        "architectures": ARCHITECTURES,
        "syscalls": rules,
    })
}

/// The processor's own and its 32-bit calls. Docker lists x32 as well, which hardly any kernel still offers: without it
/// an x32 program is killed, and the filter takes half the time to make (7 ms instead of 14).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];

fn words<'a>(groups: &[&'a str]) -> Vec<&'a str> {
    groups
        .iter()
        .flat_map(|group| group.split_ascii_whitespace())
        .collect()
}

fn allow(names: &[&str]) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ALLOW"})
}

fn allow_if(name: &str, argument: u32, value: u32, comparison: &str) -> Value {
    json!({
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": argument, "value": value, "op": comparison}],
    })
}

fn clone_without_namespaces() -> Value {
    json!({
        "names": ["clone"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{
            "index": 0,
            "value": NAMESPACE_FLAGS,
            "valueTwo": 0,
            "op": "SCMP_CMP_MASKED_EQ",
        }],
    })
}

/// Allowed in every container, by what they are about.
const ALWAYS: [&str; 12] = [
    // Files by path.
    "access chdir chmod chown chown32 creat execve execveat faccessat faccessat2 fchdir fchmod \
     fchmodat fchmodat2 fchown fchown32 fchownat getcwd lchown lchown32 link linkat mkdir mkdirat mknod \
     mknodat name_to_handle_at open openat openat2 readlink readlinkat rename renameat renameat2 \
     rmdir symlink symlinkat truncate truncate64 umask unlink unlinkat utime utimensat \
     utimensat_time64 utimes futimesat",
    // What a file is.
    "fstat fstat64 fstatat64 fstatfs fstatfs64 lstat lstat64 newfstatat stat stat64 statfs statfs64 \
     statx getxattr getxattrat fgetxattr lgetxattr listxattr listxattrat flistxattr llistxattr \
     removexattr removexattrat fremovexattr lremovexattr setxattr setxattrat fsetxattr lsetxattr",
    // Open files.
    "close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 fallocate fcntl fcntl64 \
     fdatasync flock fsync ftruncate ftruncate64 getdents getdents64 ioctl _llseek lseek pipe pipe2 \
     pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readdir readv sendfile \
     sendfile64 splice sync sync_file_range syncfs tee vmsplice write writev cachestat",
    // Waiting for files.
    "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 \
     epoll_wait epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init \
     inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents \
     io_pgetevents_time64 io_setup io_submit poll ppoll ppoll_time64 pselect6 pselect6_time64 select \
     signalfd signalfd4",
    // Memory.
    "brk get_thread_area madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock \
     mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc \
     pkey_free pkey_mprotect remap_file_pages set_thread_area",
    // Processes and threads.
    "exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake \
     get_robust_list getcpu getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid \
     gettid pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease restart_syscall rseq \
     set_robust_list set_tid_address setpgid setpriority setrlimit setsid ugetrlimit vfork wait4 \
     waitid waitpid",
    // Looking into one's own processes: safe since Linux 4.8 checks a tracee's filters (seccomp(2)).
    "process_vm_readv process_vm_writev ptrace",
    // Signals.
    "alarm kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
     rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack \
     signal sigpending sigprocmask sigreturn sigsuspend tgkill tkill",
    // Users, capabilities, sandboxes.
    "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 \
     getresgid getresgid32 getresuid getresuid32 getuid getuid32 landlock_add_rule \
     landlock_create_ruleset landlock_restrict_self seccomp setfsgid setfsgid32 setfsuid setfsuid32 \
     setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid \
     setresuid32 setreuid setreuid32 setuid setuid32",
    // Sockets and System V and POSIX queues.
    "accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr \
     mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 \
     mq_unlink msgctl msgget msgrcv msgsnd recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl \
     semget semop semtimedop semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat shmctl \
     shmdt shmget shutdown socketcall socketpair",
    // Time. Setting it is judged by the kernel: adjtimex with nothing to set only reads.
    "adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
     clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer \
     time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
     timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
     timerfd_settime64 times",
    // Scheduling and the machine.
    "getrandom ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min sched_getaffinity \
     sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
     sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler \
     sched_yield sysinfo uname",
];

/// Allowed only with a capability: without it the kernel would refuse the call anyway, and an attacker has less to try.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    (
        "CAP_SYS_TIME",
        "settimeofday stime clock_settime clock_settime64",
    ),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(profile: &Value, name: &str) -> Vec<String> {
        profile["syscalls"]
            .as_array()
            .expect("rules")
            .iter()
            .filter(|rule| {
                rule["names"]
                    .as_array()
                    .expect("names")
                    .iter()
                    .any(|known| known == name)
            })
            .map(|rule| rule["action"].as_str().expect("an action").to_owned())
            .collect()
    }

    #[test]
    fn a_plain_container_cannot_mount_or_make_namespaces() {
        let plain = profile(&["CAP_SYS_CHROOT"]);
        for name in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "keyctl",
            "io_uring_setup",
            "reboot",
        ] {
            assert!(verdict(&plain, name).is_empty(), "{name}");
        }
        assert_eq!(verdict(&plain, "clone3"), ["SCMP_ACT_ERRNO"]);
        assert_eq!(verdict(&plain, "chroot"), ["SCMP_ACT_ALLOW"]);
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut names = words(&ALWAYS);
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_capability_opens_its_own_calls() {
        let admin = profile(&["CAP_SYS_ADMIN"]);
        assert_eq!(verdict(&admin, "mount"), ["SCMP_ACT_ALLOW"]);
        assert_eq!(verdict(&admin, "clone3"), ["SCMP_ACT_ALLOW"]);
        assert!(verdict(&admin, "reboot").is_empty());
    }
}
