//! Which images an archive holds: docker's manifest.json, or OCI's index.json and the manifests that it leads to
//! (OCI image specification, image-index.md and manifest.md). `import` and the fuzz target call it.
//! It must never take a blob for what its digest does not say.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Source;
use crate::config::Config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::name::{self, Name};

/// How many indexes may lead to each other.
const DEPTH: usize = 4;
/// How many images one archive may hold.
const IMAGES: usize = 1000;

/// An image of an archive.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) names: Vec<Name>,
    pub(crate) config: Config,
    /// One for each layer of the configuration, in the same order.
    pub(crate) blobs: Vec<Blob>,
}

/// Where a layer is.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    /// The name in the archive.
    pub(crate) file: String,
    /// The digest of what is there, compressed or not, where the archive says it.
    pub(crate) digest: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct OciIndex {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct OciManifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize, Clone, PartialEq)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

/// The images of `source`; `stem` names those that have no name of their own. `None` for a root filesystem.
pub(crate) fn images(source: &Source, stem: &str) -> Result<Option<Vec<Found>>> {
    if let Source::Rootfs(_) = source {
        return Ok(None);
    }
    if source.has("manifest.json")? {
        let text = source.document("manifest.json")?;
        return match serde_json::from_slice::<Value>(&text) {
            Ok(Value::Array(_)) => docker(source, &text, stem).map(Some),
            // Somebody's own file of that name.
            _ if source.has("index.json")? => oci(source, stem).map(Some),
            _ => Err(Error::malformed("manifest.json", "is not docker's")),
        };
    }
    if source.has("index.json")? {
        return oci(source, stem).map(Some);
    }
    Err(Error::malformed(
        "the archive",
        "has neither manifest.json (docker save of 1.10 and later) nor index.json (OCI layout)",
    ))
}

fn docker(source: &Source, text: &[u8], stem: &str) -> Result<Vec<Found>> {
    let images: Vec<DockerImage> = json(text, "manifest.json")?;
    if images.len() > IMAGES {
        return Err(Error::malformed(
            "manifest.json",
            format!("has more than {IMAGES} images"),
        ));
    }
    let found = images.into_iter().map(|image| {
        let config = Config::parse(source.document(&image.config)?, &image.config)?;
        let blob = |file: String| Blob { file, digest: None };
        let blobs = image.layers.unwrap_or_default().into_iter().map(blob);
        let tags = image.repo_tags.unwrap_or_default();
        let names = tags.iter().map(|tag| Name::parse(tag));
        let names = names.collect::<Result<Vec<_>>>()?;
        found(config, blobs.collect(), names, stem)
    });
    found.collect()
}

fn found(config: Config, blobs: Vec<Blob>, mut names: Vec<Name>, stem: &str) -> Result<Found> {
    if config.layers.len() != blobs.len() {
        let (said, there) = (config.layers.len(), blobs.len());
        let problem = format!("speaks of {said} layers, the manifest of {there}");
        return Err(Error::malformed("the configuration", problem));
    }
    if names.is_empty() {
        names.push(name::of_file(stem));
    }
    Ok(Found {
        names,
        config,
        blobs,
    })
}

fn oci(source: &Source, stem: &str) -> Result<Vec<Found>> {
    let index: OciIndex = json(&source.document("index.json")?, "index.json")?;
    let mut manifests = Vec::new();
    for descriptor in &index.manifests {
        let name = oci_name(descriptor, stem)?;
        collect(source, descriptor, &name, 0, &mut manifests)?;
    }
    let here = Platform {
        os: "linux".to_owned(),
        architecture: architecture().to_owned(),
    };
    let fits = |wanted: &Option<Platform>| wanted.as_ref().is_none_or(|wanted| *wanted == here);
    let fitting = manifests
        .iter()
        .filter(|(descriptor, _)| fits(&descriptor.platform));
    let found = fitting.map(|(descriptor, name)| oci_image(source, descriptor, name.clone(), stem));
    let found: Vec<Found> = found.collect::<Result<_>>()?;
    match found.is_empty() {
        false => Ok(found),
        true => {
            let wanted = format!("has no image for linux/{}", architecture());
            Err(Error::malformed("index.json", wanted))
        }
    }
}

/// All manifests of images that `descriptor` leads to.
fn collect(
    source: &Source,
    descriptor: &Descriptor,
    name: &Option<Name>,
    depth: usize,
    found: &mut Vec<(Descriptor, Option<Name>)>,
) -> Result<()> {
    if !is_index(&descriptor.media_type) {
        found.push((descriptor.clone(), name.clone()));
    } else if depth == DEPTH {
        return Err(Error::malformed(
            "index.json",
            format!("has more than {DEPTH} indexes in each other"),
        ));
    } else {
        let file = file_of(&descriptor.digest);
        let index: OciIndex = json(&blob(source, &descriptor.digest)?, &file)?;
        for further in &index.manifests {
            collect(source, further, name, depth + 1, found)?;
        }
    }
    match found.len() > IMAGES {
        false => Ok(()),
        true => Err(Error::malformed(
            "index.json",
            format!("has more than {IMAGES} images"),
        )),
    }
}

fn oci_image(
    source: &Source,
    descriptor: &Descriptor,
    name: Option<Name>,
    stem: &str,
) -> Result<Found> {
    let file = file_of(&descriptor.digest);
    let manifest: OciManifest = json(&blob(source, &descriptor.digest)?, &file)?;
    let digest = &manifest.config.digest;
    let config = Config::parse(blob(source, digest)?, &file_of(digest))?;
    let blobs = manifest.layers.into_iter().map(|layer| Blob {
        file: file_of(&layer.digest),
        digest: Some(layer.digest),
    });
    found(config, blobs.collect(), name.into_iter().collect(), stem)
}

/// The name that an index gives. One word alone is a tag (annotations.md, "org.opencontainers.image.ref.name").
fn oci_name(descriptor: &Descriptor, stem: &str) -> Result<Option<Name>> {
    let Some(annotations) = &descriptor.annotations else {
        return Ok(None);
    };
    let keys = [
        "io.containerd.image.name",
        "org.opencontainers.image.ref.name",
    ];
    let Some(given) = keys.iter().find_map(|key| annotations.get(*key)) else {
        return Ok(None);
    };
    if given.contains(['/', ':']) {
        return Name::parse(given).map(Some);
    }
    let stem = name::of_file(stem);
    let path = stem.as_str().split(':').next().unwrap_or_default();
    Name::parse(&format!("{path}:{given}")).map(Some)
}

/// A document whose digest is known.
fn blob(source: &Source, digest: &Digest) -> Result<Vec<u8>> {
    let file = file_of(digest);
    let bytes = source.document(&file)?;
    digest.verify(&Digest::of(&bytes), || file)?;
    Ok(bytes)
}

/// Where OCI's layout has a blob (image-layout.md, "Blobs").
fn file_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn is_index(media_type: &str) -> bool {
    media_type == "application/vnd.oci.image.index.v1+json"
        || media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
}

fn json<'a, T: Deserialize<'a>>(text: &'a [u8], what: &str) -> Result<T> {
    serde_json::from_slice(text).map_err(|source| Error::Json {
        what: what.to_owned(),
        source,
    })
}

/// This processor in Go's words (GOARCH), as images have them.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
