//! The repository's key: seals and opens what rustic_core does not do for us.
//! Restore and verification open blobs, `adopt` pack headers, `locks` lock files.
//! It must never let an unauthenticated byte out: the MAC is checked before anything is returned.

use aes256ctr_poly1305aes::aead::{Aead, Nonce};
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key as Bytes64};
use rustic_core::repofile::MasterKey;

/// The initialisation vector before, and the MAC after each sealed piece (restic's design document, "Keys, Encryption and MAC").
pub(crate) const OVERHEAD: usize = 32;
const VECTOR: usize = 16;

/// AES-256-CTR with Poly1305-AES.
pub(crate) struct Key(Aes256CtrPoly1305Aes);

/// Why a sealed piece could not be opened, in words that follow the name of the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("too short to be encrypted data")]
    Short,
    #[error("its checksum (MAC) is wrong")]
    Mac,
    #[error("its compressed data can't be decompressed")]
    Compression,
    #[error("its length is not what the index says")]
    Length,
}

impl Key {
    pub(crate) fn of(master: &MasterKey) -> Key {
        let parts = [&master.encrypt, &master.mac.k, &master.mac.r];
        let mut key = Bytes64::default();
        for (to, from) in key.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        Key(Aes256CtrPoly1305Aes::new(&key))
    }

    /// Opens a sealed piece.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (vector, rest) = sealed.split_at_checked(VECTOR).ok_or(Broken::Short)?;
        self.0
            .decrypt(Nonce::<Aes256CtrPoly1305Aes>::from_slice(vector), rest)
            .map_err(|_| Broken::Mac)
    }

    /// Opens a blob and decompresses it to exactly `uncompressed` bytes, if it is compressed.
    pub(crate) fn open_blob(
        &self,
        sealed: &[u8],
        uncompressed: Option<u32>,
    ) -> Result<Vec<u8>, Broken> {
        let opened = self.open(sealed)?;
        let Some(length) = uncompressed else {
            return Ok(opened);
        };
        let blob =
            zstd::bulk::decompress(&opened, length as usize).map_err(|_| Broken::Compression)?;
        match blob.len() == length as usize {
            true => Ok(blob),
            false => Err(Broken::Length),
        }
    }

    /// Opens a file that is not a pack: JSON, or from version 2 of the format on a 2 and JSON in zstd.
    pub(crate) fn open_file(&self, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let opened = self.open(sealed)?;
        match opened.split_first() {
            Some((2, compressed)) => {
                zstd::stream::decode_all(compressed).map_err(|_| Broken::Compression)
            }
            _ => Ok(opened),
        }
    }

    /// Seals a piece.
    pub(crate) fn seal(&self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut vector = [0; VECTOR];
        let mut filled = 0;
        while filled < VECTOR {
            filled += rustix::rand::getrandom(
                &mut vector[filled..],
                rustix::rand::GetRandomFlags::empty(),
            )?;
        }
        let sealed = self
            .0
            .encrypt(Nonce::<Aes256CtrPoly1305Aes>::from_slice(&vector), plain);
        let sealed = sealed.map_err(|_| std::io::Error::other("too long to be encrypted"))?;
        Ok([&vector[..], &sealed].concat())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}
