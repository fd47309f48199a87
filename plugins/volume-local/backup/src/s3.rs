//! A repository in a bucket of an S3-compatible store.
//! `Repository` opens it; object_store speaks the protocol, `http` carries it.
//! It must never wait for ever for a server, nor put a key into an error.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use tokio::runtime::Runtime;

use crate::address::Keys;
use crate::error::{Error, Result};
use crate::http::Connector;
use crate::store::{Kind, Store, is_name};

/// How long a request is tried again before the server is called unreachable.
const RETRIED: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Bucket {
    runtime: Runtime,
    store: AmazonS3,
    /// What names of objects begin with.
    prefix: String,
    /// For errors: `s3:` and the bucket's address.
    shown: String,
}

impl Bucket {
    pub(crate) fn new(endpoint: &str, bucket: &str, prefix: &str, keys: &Keys) -> Result<Bucket> {
        let shown = format!("s3:{endpoint}/{bucket}");
        let failed = |problem: String| Error::Object {
            doing: "open",
            object: shown.clone(),
            problem,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|cause| failed(cause.to_string()))?;
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.,
        };
        let mut builder = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_bucket_name(bucket)
            .with_region(&keys.region)
            .with_access_key_id(&keys.id)
            .with_secret_access_key(&keys.secret)
            .with_allow_http(endpoint.starts_with("http://"))
            .with_retry(RetryConfig {
                backoff,
                max_retries: 8,
                retry_timeout: RETRIED,
            })
            .with_http_connector(Connector::new(keys.authorities.as_deref()).map_err(&failed)?);
        if let Some(token) = &keys.token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|cause| failed(told(&cause)))?;
        Ok(Bucket {
            runtime,
            store,
            prefix: prefix.to_owned(),
            shown,
        })
    }

    fn object(&self, kind: Kind, name: &str) -> Path {
        match self.prefix.as_str() {
            "" => Path::from(kind.path(name)),
            prefix => Path::from(format!("{prefix}/{}", kind.path(name))),
        }
    }

    fn done<T>(
        &self,
        doing: &'static str,
        object: &Path,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        let done = self.runtime.block_on(work);
        done.map_err(|cause| Error::Object {
            doing,
            object: format!("{}/{object}", self.shown),
            problem: told(&cause),
        })
    }

    fn range(&self, object: &Path, range: Range<u64>) -> Result<Bytes> {
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let read = self.done("read", object, self.store.get_range(object, range))?;
        match read.len() == wanted {
            true => Ok(read),
            false => Err(Error::Damaged {
                object: format!("{}/{object}", self.shown),
                problem: format!("it ends after {} of {wanted} bytes", read.len()),
            }),
        }
    }
}

impl Store for Bucket {
    fn location(&self) -> String {
        match self.prefix.as_str() {
            "" => self.shown.clone(),
            prefix => format!("{}/{prefix}", self.shown),
        }
    }

    /// A bucket has no directories; that the bucket is there shows with the first object.
    fn create(&self) -> Result<()> {
        Ok(())
    }

    fn list(&self, kind: Kind) -> Result<Vec<(String, u64)>> {
        if kind == Kind::Config {
            let object = self.object(kind, "");
            return match self.runtime.block_on(self.store.head(&object)) {
                Ok(found) => Ok(vec![("0".repeat(64), found.size)]),
                Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
                Err(cause) => self.done("look at", &object, async { Err(cause) }),
            };
        }
        let below = match self.prefix.as_str() {
            "" => Path::from(kind.directory()),
            prefix => Path::from(format!("{prefix}/{}", kind.directory())),
        };
        let all: Vec<_> = self.done("list", &below, self.store.list(Some(&below)).try_collect())?;
        let named = all
            .iter()
            .filter_map(|found| Some((found.location.filename()?.to_owned(), found.size)));
        Ok(named.filter(|(name, _)| is_name(name)).collect())
    }

    fn read(&self, kind: Kind, name: &str) -> Result<Bytes> {
        let object = self.object(kind, name);
        self.done("read", &object, async {
            self.store.get(&object).await?.bytes().await
        })
    }

    fn read_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Bytes> {
        match length {
            0 => Ok(Bytes::new()),
            _ => self.range(&self.object(kind, name), offset..offset + length as u64),
        }
    }

    /// An object appears whole or not at all.
    fn write(&self, kind: Kind, name: &str, parts: &[Bytes]) -> Result<()> {
        let object = self.object(kind, name);
        let payload: PutPayload = parts.iter().cloned().collect();
        self.done("write", &object, self.store.put(&object, payload))
            .map(drop)
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<()> {
        let object = self.object(kind, name);
        match self.runtime.block_on(self.store.delete(&object)) {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => self.done("remove", &object, async { done }),
        }
    }

    fn sweep(&self) -> Result<()> {
        Ok(())
    }
}

/// An error with its causes, each said once, on one line.
fn told(error: &object_store::Error) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let next_told = next.to_string();
        if !told.contains(&next_told) {
            told = format!("{told}: {next_told}");
        }
        cause = next.source();
    }
    told.replace('\n', " ")
}

/// For `Repository`, which knows stores by their trait.
pub(crate) fn open(
    endpoint: &str,
    bucket: &str,
    prefix: &str,
    keys: &Keys,
) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(Bucket::new(endpoint, bucket, prefix, keys)?))
}
