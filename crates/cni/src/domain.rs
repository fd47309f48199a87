//! The domain's failures as the protocol's, and a foreign address plugin as the domain's source.
//! Used by the CNI face of every plugin.
//! Must never change the error of a foreign plugin on its way to the runtime.

use std::error::Error as _;

use wharfline_core::error::{Error, ErrorKind};
use wharfline_core::ipam::Ipam;
use wharfline_spec::cni::{CniError, CniResult, code};

use crate::delegate::Delegate;
use crate::plugin::{NetworkRequest, Request};

/// The error that the runtime gets: the code of the failure's kind and its whole chain in words.
///
/// A foreign plugin's error at the root of the chain passes through as it is.
#[must_use]
pub fn refusal(error: &Error) -> CniError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(foreign) = inner.downcast_ref::<CniError>() {
            return foreign.clone();
        }
        cause = inner.source();
    }
    CniError::new(code_of(error.kind()), error.to_string())
}

/// The code of a kind of failure (CNI SPEC 1.1.0, "Error"; 100 and above are ours).
#[must_use]
pub const fn code_of(kind: ErrorKind) -> u32 {
    match kind {
        ErrorKind::UnsupportedField => code::UNSUPPORTED_FIELD,
        ErrorKind::UnknownContainer => code::UNKNOWN_CONTAINER,
        ErrorKind::BadEnvironment => code::INVALID_ENVIRONMENT,
        ErrorKind::Io => code::IO_FAILURE,
        ErrorKind::Decode => code::DECODING_FAILURE,
        ErrorKind::InvalidConfig => code::INVALID_CONFIG,
        ErrorKind::BadNetns => code::INVALID_NETNS,
        ErrorKind::Busy => code::TRY_AGAIN_LATER,
        ErrorKind::NotAvailable => code::NOT_AVAILABLE,
        ErrorKind::LimitedConnectivity => code::LIMITED_CONNECTIVITY,
        ErrorKind::Conflict => code::CONFLICT,
        ErrorKind::Exhausted => code::EXHAUSTED,
        ErrorKind::KernelRefused => code::KERNEL_REFUSED,
        ErrorKind::Differs => code::CHECK_FAILED,
        ErrorKind::Bug => code::INTERNAL,
    }
}

/// The request that a foreign address plugin serves.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// ADD, DEL or CHECK of one attachment.
    Attachment(&'a Request),
    /// GC or STATUS of the network.
    Network(&'a NetworkRequest),
}

/// An address plugin that is not ours, as the engine sees it.
#[derive(Debug)]
pub struct ForeignIpam<'a> {
    /// Its type, for messages.
    name: &'a str,
    delegate: Delegate,
    asked: Asked<'a>,
}

impl<'a> ForeignIpam<'a> {
    /// Finds the plugin of the configuration's `ipam.type`, for the one request that it will serve.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] or [`ErrorKind::BadEnvironment`] when there is none.
    pub fn find(name: &'a str, asked: Asked<'a>) -> Result<ForeignIpam<'a>, Error> {
        let path = match asked {
            Asked::Attachment(request) => &request.path,
            Asked::Network(request) => &request.path,
        };
        let delegate = Delegate::find(name, path).map_err(|e| foreign(name, "find", e))?;
        Ok(ForeignIpam {
            name,
            delegate,
            asked,
        })
    }

    fn attachment<T>(
        &self,
        tried: &str,
        call: impl FnOnce(&Delegate, &Request) -> Result<T, CniError>,
    ) -> Result<T, Error> {
        match self.asked {
            Asked::Attachment(request) => {
                call(&self.delegate, request).map_err(|e| foreign(self.name, tried, e))
            }
            Asked::Network(_) => Err(misused(self.name, tried)),
        }
    }

    fn network(
        &self,
        tried: &str,
        call: impl FnOnce(&Delegate, &NetworkRequest) -> Result<(), CniError>,
    ) -> Result<(), Error> {
        match self.asked {
            Asked::Network(request) => {
                call(&self.delegate, request).map_err(|e| foreign(self.name, tried, e))
            }
            Asked::Attachment(_) => Err(misused(self.name, tried)),
        }
    }
}

impl Ipam for ForeignIpam<'_> {
    fn acquire(&self) -> Result<CniResult, Error> {
        self.attachment("ADD", Delegate::add)
    }

    fn release(&self) -> Result<(), Error> {
        self.attachment("DEL", Delegate::del)
    }

    fn check(&self) -> Result<(), Error> {
        self.attachment("CHECK", Delegate::check)
    }

    fn gc(&self) -> Result<(), Error> {
        self.network("GC", Delegate::gc)
    }

    fn status(&self) -> Result<(), Error> {
        self.network("STATUS", Delegate::status)
    }
}

fn foreign(name: &str, tried: &str, error: CniError) -> Error {
    let kind = match error.code {
        code::INVALID_ENVIRONMENT => ErrorKind::BadEnvironment,
        code::IO_FAILURE => ErrorKind::Io,
        code::DECODING_FAILURE => ErrorKind::Decode,
        code::INVALID_CONFIG => ErrorKind::InvalidConfig,
        code::TRY_AGAIN_LATER => ErrorKind::Busy,
        code::LIMITED_CONNECTIVITY => ErrorKind::LimitedConnectivity,
        _ => ErrorKind::NotAvailable,
    };
    Error::new(kind, format!("address plugin {name} ({tried})")).because(error)
}

fn misused(name: &str, tried: &str) -> Error {
    Error::new(
        ErrorKind::Bug,
        format!("address plugin {name}: {tried} asked of the wrong request"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_code_of_the_specification_or_one_of_ours() {
        let cases = [
            (ErrorKind::BadEnvironment, 4),
            (ErrorKind::Io, 5),
            (ErrorKind::InvalidConfig, 7),
            (ErrorKind::BadNetns, 8),
            (ErrorKind::Busy, 11),
            (ErrorKind::NotAvailable, 50),
            (ErrorKind::Conflict, 100),
            (ErrorKind::Bug, 999),
        ];
        for (kind, code) in cases {
            let refused = refusal(&Error::new(kind, "vlan: 5000 is no VLAN id"));
            assert_eq!(
                (refused.code, refused.msg.as_str()),
                (code, "vlan: 5000 is no VLAN id")
            );
        }
    }

    #[test]
    fn a_foreign_error_passes_through_every_layer() {
        let theirs = CniError::new(77, "lease server is away").with_details("10.0.0.9");
        let error = foreign("dhcp", "ADD", theirs.clone()).within("add eth0 of c1");
        assert_eq!(refusal(&error), theirs);
        assert_eq!(
            error.to_string(),
            "add eth0 of c1: address plugin dhcp (ADD): lease server is away; 10.0.0.9"
        );
    }
}
