//! The result cache, in libcni's own format and place (kind `cniCacheV1`).
//! Written by our ADDs, read by our DELs and CHECKs; `wharf gc` reads those of every runtime.
//! Must never delete a file that another runtime may still need: only the DEL of an attachment does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value, json};
use wharfline_spec::cni::{CniResult, ConfList, Version};
use wharfline_spec::fields::strings;
use wharfline_spec::{BadField, Fields, NetworkName};

use super::{Attach, ClientError, base64};

const KIND: &str = "cniCacheV1";

/// Drafts that this process has begun: each has a name of its own.
static DRAFTS: AtomicU32 = AtomicU32::new(0);

/// One cached attachment: what a runtime attached, and what the plugins answered.
#[derive(Debug, Clone)]
pub struct CachedAttachment {
    /// The network.
    pub network: NetworkName,
    /// What was attached, with its arguments.
    pub attach: Attach,
    /// The network's configuration list at that time, as it was written.
    pub config: Vec<u8>,
    /// Result of the ADD.
    pub result: Option<CniResult>,
    /// The file.
    pub file: PathBuf,
}

/// The folder `results` below a cache directory.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
    dir: PathBuf,
}

impl Cache {
    pub(super) fn below(cache_dir: PathBuf) -> Cache {
        let dir = cache_dir.join("results");
        Cache {
            root: cache_dir,
            dir,
        }
    }

