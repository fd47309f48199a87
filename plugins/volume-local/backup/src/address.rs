//! The address of a repository: a directory's path, or `s3:` and a URL, as `restic -r` takes it.
//! The worker parses it from the command line; `Repository` opens the store that it names.
//! It must never carry credentials: those come from the environment.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::password::Password;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An absolute path of a directory.
    Directory(PathBuf),
    /// A bucket of an S3-compatible store.
    S3 {
        /// `https://host[:port]` or `http://host[:port]`.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// What the objects' names begin with; without slashes at either end, possibly empty.
        prefix: String,
    },
}

/// What opens a bucket.
#[derive(Clone)]
pub struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) region: String,
    /// Certificates (PEM) that may have signed the server's, beside those that the host believes.
    pub(crate) authorities: Option<String>,
}

impl Keys {
    /// Takes them from the variables that all clients of S3 know: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and where they
    /// are set `AWS_SESSION_TOKEN` and `AWS_REGION` or `AWS_DEFAULT_REGION`. `value` says what a variable has.
    pub fn from_variables(value: impl Fn(&str) -> Option<String>) -> Option<Keys> {
        let region = value("AWS_REGION").or_else(|| value("AWS_DEFAULT_REGION"));
        Some(Keys {
            id: value("AWS_ACCESS_KEY_ID")?,
            secret: value("AWS_SECRET_ACCESS_KEY")?,
            token: value("AWS_SESSION_TOKEN"),
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            authorities: None,
        })
    }

    /// Certificates, as the text of a PEM file, of the authority that signed the server's own.
    #[must_use]
    pub fn with_authorities(mut self, certificates: Option<String>) -> Keys {
        self.authorities = certificates;
        self
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// What it takes to open a repository.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where it is.
    pub address: Address,
    /// Its password.
    pub password: Password,
    /// For a bucket.
    pub keys: Option<Keys>,
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(given: &str) -> Result<Address> {
        let refused = |problem: &str| Error::Address {
            given: given.to_owned(),
            problem: problem.to_owned(),
        };
        if let Some(url) = given.strip_prefix("s3:") {
            return s3(url);
        }
        match given {
            _ if given.contains('\0') => Err(refused("it has a NUL")),
            _ if given.starts_with('/') => Ok(Address::Directory(PathBuf::from(given))),
            _ => Err(refused(
                "neither an absolute path nor s3:https://HOST/BUCKET[/PREFIX]",
            )),
        }
    }
}

fn s3(url: &str) -> Result<Address> {
    let refused = |problem: &str| Error::Address {
        given: format!("s3:{}", shown(url)),
        problem: problem.to_owned(),
    };
    let Some((scheme, rest)) = url
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "https" | "http"))
    else {
        return Err(refused("s3: is followed by https:// or http://"));
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.contains('@') {
        return Err(refused(
            "credentials are not taken from the address: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ));
    }
    if path.contains(['?', '#']) || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refused("a character that no bucket or prefix has"));
    }
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let prefix = prefix.trim_end_matches('/');
    if host.is_empty()
        || bucket.is_empty()
        || (!prefix.is_empty()
            && prefix
                .split('/')
                .any(|part| matches!(part, "" | "." | "..")))
    {
        return Err(refused("s3:https://HOST/BUCKET[/PREFIX] is wanted"));
    }
    Ok(Address::S3 {
        endpoint: format!("{scheme}://{host}"),
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

/// Without what stands before an `@`: that may be a secret.
fn shown(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Directory(path) => path.display().fmt(f),
            Address::S3 {
                endpoint,
                bucket,
                prefix,
            } if prefix.is_empty() => write!(f, "s3:{endpoint}/{bucket}"),
            Address::S3 {
                endpoint,
                bucket,
                prefix,
            } => write!(f, "s3:{endpoint}/{bucket}/{prefix}"),
        }
    }
}
