//! The MAC that a user asks for: three places, the most deliberate first.
//! The faces of plugins whose interfaces have a MAC of their own call it.
//! It must never take an address that no single interface can have.

use macaddr::MacAddr6;
use wharfline_spec::cni::{Args, CniError};

use crate::plugin::Request;

/// The capability wins over `args.cni.mac`, that over CNI_ARGS.
///
/// # Errors
/// Code 7 for what is no MAC of one interface.
pub fn requested(request: &Request) -> Result<Option<MacAddr6>, CniError> {
    if let Some(text) = request.conf.runtime_config.mac()?.filter(|t| !t.is_empty()) {
        return unicast("runtimeConfig.mac", &text).map(Some);
    }
    if let Some(args) = request.conf.cni_args()?
        && let Some(text) = args.text("mac")?
    {
        return unicast("args.cni.mac", &text).map(Some);
    }
    from_cni_args(&request.args)
}

fn from_cni_args(args: &Args) -> Result<Option<MacAddr6>, CniError> {
    match args.get("MAC").filter(|text| !text.is_empty()) {
        Some(text) => unicast("CNI_ARGS: MAC", text).map(Some),
        None => Ok(None),
    }
}

/// An interface's own address has the group bit clear (IEEE 802, section 8.2) and is not all zero; `key` is where the
/// user wrote it.
///
/// # Errors
/// Code 7 for any other.
pub fn unicast(key: &str, text: &str) -> Result<MacAddr6, CniError> {
    let refused = |why: &str| CniError::invalid_config(format!("{key}: {text:?} {why}"));
    let mac: MacAddr6 = text
        .parse()
        .map_err(|_| refused("is not a MAC of six bytes"))?;
    if mac.is_multicast() || mac.is_nil() {
        return Err(refused("is not the address of one interface"));
    }
    Ok(mac)
}
