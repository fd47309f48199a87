//! Container images for wharf: archives in and out, layers on the disk, root filesystems over them.
//! `wharf image`, `wharf commit` and `wharf run` call it; docs/images.md tells how it looks from outside.
//! It must never write outside the store's folders but where its caller says, whatever is in an archive.

mod change;
mod commit;
mod config;
#[doc(hidden)]
pub mod decoders;
mod digest;
mod error;
mod export;
mod import;
mod layer;
mod limits;
mod name;
mod overlay;
mod path;
mod progress;
mod root;
mod source;
mod store;
mod stream;
mod tar;
mod volume;

pub use change::Change;
pub use commit::{Committed, Packed, Words};
pub use config::{Defaults, Healthcheck};
pub use digest::Digest;
pub use error::{Error, Result};
pub use export::{export, export_to};
pub use import::{Import, Imported, Wish, import};
pub use limits::Limits;
pub use name::Name;
pub use progress::Progress;
pub use root::Root;
pub use store::{Freed, Image, Store};
pub use volume::{fill, make_filled};
