//! Users and groups of a container: names and numbers from its own /etc/passwd and /etc/group (passwd(5), group(5)).
//! `bundle` and `exec` ask it whom a command runs as.
//! It must never look into the host's files: the container's are opened with its root as the root.

use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::error::{Error, Result};

/// Whom a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups, the first one as well: without it, a program that drops that one would lose what it denies.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Option<String>,
}

/// The account that `USER[:GROUP]` names in the root filesystem; root if nothing is named.
pub(crate) fn find(rootfs: &Path, wanted: Option<&str>) -> Result<Account> {
    let passwd = read(rootfs, "etc/passwd")?;
    let group = read(rootfs, "etc/group")?;
    look_up(&passwd, &group, wanted.unwrap_or("0"))
}

/// A file of the container's, or nothing if it has none. Links lead nowhere but into the container (openat2(2)).
fn read(rootfs: &Path, name: &str) -> Result<String> {
    let failed = || Error::file("read", rootfs.join(name));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat2(CWD, rootfs, flags, Mode::empty(), ResolveFlags::empty())
        .map_err(|errno| failed()(errno.into()))?;
    // Not to wait for a pipe that somebody has put there.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&root, name, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        other => other.map_err(|errno| failed()(errno.into()))?,
    };
    let mut text = Vec::new();
    std::fs::File::from(file)
        .take(1 << 20)
        .read_to_end(&mut text)
        .map_err(failed())?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn look_up(passwd: &str, group: &str, wanted: &str) -> Result<Account> {
    let (user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let refuse = |what: &'static str, name: &str| Error::NoSuchAccount {
        what,
        name: name.to_owned(),
    };
    let number = user.parse::<u32>().ok();
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let uid: u32 = fields.get(2)?.parse().ok()?;
        let meant = fields.first() == Some(&user) || number == Some(uid);
        meant.then_some((uid, fields))
    });
    let field = |at: usize| {
        entry
            .as_ref()
            .and_then(|(_, fields)| fields.get(at).copied())
    };
    let uid = entry.as_ref().map(|(uid, _)| *uid).or(number);
    let uid = uid.ok_or_else(|| refuse("user", user))?;
    let gid = match wanted_group {
        Some(name) => group_id(group, name).ok_or_else(|| refuse("group", name))?,
        None => field(3).and_then(|gid| gid.parse().ok()).unwrap_or(0),
    };
    // A group that is named stands for itself, as with Docker.
    let groups = match (wanted_group, field(0)) {
        (None, Some(name)) => groups_of(group, name, gid),
        _ => vec![gid],
    };
    Ok(Account {
        uid,
        gid,
        groups,
        home: field(5).filter(|home| !home.is_empty()).map(str::to_owned),
    })
}

fn group_id(group: &str, wanted: &str) -> Option<u32> {
    let named = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        (name == wanted).then_some(gid)
    });
    named.or_else(|| wanted.parse().ok())
}

fn groups_of(group: &str, user: &str, first: u32) -> Vec<u32> {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let gid = fields.get(2)?.parse().ok()?;
        let members = fields.get(3)?;
        (gid != first && members.split(',').any(|member| member == user)).then_some(gid)
    };
    let further = group.lines().filter_map(of_line);
    std::iter::once(first).chain(further).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nweb:x:33:34:www:/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlog:x:40:other,web\nspare:x:50:\n";

    fn found(wanted: &str) -> (u32, u32, Vec<u32>, Option<String>) {
        let account = look_up(PASSWD, GROUP, wanted).expect("an account");
        (account.uid, account.gid, account.groups, account.home)
    }

    #[test]
    fn accounts_are_found_by_name_and_number() {
        let web = (33, 34, vec![34, 40], Some("/srv".to_owned()));
        assert_eq!(found("web"), web);
        assert_eq!(found("33"), web);
        assert_eq!(
            found("web:spare"),
            (33, 50, vec![50], Some("/srv".to_owned()))
        );
        assert_eq!(found("web:7"), (33, 7, vec![7], Some("/srv".to_owned())));
        assert_eq!(found("1000"), (1000, 0, vec![0], None));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(look_up(PASSWD, GROUP, "nobody").is_err());
        assert!(look_up(PASSWD, GROUP, "web:nobody").is_err());
        assert!(look_up("", "", "root").is_err());
        assert_eq!(look_up("", "", "0").expect("root").uid, 0);
    }
}
