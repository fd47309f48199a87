//! The `--ulimit` and `--oom-score-adj` options, and how much of them this process may give.
//! `wish` reads them; `bundle` writes what is left of them into the OCI configuration before each start.
//! It must never let a start fail for a limit that the host does not let us raise: it lowers it, and warns.

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::capabilities;
use crate::error::{Error, Result};
use crate::output;

/// Docker's names of the limits, the kernel's (getrlimit(2)), and their numbers.
const KNOWN: [(&str, &str, Resource); 16] = [
    ("as", "RLIMIT_AS", Resource::As),
    ("core", "RLIMIT_CORE", Resource::Core),
    ("cpu", "RLIMIT_CPU", Resource::Cpu),
    ("data", "RLIMIT_DATA", Resource::Data),
    ("fsize", "RLIMIT_FSIZE", Resource::Fsize),
    ("locks", "RLIMIT_LOCKS", Resource::Locks),
    ("memlock", "RLIMIT_MEMLOCK", Resource::Memlock),
    ("msgqueue", "RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("nice", "RLIMIT_NICE", Resource::Nice),
    ("nofile", "RLIMIT_NOFILE", Resource::Nofile),
    ("nproc", "RLIMIT_NPROC", Resource::Nproc),
    ("rss", "RLIMIT_RSS", Resource::Rss),
    ("rtprio", "RLIMIT_RTPRIO", Resource::Rtprio),
    ("rttime", "RLIMIT_RTTIME", Resource::Rttime),
    ("sigpending", "RLIMIT_SIGPENDING", Resource::Sigpending),
    ("stack", "RLIMIT_STACK", Resource::Stack),
];
/// RLIM_INFINITY.
const UNLIMITED: u64 = u64::MAX;
/// The capability that raising a limit takes (capabilities(7)).
const CAP_SYS_RESOURCE: u32 = 24;

/// A limit of each process's use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ulimit {
    /// In the kernel's words.
    pub(crate) name: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// What `--ulimit NAME=SOFT[:HARD]` asks for; the last word on a name counts.
pub(crate) fn of(given: &[String]) -> Result<Vec<Ulimit>> {
    let mut all: Vec<Ulimit> = Vec::new();
    for text in given {
        let limit = one(text)?;
        all.retain(|other| other.name != limit.name);
        all.push(limit);
    }
    Ok(all)
}

fn one(given: &str) -> Result<Ulimit> {
    let refuse = |rule| Error::BadValue {
        given: given.to_owned(),
        rule,
    };
    let form = "is not of the form NAME=SOFT[:HARD], where -1 is unlimited";
    let (name, values) = given.split_once('=').ok_or_else(|| refuse(form))?;
    let known = KNOWN.iter().find(|(known, _, _)| *known == name);
    let (_, name, _) = known.ok_or_else(|| refuse("names no limit of getrlimit(2)"))?;
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(UNLIMITED),
        text => text.parse().map_err(|_| refuse(form)),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(refuse("has a soft limit above the hard one"));
    }
    Ok(Ulimit {
        name: (*name).to_owned(),
        soft,
        hard,
    })
}

/// The `--oom-score-adj` option, within the kernel's bounds (proc_pid_oom_score_adj(5)).
pub(crate) fn oom_score_adj(given: Option<i32>) -> Result<Option<i32>> {
    match given {
        Some(value) if !(-1000..=1000).contains(&value) => Err(Error::BadValue {
            given: value.to_string(),
            rule: "is no oom_score_adj: those are -1000 to 1000",
        }),
        other => Ok(other),
    }
}

/// The OCI `process.rlimits`, as high as this process may set them.
pub(crate) fn oci(wanted: &[Ulimit]) -> Result<Vec<Value>> {
    let may_raise = capabilities::effective(CAP_SYS_RESOURCE)?;
    let given = wanted.iter().map(|limit| {
        let highest = highest(&limit.name, may_raise);
        let given = clamped(limit, highest);
        if given != *limit {
            output::warn(&format!(
                "{} is {highest} at most here: this process may not raise it",
                limit.name
            ));
        }
        json!({"type": given.name, "soft": given.soft, "hard": given.hard})
    });
    Ok(given.collect())
}

fn highest(name: &str, may_raise: bool) -> u64 {
    let known = KNOWN.iter().find(|(_, known, _)| *known == name);
    let own = known.and_then(|(_, _, resource)| getrlimit(*resource).maximum);
    if !may_raise {
        return own.unwrap_or(UNLIMITED);
    }
    // Nobody may have more open files than the kernel allows any process (kernel/sys.c, do_prlimit).
    let of_kernel = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
    match (name, of_kernel.and_then(|text| text.trim().parse().ok())) {
        ("RLIMIT_NOFILE", Some(most)) => most,
        _ => UNLIMITED,
    }
}

fn clamped(limit: &Ulimit, highest: u64) -> Ulimit {
    Ulimit {
        name: limit.name.clone(),
        soft: limit.soft.min(highest),
        hard: limit.hard.min(highest),
    }
}

/// The OCI `process.oomScoreAdj`: without CAP_SYS_RESOURCE nobody goes below what it has itself.
pub(crate) fn oci_oom_score_adj(wanted: i32) -> Result<i32> {
    let path = "/proc/self/oom_score_adj";
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    let own = text.trim().parse().unwrap_or(0);
    if wanted >= own || capabilities::effective(CAP_SYS_RESOURCE)? {
        return Ok(wanted);
    }
    output::warn(&format!(
        "oom_score_adj is {own} at least here: this process may not lower it to {wanted}"
    ));
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_name_with_one_number_or_two() {
        let limits = of(&["nofile=10".into(), "core=0:-1".into(), "nofile=5:7".into()]);
        let limits = limits.expect("limits");
        let plain: Vec<_> = limits
            .iter()
            .map(|limit| (limit.name.as_str(), limit.soft, limit.hard))
            .collect();
        assert_eq!(
            plain,
            [("RLIMIT_CORE", 0, UNLIMITED), ("RLIMIT_NOFILE", 5, 7)]
        );
        for wrong in ["nofile", "nofile=", "files=1", "nofile=2:1", "nofile=-2"] {
            assert!(one(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_lowered_to_what_may_be_given() {
        let wanted = one("nofile=10:200").expect("a limit");
        let given = clamped(&wanted, 100);
        assert_eq!((given.soft, given.hard), (10, 100));
        assert_eq!(clamped(&wanted, 200), wanted);
    }
}
