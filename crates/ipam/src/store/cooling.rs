//! Addresses released a short while ago, which the key `cooldown` keeps from being given out again.
//! Written at each release and read at each ADD, when the configuration has the key.
//! Must never hold up a release: an address that cannot be noted is released all the same.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::boot::replace;
use crate::address::Addr;

/// Lines beyond which a file is written anew when most of them are over.
const LONG: usize = 64;

/// The file `<dataDir>/.wharfline/<network>.cooling`: the boot id, then a line for each release with
/// the seconds since boot (`CLOCK_BOOTTIME`, which no one sets) and the address.
#[derive(Debug)]
pub(super) struct CoolingFile {
    path: PathBuf,
}

/// The addresses that are still cooling.
#[derive(Debug, Default)]
pub struct Cooling(HashMap<Addr, Duration>);

impl Cooling {
    /// Whether the address was released too recently.
    #[must_use]
    pub fn contains(&self, addr: Addr) -> bool {
        self.0.contains_key(&addr)
    }

    /// The addresses.
    pub fn iter(&self) -> impl Iterator<Item = Addr> {
        self.0.keys().copied()
    }
}

impl CoolingFile {
    /// The file of a network; `beside` is the folder for what must not stand among the leases.
    pub(super) fn of(beside: &Path, network: &str) -> CoolingFile {
        CoolingFile {
            path: beside.join(format!("{network}.cooling")),
        }
    }

    /// Whether anything was ever noted.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Notes releases.
    pub(super) fn note(&self, boot: &str, released: &[Addr]) -> io::Result<()> {
        let now = since_boot()?.as_secs_f64();
        let lines: String = released
            .iter()
            .map(|addr| format!("{now:.3} {addr}\n"))
            .collect();
        if first_line(&self.path)?.as_deref() == Some(boot) {
            let mut file = File::options().append(true).mode(0o600).open(&self.path)?;
            return file.write_all(lines.as_bytes());
        }
        replace(&self.path, format!("{boot}\n{lines}").as_bytes())
    }

    /// The addresses released less than `cooldown` ago; releases before the last boot are over.
    pub(super) fn read(&self, boot: &str, cooldown: Duration) -> io::Result<Cooling> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Cooling::default()),
            Err(cause) => return Err(cause),
        };
        let Some((_, lines)) = text.split_once('\n').filter(|(first, _)| *first == boot) else {
            return Ok(Cooling::default());
        };
        let now = since_boot()?;
        let released = lines.lines().filter_map(read_line);
        let recent = released.filter(|(at, _)| now.saturating_sub(*at) < cooldown);
        let cooling = Cooling(recent.map(|(at, addr)| (addr, at)).collect());
        if lines.lines().count() > LONG.max(2 * cooling.0.len()) {
            self.shorten(boot, &cooling)?;
        }
        Ok(cooling)
    }

    fn shorten(&self, boot: &str, cooling: &Cooling) -> io::Result<()> {
        let mut text = format!("{boot}\n");
        for (addr, at) in &cooling.0 {
            text += &format!("{:.3} {addr}\n", at.as_secs_f64());
        }
        replace(&self.path, text.as_bytes())
    }
}

fn first_line(path: &Path) -> io::Result<Option<String>> {
    use std::io::{BufRead, BufReader};
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause),
    };
    let mut line = String::new();
    BufReader::with_capacity(64, file).read_line(&mut line)?;
    Ok(Some(line.trim_end().to_owned()))
}

fn read_line(line: &str) -> Option<(Duration, Addr)> {
    let (at, addr) = line.split_once(' ')?;
    Some((
        Duration::try_from_secs_f64(at.parse().ok()?).ok()?,
        Addr::from_file_name(addr)?,
    ))
}

fn since_boot() -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u128) -> Addr {
        Addr::from_number(0xffff_0a00_0000 + n)
    }

    #[test]
    fn releases_cool_for_their_time_and_for_this_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = CoolingFile::of(&dir.path().join("beside"), "net");
        let hour = Duration::from_secs(3600);
        assert!(!file.read("boot-a", hour).unwrap().contains(addr(1)));
        file.note("boot-a", &[addr(1), addr(2)]).unwrap();
        file.note("boot-a", &[addr(3)]).unwrap();
        let cooling = file.read("boot-a", hour).unwrap();
        assert!((1..=3).all(|n| cooling.contains(addr(n))));
        assert_eq!(
            file.read("boot-a", Duration::ZERO).unwrap().iter().count(),
            0
        );
        assert_eq!(file.read("boot-b", hour).unwrap().iter().count(), 0);
        file.note("boot-b", &[addr(4)]).unwrap();
        assert_eq!(
            file.read("boot-b", hour)
                .unwrap()
                .iter()
                .collect::<Vec<_>>(),
            [addr(4)]
        );
    }

    #[test]
    fn a_file_of_old_releases_is_shortened() {
        let dir = tempfile::tempdir().unwrap();
        let file = CoolingFile::of(dir.path(), "net");
        for _ in 0..100 {
            file.note("boot-a", &[addr(1)]).unwrap();
        }
        assert!(
            file.read("boot-a", Duration::from_secs(3600))
                .unwrap()
                .contains(addr(1))
        );
        assert_eq!(
            fs::read_to_string(dir.path().join("net.cooling"))
                .unwrap()
                .lines()
                .count(),
            2
        );
    }
}
