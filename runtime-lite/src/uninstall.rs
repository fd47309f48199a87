//! stub
use crate::{error::Result, home::Home};
pub(crate) fn uninstall(_: &Home, _: bool) -> Result<()> {
    Ok(())
}
