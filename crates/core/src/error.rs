//! Why a verb failed: one kind that the protocols map to their codes, and the chain of causes in words.
//! Every function of the domain returns it; `cni` and `docker` render it.
//! It must never be built from a cause's text: causes are kept, undos that failed included.

use std::fmt;

use wharfline_kernel::KernelError;

/// What class of failure it is: all that a protocol looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A key that this plugin or this kernel cannot honour (CNI code 2).
    UnsupportedField,
    /// The container is not known, and nothing is left to clean (CNI code 3).
    UnknownContainer,
    /// An environment variable or argument (CNI code 4).
    BadEnvironment,
    /// A file could not be read or written (CNI code 5).
    Io,
    /// Text that does not parse (CNI code 6).
    Decode,
    /// A configuration that parses and makes no sense (CNI code 7).
    InvalidConfig,
    /// The namespace given is not usable (CNI code 8, ours within the reserved range).
    BadNetns,
    /// Somebody else holds it; try again later (CNI code 11).
    Busy,
    /// The plugin cannot serve ADD now (CNI code 50).
    NotAvailable,
    /// Nor are existing containers sure of their connectivity (CNI code 51).
    LimitedConnectivity,
    /// An object is there that belongs to somebody else (CNI code 100).
    Conflict,
    /// No address, port or bridge port is left (CNI code 101).
    Exhausted,
    /// The kernel refused a change (CNI code 102).
    KernelRefused,
    /// CHECK found the world other than the plan (CNI code 103).
    Differs,
    /// A mistake of ours (CNI code 999).
    Bug,
}

/// A failure: its kind, what was being done, why it failed, and what could not be undone after it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    failed_undos: Vec<Error>,
}

/// The result of a domain operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure without a deeper cause. `what` names the key or object, in lower case, without a full stop.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            cause: None,
            failed_undos: Vec::new(),
        }
    }

    /// Keeps `cause` below this failure.
    pub fn because(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// The same failure, told as a part of `what`.
    pub fn within(self, what: impl Into<String>) -> Self {
        Self {
            kind: self.kind,
            what: what.into(),
            failed_undos: Vec::new(),
            cause: Some(Box::new(self)),
        }
    }

    /// A configuration key whose value makes no sense.
    pub fn config(key: &str, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidConfig, format!("{key}: {why}"))
    }

    /// A file that could not be read or written.
    pub fn io(what: impl Into<String>, cause: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, what).because(cause)
    }

    /// Several failures of one verb, each kept; `None` where there were none.
    pub fn all(failures: Vec<Error>) -> Option<Self> {
        let mut failures = failures.into_iter();
        let mut first = failures.next()?;
        first.failed_undos.extend(failures);
        Some(first)
    }

    /// What class of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Notes what could not be undone after this failure.
    pub fn add_failed_undo(&mut self, undo: Error) {
        self.failed_undos.push(undo);
    }

    /// What else failed: undos after this failure, or further failures of the same verb.
    pub fn others(&self) -> &[Error] {
        &self.failed_undos
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        for other in &self.failed_undos {
            write!(f, "; also: {other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause
            .as_deref()
            .map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

impl From<KernelError> for Error {
    fn from(refusal: KernelError) -> Self {
        use nix::errno::Errno;
        let kind = match refusal.errno() {
            Errno::EBUSY | Errno::EAGAIN => ErrorKind::Busy,
            Errno::EXFULL => ErrorKind::Exhausted,
            // nft(8) is not installed: a file that is missing, not a change that was refused.
            Errno::ENOPKG => ErrorKind::Io,
            _ => ErrorKind::KernelRefused,
        };
        Self::new(kind, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn what_may_pass_by_itself_is_told_from_what_will_not() {
        for (errno, kind) in [
            (Errno::EBUSY, ErrorKind::Busy),
            (Errno::EAGAIN, ErrorKind::Busy),
            (Errno::EXFULL, ErrorKind::Exhausted),
            (Errno::EPERM, ErrorKind::KernelRefused),
            (Errno::EEXIST, ErrorKind::KernelRefused),
        ] {
            let error = Error::from(KernelError::new("add a link", errno));
            assert_eq!(error.kind(), kind, "{errno}");
        }
    }

    #[test]
    fn of_several_failures_the_first_gives_the_kind_and_all_are_told() {
        assert!(Error::all(Vec::new()).is_none());
        let failures = vec![
            Error::config("mtu", "7 is too small"),
            Error::new(ErrorKind::Busy, "lock x"),
        ];
        let all = Error::all(failures).expect("a failure");
        assert_eq!(all.kind(), ErrorKind::InvalidConfig);
        assert_eq!(all.others().len(), 1);
        let told = all.within("add eth0").to_string();
        assert_eq!(told, "add eth0: mtu: 7 is too small; also: lock x");
    }

    #[test]
    fn the_chain_reads_outermost_first_and_keeps_failed_undos() {
        let refusal = KernelError::new("attach v1 to bridge 4", Errno::EXFULL);
        let mut error = Error::from(refusal).within("add eth0 of c1 to network lab");
        error.add_failed_undo(Error::new(ErrorKind::Io, "release 10.1.0.2"));
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert_eq!(
            error.to_string(),
            "add eth0 of c1 to network lab: attach v1 to bridge 4: exchange full (EXFULL); also: release 10.1.0.2"
        );
    }
}
