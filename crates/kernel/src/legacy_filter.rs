//! iptables-legacy: whether its FORWARD chain drops what we forward, read straight from the kernel.
//! STATUS asks before it calls a network ready, and ADD to warn: no rule can be put there without iptables.
//! It must never run iptables, change a rule, or make the kernel create a table that is not in use.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::error::{KernelError, Result};
use crate::nft::MARK;

mod chain;

use chain::{Layout, Passage};

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO` (linux/netfilter_ipv4/ip_tables.h): where each chain begins and ends.
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`: the rules of all chains, one after another.
const GET_ENTRIES: libc::c_int = 65;
/// `XT_TABLE_MAXNAMELEN` (linux/netfilter/x_tables.h).
const NAME: usize = 32;
/// sizeof(struct ipt_getinfo).
const INFO: usize = 84;
/// offsetof(struct ipt_get_entries, entrytable): a name, a size, and padding to the entries' 64-bit counters.
const HEAD: usize = (NAME + 4).next_multiple_of(align_of::<u64>());
/// `NF_INET_FORWARD`: the index of the chain.
const FORWARD: usize = 2;
/// More bytes of rules than any table has; what is larger is not asked for.
const TOO_LARGE: usize = 256 << 20;
/// How often the table is read again because somebody changed it in between.
const ATTEMPTS: u32 = 8;

/// A FORWARD chain of iptables-legacy that drops what does not bear our mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DroppingChain {
    v6: bool,
    passage: Passage,
}

impl DroppingChain {
    /// Whether an administrator has put the rule there that lets our mark through.
    pub fn lets_us_through(&self) -> bool {
        self.passage == Passage::Marked
    }
}

impl fmt::Display for DroppingChain {
    /// What is wrong, and the command that mends it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = if self.v6 { "ip6tables" } else { "iptables" };
        write!(
            f,
            "{program}-legacy's FORWARD drops forwarded packets: run `{program}-legacy -I FORWARD -m mark \
             --mark {MARK:#x}/{MARK:#x} -j ACCEPT` or switch to {program}-nft"
        )
    }
}

/// The chains in the calling thread's network namespace that drop by policy, or by a rule for everything. What a chain
/// drops in particular is not analysed. IPv6 counts only where the host forwards it. Where iptables-legacy is not in
/// use it costs one failed open per family.
///
/// # Errors
/// What the kernel answers, EPERM without CAP_NET_ADMIN among it.
pub fn dropping() -> Result<Vec<DroppingChain>> {
    let mut dropping = Vec::new();
    for v6 in [false, true] {
        if !in_use(v6) || !forwards(v6) {
            continue;
        }
        match passage(v6)? {
            Passage::Open => {}
            passage => dropping.push(DroppingChain { v6, passage }),
        }
    }
    Ok(dropping)
}

/// Whether the table `filter` is there already: asking for it would create it (xt_find_table_lock() in x_tables.c).
fn in_use(v6: bool) -> bool {
    let file = if v6 {
        "/proc/thread-self/net/ip6_tables_names"
    } else {
        "/proc/thread-self/net/ip_tables_names"
    };
    std::fs::read_to_string(file).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

/// IPv4 forwarding is switched on with the first network; a host that forwards no IPv6 has no network that would.
fn forwards(v6: bool) -> bool {
    !v6 || crate::sysctl::read("net/ipv6/conf/all/forwarding").is_ok_and(|value| value != "0")
}

fn passage(v6: bool) -> Result<Passage> {
    let tried = || {
        let program = if v6 { "ip6tables" } else { "iptables" };
        format!("read the filter table of {program}-legacy")
    };
    let socket = open(v6).map_err(|errno| KernelError::new(tried(), errno))?;
    let layout = if v6 { Layout::V6 } else { Layout::V4 };
    for _ in 0..ATTEMPTS {
        match forward_chain(&socket, v6) {
            Ok(chain) => return Ok(chain::passage(&chain, layout)),
            // The table was replaced between the two questions (get_entries() in ip_tables.c).
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(KernelError::new(tried(), errno)),
        }
    }
    Err(KernelError::new(tried(), Errno::EAGAIN))
}

fn open(v6: bool) -> nix::Result<OwnedFd> {
    let family = if v6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    socket(
        family,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Raw,
    )
}

/// The entries of FORWARD, its policy last.
fn forward_chain(socket: &OwnedFd, v6: bool) -> nix::Result<Vec<u8>> {
    let mut info = [0; INFO];
    name_filter(&mut info);
    read_option(socket, v6, GET_INFO, &mut info)?;
    let number = |offset| chain::number(&info, offset).unwrap_or_default() as usize;
    let begin = number(NAME + 4 + FORWARD * 4);
    let policy = number(NAME + 4 + 20 + FORWARD * 4);
    let size = number(INFO - 4);
    if size > TOO_LARGE {
        return Err(Errno::EFBIG);
    }
    let mut entries = vec![0; HEAD + size];
    name_filter(&mut entries);
    entries[NAME..NAME + 4].copy_from_slice(&(size as u32).to_ne_bytes());
    read_option(socket, v6, GET_ENTRIES, &mut entries)?;
    let table = entries.get(HEAD..).unwrap_or_default();
    let policy_end = chain::end_of(table, policy, if v6 { Layout::V6 } else { Layout::V4 });
    Ok(table.get(begin..policy_end).unwrap_or_default().to_vec())
}

fn name_filter(request: &mut [u8]) {
    request[..6].copy_from_slice(b"filter");
}

/// getsockopt(2) of a structure that is both question and answer.
fn read_option(
    socket: &OwnedFd,
    v6: bool,
    option: libc::c_int,
    buffer: &mut [u8],
) -> nix::Result<()> {
    let level = if v6 {
        libc::IPPROTO_IPV6
    } else {
        libc::IPPROTO_IP
    };
    let mut length = buffer.len() as libc::socklen_t;
    #[expect(
        unsafe_code,
        reason = "nix has no such option; JUSTIFICATION: the only way to read these rules without running iptables"
    )]
    // SAFETY: the kernel writes at most `length` bytes to `buffer`, which is that long and borrowed mutably; any bytes
    // are a valid [u8]; the descriptor is open.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(answer).map(drop)
}
