//! The lock of a lease directory: flock(2) on its file `lock`, as the reference takes it.
//! Taken by the store for the whole of one verb; ends with the file's last descriptor.
//! Must never wait without end, and never poll.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The other one kept it for all the time we had.
    Busy,
    /// flock(2) failed.
    Failed(io::Error),
}

/// Locks the file, waiting for at most `wait`.
///
/// flock(2) itself cannot wait for a limited time. When the lock is taken, a thread waits in it and
/// hands the file over; if nobody wants the file any more, it is closed there and the lock with it.
pub(super) fn lock(file: File, wait: Duration) -> Result<File, Refusal> {
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(cause)) => return Err(Refusal::Failed(cause)),
    }
    let (sender, receiver) = mpsc::channel();
    let waiter = move || {
        let locked = wait_for(&file).map(|()| file);
        // A closed channel means that the time was over: the file is dropped here.
        let _ = sender.send(locked);
    };
    thread::Builder::new()
        .name("lease-lock".to_owned())
        .spawn(waiter)
        .map_err(Refusal::Failed)?;
    match receiver.recv_timeout(wait) {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(cause)) => Err(Refusal::Failed(cause)),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Refusal::Busy),
    }
}

fn wait_for(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn open(path: &std::path::Path) -> File {
        File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)
            .unwrap()
    }

    #[test]
    fn a_taken_lock_is_refused_when_the_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(open(&path), Duration::ZERO).unwrap();
        let start = Instant::now();
        let refused = lock(open(&path), Duration::from_millis(50));
        assert!(matches!(refused, Err(Refusal::Busy)));
        assert!(start.elapsed() >= Duration::from_millis(50));
        drop(held);
        lock(open(&path), Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn the_lock_passes_on_as_soon_as_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(open(&path), Duration::ZERO).unwrap();
        let waiting = thread::spawn({
            let path = path.clone();
            move || lock(open(&path), Duration::from_secs(30)).is_ok()
        });
        drop(held);
        assert!(waiting.join().unwrap());
    }
}
