//! Under which name a layer is kept: its digest, or its digest and that of everything below it.
//! The second is for layers that have files in folders without saying anything of the folders: those look as in the
//! layers below, so such a layer is only shared by images that have the same ones below (umoci writes such layers).

use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// A layer in its place in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    layer: Digest,
    /// Of the layer and all below it (OCI image specification, config.md, "Layer ChainID").
    chain: Digest,
}

impl Key {
    /// The keys of an image's layers, the lowest first.
    pub(crate) fn all(layers: &[Digest]) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        for layer in layers {
            keys.push(Key::over(keys.last(), layer));
        }
        keys
    }

    /// The key of `layer` over the one below it.
    pub(crate) fn over(below: Option<&Key>, layer: &Digest) -> Key {
        let chain = match below {
            None => layer.clone(),
            Some(below) => Digest::of(format!("{} {layer}", below.chain).as_bytes()),
        };
        let layer = layer.clone();
        Key { layer, chain }
    }

    pub(crate) fn layer(&self) -> &Digest {
        &self.layer
    }

    /// Where the layer belongs in `folder`.
    pub(crate) fn place(&self, folder: &Path, depends_on_below: bool) -> PathBuf {
        match depends_on_below {
            false => folder.join(self.layer.hex()),
            true => folder.join(format!("{}-{}", self.layer.hex(), self.chain.hex())),
        }
    }

    /// Where the layer is in `folder`, if it is there.
    pub(crate) fn find(&self, folder: &Path) -> Option<PathBuf> {
        let places = [false, true].map(|depends| self.place(folder, depends));
        places.into_iter().find(|place| place.exists())
    }
}

/// What a layer lies on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Below {
    /// Of the topmost layer below.
    pub(crate) key: Option<Key>,
    /// The folders of all layers below, the lowest first.
    pub(crate) folders: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_that_of_the_specification() {
        let layers = [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"b")];
        let keys = Key::all(&layers);
        assert_eq!(keys[0].chain, layers[0]);
        let second = Digest::of(format!("{} {}", layers[0], layers[1]).as_bytes());
        assert_eq!(keys[1].chain, second);
        assert_ne!(keys[1].chain, keys[2].chain);
    }
}
