//! What must hold of a frame of a volume's migration for any bytes: it is refused, or written again it is the same bytes.
//! Called by the fuzz target (targets/volume_frame.rs) and by volume-local's tests, over mutated seeds.
//! Must never expect an input to be valid, nor touch a file system.

#[path = "../plugins/volume-local/src/work/migrate/frame.rs"]
#[allow(dead_code, reason = "the rest is the sender's and the receiver's")]
mod frame;

use frame::{Frame, is_name};

/// As on the wire: four bytes that say how many of the frame's count for the checksum, then the frame.
pub(crate) fn frame(bytes: &[u8]) {
    let Some((counted, bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let counted = u32::from_be_bytes(*counted) as usize;
    let Some(frame) = Frame::decode(bytes, counted) else {
        return;
    };
    let mut again = Vec::new();
    assert_eq!(frame.encode(&mut again), counted, "{frame:?}");
    assert_eq!(again, bytes, "{frame:?}");
    assert!(name(&frame).is_none_or(is_name), "{frame:?}");
}

fn name<'a>(frame: &Frame<'a>) -> Option<&'a [u8]> {
    match *frame {
        Frame::Enter(name)
        | Frame::File(name)
        | Frame::Symlink(name, ..)
        | Frame::Link(name, _)
        | Frame::Special(name, ..) => Some(name),
        Frame::Leave(_) | Frame::Data(..) | Frame::Close(..) => None,
    }
}
