//! Taking elements from owners that are dead, so that a living attachment can have their keys.
//! An operation of portmap's plan calls it, after the driver has judged the owners.
//! It must never take an element whose mark is not the one that was judged.

use wharfline_kernel::nft::{Element, Tag};

use crate::error::Result;
use crate::plan::Target;
use crate::record::Record;
use crate::session::Session;

/// Deletes each element if it still bears the mark, and strikes it from its owner's record: a table that is laid
/// anew is filled from the records, and would get it back.
pub(crate) fn evict(session: &Session, elements: &[(Element, Tag)]) -> Result<()> {
    for mut record in Record::all(session.state())? {
        let tag = record.key().tag();
        let lost = |element: &Element| elements.contains(&(element.clone(), tag));
        if record.elements().iter().any(lost) {
            strike(&mut record.own, lost);
            record.write(session.state())?;
        }
    }
    for (element, tag) in elements {
        tracing::warn!("{element} belonged to an attachment that is gone: taken over");
        session.with_nft(|nft| nft.delete(std::slice::from_ref(element), Some(tag)))?;
    }
    Ok(())
}

fn strike(targets: &mut [Target], lost: impl Fn(&Element) -> bool) {
    for target in targets {
        if let Target::Elements { elements } | Target::Flows { elements } = target {
            elements.retain(|element| !lost(element));
        }
    }
}
