//! stub
use crate::{cli, error::Result, home::Home};
pub(crate) fn gc(_: &Home, _: &cli::Gc) -> Result<()> {
    Ok(())
}
