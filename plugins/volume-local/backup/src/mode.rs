//! Modes as the repository has them: Go's os.FileMode, where the kernel's bits for types and set-id are others.
//! The walk makes them, restore reads them.
//! It must never lose a bit: set-user-ID restored wrongly is either broken or a hole.

use rustic_core::repofile::NodeType;

const SETUID: (u32, u32) = (0o4000, 1 << 23);
const SETGID: (u32, u32) = (0o2000, 1 << 22);
const STICKY: (u32, u32) = (0o1000, 1 << 20);

/// Permissions and set-id bits of the kernel's mode, with the type, as Go has them (io/fs, FileMode).
pub(crate) fn to_go(mode: u32, kind: &NodeType) -> u32 {
    let kind = match kind {
        NodeType::File => 0,
        NodeType::Dir => 1 << 31,
        NodeType::Symlink { .. } => 1 << 27,
        NodeType::Dev { .. } => 1 << 26,
        NodeType::Chardev { .. } => 1 << 26 | 1 << 21,
        NodeType::Fifo => 1 << 25,
        NodeType::Socket => 1 << 24,
    };
    let special = [SETUID, SETGID, STICKY]
        .into_iter()
        .filter(|(ours, _)| mode & ours != 0);
    special.fold(kind | (mode & 0o777), |all, (_, go)| all | go)
}

/// The twelve bits that chmod(2) takes.
pub(crate) fn from_go(mode: u32) -> u32 {
    let special = [SETUID, SETGID, STICKY]
        .into_iter()
        .filter(|(_, go)| mode & go != 0);
    special.fold(mode & 0o777, |all, (ours, _)| all | ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_survives_the_way_through_gos_modes() {
        for mode in 0..=0o7777 {
            assert_eq!(from_go(to_go(mode, &NodeType::File)), mode);
            assert_eq!(from_go(to_go(mode, &NodeType::Dir)), mode);
        }
    }
}
