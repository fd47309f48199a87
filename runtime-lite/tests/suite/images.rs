//! Images for tests: a layer with busybox, accounts and data, or one made entry by entry.
//! Whatever tests of the suite run containers over images begins with one.

use serde_json::Value;
use tar::{Builder, EntryType, Header};

use crate::image::docker_archive;
use crate::support::{Host, ROOTFS};

/// A layer with busybox in it, accounts, and a folder of data with owners, modes and a link.
fn layer() -> Vec<u8> {
    let mut layer = Layer::new();
    for folder in ["bin", "etc", "proc", "dev", "sys", "tmp", "root"] {
        layer.folder(folder, 0o755, (0, 0));
    }
    layer.file(
        "bin/busybox",
        &std::fs::read("/bin/busybox").expect("busybox"),
        0o755,
        (0, 0),
    );
    for applet in [
        "sh", "cat", "echo", "env", "id", "ls", "pwd", "sleep", "stat", "touch", "true", "rm",
        "mkdir", "wget", "httpd", "kill",
    ] {
        layer.link(&format!("bin/{applet}"), "busybox");
    }
    layer.file(
        "etc/passwd",
        b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n",
        0o644,
        (0, 0),
    );
    layer.file("etc/group", b"www:x:34:\nlog:x:40:web\n", 0o644, (0, 0));
    layer.folder("data", 0o2750, (33, 34));
    layer.file("data/file", b"from the image\n", 0o640, (33, 34));
    layer.link("data/link", "file");
    layer.folder("data/sub", 0o700, (33, 40));
    layer.bytes()
}

/// An archive, entry by entry.
pub(crate) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Layer {
        Layer(Builder::new(Vec::new()))
    }

    fn entry(
        &mut self,
        kind: EntryType,
        name: &str,
        mode: u32,
        owner: (u64, u64),
        size: usize,
    ) -> Header {
        let mut header = Header::new_ustar();
        header.set_path(name).expect("a name");
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_size(size as u64);
        header
    }

    pub(crate) fn folder(&mut self, name: &str, mode: u32, owner: (u64, u64)) {
        let mut header = self.entry(EntryType::Directory, name, mode, owner, 0);
        header.set_cksum();
        self.0.append(&header, &b""[..]).expect("written");
    }

    pub(crate) fn file(&mut self, name: &str, contents: &[u8], mode: u32, owner: (u64, u64)) {
        let mut header = self.entry(EntryType::Regular, name, mode, owner, contents.len());
        header.set_cksum();
        self.0.append(&header, contents).expect("written");
    }

    pub(crate) fn link(&mut self, name: &str, target: &str) {
        let mut header = self.entry(EntryType::Symlink, name, 0o777, (0, 0), 0);
        header.set_link_name(target).expect("a target");
        header.set_cksum();
        self.0.append(&header, &b""[..]).expect("written");
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("finished")
    }
}

/// Imports an image of this configuration as `name`.
pub(crate) fn import(host: &Host, name: &str, config: Value) {
    let archive = docker_archive(&[layer()], name, config);
    let file = format!("{ROOTFS}/from.tar");
    std::fs::write(host.lab.path(&file), archive).expect("written");
    host.wharf(&["image", "import", &file]).ok();
}
