use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use super::*;
use wharfline_kernel::fs::beneath;

/// A tree with one of everything.
pub(in crate::work) fn everything(top: &Path) {
    fs::create_dir_all(top.join("a/b")).expect("folders");
    fs::write(top.join("a/file"), "text").expect("file");
    fs::hard_link(top.join("a/file"), top.join("a/b/again")).expect("link");
    symlink("/etc/passwd", top.join("a/out")).expect("symlink");
    let sparse = File::create(top.join("sparse")).expect("file");
    sparse.set_len(64 << 20).expect("length");
    sparse
        .write_all_at(b"end", (64 << 20) - 3)
        .expect("written");
    mknodat(
        CWD,
        top.join("null"),
        FileType::CharacterDevice,
        Mode::RUSR,
        rustix::fs::makedev(1, 3),
    )
    .expect("device");
    mknodat(CWD, top.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("fifo");
    let place = top.join("a/file");
    setxattr(&place, "trusted.note", b"\0kept", XattrFlags::empty()).expect("attribute");
    std::os::unix::fs::chown(&place, Some(1234), Some(4321)).expect("owner");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o4750)).expect("mode");
    fs::set_permissions(top, fs::Permissions::from_mode(0o1777)).expect("mode");
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 5,
            tv_nsec: 6,
        },
        last_modification: Timespec {
            tv_sec: 1_000_000,
            tv_nsec: 123_456_789,
        },
    };
    utimensat(CWD, &place, &times, AtFlags::empty()).expect("times");
}

/// That `copy` is what [`everything`] made.
pub(in crate::work) fn is_everything(copy: &Path) {
    let at = |path: &str| {
        fs::symlink_metadata(copy.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    let file = at("a/file");
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777),
        (1234, 4321, 0o4750)
    );
    assert_eq!((file.mtime(), file.mtime_nsec()), (1_000_000, 123_456_789));
    assert_eq!(file.ino(), at("a/b/again").ino());
    assert_eq!(
        fs::read_to_string(copy.join("a/file")).expect("read"),
        "text"
    );
    assert_eq!(
        fs::read_link(copy.join("a/out")).expect("a link"),
        Path::new("/etc/passwd")
    );
    assert_eq!(at("sparse").len(), 64 << 20);
    // What is copied of 64 MiB is a piece or two around the data.
    assert!(
        at("sparse").blocks() <= 512,
        "{} blocks",
        at("sparse").blocks()
    );
    assert_eq!(at("null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(FileType::from_raw_mode(at("pipe").mode()), FileType::Fifo);
    assert_eq!(at("").mode() & 0o7777, 0o1777);
    let mut value = [0; 16];
    let length = getxattr(copy.join("a/file"), "trusted.note", &mut value).expect("attribute");
    assert_eq!(&value[..length], b"\0kept");
}

#[test]
fn a_copy_has_everything_and_follows_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    everything(&from);
    fs::create_dir(&to).expect("folder");
    let open = |path: &Path| beneath::folder(path).expect("opened");
    copy(&open(&from), &open(&to), &mut Counter::of(None)).expect("copied");
    is_everything(&to);
    let (one, other) = (
        measure(&open(&from)).expect("measured"),
        measure(&open(&to)).expect("measured"),
    );
    assert_eq!(one.used_inodes, other.used_inodes);
}
