//! A store as rustic_core wants it.
//! `Repository` hands it over; rustic_core reads and writes everything but locks by it.
//! It must never lose which object an error is about: our error is the source of rustic's.

use std::sync::Arc;

use bytes::Bytes;
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};

use crate::error::{Error, Result};
use crate::store::{Kind, Store};

#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Arc<dyn Store>);

fn kind(of: FileType) -> Kind {
    match of {
        FileType::Config => Kind::Config,
        FileType::Index => Kind::Index,
        FileType::Key => Kind::Key,
        FileType::Snapshot => Kind::Snapshot,
        FileType::Pack => Kind::Pack,
    }
}

fn told<T>(result: Result<T>) -> RusticResult<T> {
    result
        .map_err(|cause: Error| RusticError::with_source(ErrorKind::Backend, cause.chain(), cause))
}

impl ReadBackend for Backend {
    fn location(&self) -> String {
        self.0.location()
    }

    fn list_with_size(&self, of: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let list = told(self.0.list(kind(of)))?;
        // rustic counts a file's bytes in 32 bits. A size beyond is no size that it can have written.
        list.into_iter()
            .map(|(name, size)| Ok((name.parse()?, u32::try_from(size).unwrap_or(u32::MAX))))
            .collect()
    }

    fn read_full(&self, of: FileType, id: &Id) -> RusticResult<Bytes> {
        told(self.0.read(kind(of), &id.to_hex()))
    }

    fn read_partial(
        &self,
        of: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        told(
            self.0
                .read_range(kind(of), &id.to_hex(), u64::from(offset), length as usize),
        )
    }

    fn warmup_path(&self, of: FileType, id: &Id) -> String {
        kind(of).path(&id.to_hex())
    }
}

impl WriteBackend for Backend {
    fn create(&self) -> RusticResult<()> {
        told(self.0.create())
    }

    fn write_bytes(
        &self,
        of: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        told(self.0.write(kind(of), &id.to_hex(), content.slice()))
    }

    fn remove(&self, of: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        told(self.0.remove(kind(of), &id.to_hex()))
    }
}