    /// The cache directory, which also holds our lock: libcni takes every file of `results` for a result.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn file(&self, network: &NetworkName, attach: &Attach) -> PathBuf {
        self.dir
            .join(format!("{network}-{}-{}", attach.container, attach.ifname))
    }

    /// Keeps the result of an ADD. The file appears whole or not at all.
    pub(super) fn put(
        &self,
        list: &ConfList,
        attach: &Attach,
        result: &CniResult,
    ) -> Result<(), ClientError> {
        let file = self.file(&list.name, attach);
        let document = document(list, attach, result).to_string();
        // Beside `results`, where no runtime takes what a killed process left for a result.
        let serial = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = self
            .root
            .join(format!(".draft-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&self.dir).map_err(|e| ClientError::io("make", &self.dir, e))?;
        let written = write_private(&draft, document.as_bytes());
        let published = written.and_then(|()| std::fs::rename(&draft, &file));
        published.map_err(|e| {
            // The error is what counts; the draft may not exist.
            let _ = std::fs::remove_file(&draft);
            ClientError::io("write", &file, e)
        })
    }

    /// The cached attachment; `None` when there is none.
    pub(super) fn get(
        &self,
        network: &NetworkName,
        attach: &Attach,
    ) -> Result<Option<CachedAttachment>, ClientError> {
        let file = self.file(network, attach);
        match std::fs::read(&file) {
            Ok(bytes) => read(&file, &bytes).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(ClientError::io("read", &file, e)),
        }
    }

    /// The refusal of what cannot be done without the result of an ADD.
    pub(super) fn has_none(&self, network: &NetworkName, attach: &Attach) -> ClientError {
        let path = self.file(network, attach);
        let problem = "no result of an ADD is kept".to_owned();
        ClientError::Cache { path, problem }
    }

    /// Forgets an attachment; one that is not there is forgotten already.
    pub(super) fn remove(&self, network: &NetworkName, attach: &Attach) -> Result<(), ClientError> {
        let file = self.file(network, attach);
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(ClientError::io("remove", &file, e))
            }
            _ => Ok(()),
        }
    }

    /// Every attachment of every runtime, in lexical order. Files of other kinds, and what cannot be
    /// read, come as errors in their place.
    pub(super) fn all(&self) -> Result<Vec<Result<CachedAttachment, ClientError>>, ClientError> {
        let failed = |e| ClientError::io("read", &self.dir, e);
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        let read_one = |file: &PathBuf| {
            let bytes = std::fs::read(file).map_err(|e| ClientError::io("read", file, e))?;
            read(file, &bytes)
        };
        Ok(files.iter().map(read_one).collect())
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn document(list: &ConfList, attach: &Attach, result: &CniResult) -> Value {
    let config = Value::Object(list.raw.clone()).to_string();
    let mut doc = json!({
        "kind": KIND,
        "containerId": attach.container.as_str(),
        "config": base64::encode(config.as_bytes()),
        "ifName": attach.ifname.as_str(),
        "networkName": list.name.as_str(),
    });
    if let Some(netns) = &attach.netns {
        doc["netns"] = netns.display().to_string().into();
    }
    if !attach.args.is_empty() {
        doc["cniArgs"] = attach.args.iter().map(|(k, v)| json!([k, v])).collect();
    }
    if !attach.capabilities.is_empty() {
        doc["capabilityArgs"] = Value::Object(attach.capabilities.clone());
    }
    doc["result"] = result.to_json(list.cni_version);
    doc
}

fn read(file: &Path, bytes: &[u8]) -> Result<CachedAttachment, ClientError> {
    let bad = |problem: String| ClientError::Cache {
        path: file.to_owned(),
        problem,
    };
    let doc: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
    let fields = Fields::root(&doc);
    if fields.str("kind").ok().flatten() != Some(KIND) {
        return Err(bad(format!("is not of the kind {KIND}")));
    }
    from_fields(file, &fields).map_err(|e| bad(e.to_string()))
}

fn from_fields(file: &Path, fields: &Fields<'_>) -> Result<CachedAttachment, BadField> {
    let missing = |key| fields.bad(key, "is missing");
    let config = fields.str("config")?.unwrap_or_default();
    let args = fields.list("cniArgs")?;
    Ok(CachedAttachment {
        network: fields
            .parsed("networkName")?
            .ok_or_else(|| missing("networkName"))?,
        attach: Attach {
            container: fields
                .parsed("containerId")?
                .ok_or_else(|| missing("containerId"))?,
            netns: fields.text("netns")?.map(PathBuf::from),
            ifname: fields.parsed("ifName")?.ok_or_else(|| missing("ifName"))?,
            args: args
                .into_iter()
                .map(|(at, value)| pair(value, &at))
                .collect::<Result<_, _>>()?,
            capabilities: fields
                .object("capabilityArgs")?
                .map(|f| f.map().clone())
                .unwrap_or_default(),
        },
        config: base64::decode(config).ok_or_else(|| fields.bad("config", "is not base64"))?,
        result: match fields.get("result") {
            None => None,
            Some(value) => Some(CniResult::from_json_at(value, "result", Version::UNSTATED)?),
        },
        file: file.to_owned(),
    })
}

/// `[key, value]`, as libcni writes a pair of `CNI_ARGS`.
fn pair(value: &Value, at: &str) -> Result<(String, String), BadField> {
    match strings(value, at)?.as_slice() {
        [key, value] => Ok((key.clone(), value.clone())),
        _ => Err(BadField::new(at, "is not a pair")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_another_runtime_left_is_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            key in proptest::sample::select(&["containerId", "config", "ifName", "networkName", "netns",
                "cniArgs", "capabilityArgs", "result"][..]),
            value in proptest::sample::select(&["null", "5", "\"\"", "\"=\"", "[[1]]", "[[\"a\"]]", "{}"][..]),
        ) {
            let file = Path::new("lab-c1-eth0");
            prop_assert!(read(file, &bytes).is_err());
            let mut doc = json!({
                "kind": KIND, "containerId": "c1", "config": "e30=", "ifName": "eth0",
                "networkName": "lab", "cniArgs": [["a", "b"]],
            });
            prop_assert!(read(file, doc.to_string().as_bytes()).is_ok());
            doc[key] = serde_json::from_str(value).map_err(|e| TestCaseError::fail(e.to_string()))?;
            // Either is right; what counts is that it answers, and names the file.
            if let Err(error) = read(file, doc.to_string().as_bytes()) {
                prop_assert!(error.to_string().starts_with("cached result lab-c1-eth0: "));
            }
        }

        #[test]
        fn base64_reads_back_what_it_wrote(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(base64::decode(&base64::encode(&bytes)), Some(bytes));
        }
    }
}
