//! Hardware addresses that users ask for.
//! Every face of a plugin reads them by it.
//! It must never take an address that no single interface can have.

use macaddr::MacAddr6;

/// An interface's own address: the group bit clear (IEEE 802, section 8.2), and not all zero.
///
/// # Errors
/// What is wrong with the text, to be read after it.
pub fn unicast_mac(text: &str) -> Result<MacAddr6, &'static str> {
    let mac: MacAddr6 = text.parse().map_err(|_| "is not a MAC of six bytes")?;
    if mac.is_multicast() || mac.is_nil() {
        return Err("is not the address of one interface");
    }
    Ok(mac)
}
