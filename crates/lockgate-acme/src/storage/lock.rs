//! Locks that hosts share through a file system, with a lease.
//!
//! The lock is a file that link(2) creates, which works on NFS. Its owner changes it every few seconds. A lock that has
//! not changed for a whole lease, on the observer's own monotonic clock, belongs to a process that is dead, and is taken
//! over; so clocks of hosts need not agree. Two hosts may then still believe to hold it, for a moment and in rare cases:
//! both order a certificate, and both certificates work.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::protocol::failure::Failure;
use crate::storage::{PRIVATE, atomic};

/// A lock that has not changed for this time is stale.
pub(crate) const LEASE: Duration = Duration::from_secs(120);
/// The owner changes it when the last change is older than this.
const BEAT: Duration = Duration::from_secs(15);

/// A lock that this process holds. Dropping it releases it.
pub(crate) struct Lock {
    path: PathBuf,
    owner: String,
    beats: u64,
    last_beat: Instant,
}

/// The locks of other processes, as this one has seen them.
#[derive(Default)]
pub(crate) struct Observed {
    locks: HashMap<PathBuf, (Vec<u8>, Instant)>,
}

impl Observed {
    /// Takes the lock; `None` while another process holds it. `owner` identifies the server: a lock of the same server is
    /// one of a process that has died before this one was started.
    pub(crate) fn take(
        &mut self,
        path: &Path,
        owner: &str,
        now: Instant,
    ) -> Result<Option<Lock>, Failure> {
        let outcome = self.try_take(path, owner, now);
        outcome.map_err(|error| Failure::Storage {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
    }

    fn try_take(&mut self, path: &Path, owner: &str, now: Instant) -> io::Result<Option<Lock>> {
        for _ in 0..2 {
            if atomic::create(path, content(owner, 0).as_bytes(), PRIVATE)? {
                self.locks.remove(path);
                return Ok(Some(Lock {
                    path: path.to_owned(),
                    owner: owner.to_owned(),
                    beats: 0,
                    last_beat: now,
                }));
            }
            let found = match fs::read(path) {
                Ok(found) => found,
                // Released since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if !self.is_stale(path, &found, owner, now) || !remove_stale(path, &found)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn is_stale(&mut self, path: &Path, found: &[u8], owner: &str, now: Instant) -> bool {
        if owner_of(found) == owner.as_bytes() {
            return true;
        }
        match self.locks.get(path) {
            Some((seen, since)) if seen == found => now.duration_since(*since) >= LEASE,
            _ => {
                self.locks.insert(path.to_owned(), (found.to_vec(), now));
                false
            }
        }
    }
}

/// Removes a stale lock; false when it has changed. A rename has one winner where a removal could hit the next owner's
/// lock.
fn remove_stale(path: &Path, stale: &[u8]) -> io::Result<bool> {
    let aside = atomic::sibling(path);
    match fs::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        renamed => renamed?,
    }
    let is_same = fs::read(&aside)? == stale;
    if !is_same {
        // Another host has been faster. Its lock goes back, unless a third one has come between.
        let _restored = fs::hard_link(&aside, path);
    }
    atomic::remove(&aside)?;
    Ok(is_same)
}

impl Lock {
    /// Shows that the owner lives, when it is time to.
    pub(crate) fn beat(&mut self, now: Instant) -> Result<(), Failure> {
        if now.duration_since(self.last_beat) < BEAT {
            return Ok(());
        }
        let failure = |error: &io::Error| Failure::Storage {
            path: self.path.display().to_string(),
            reason: error.to_string(),
        };
        if !self.is_owned() {
            return Err(Failure::LockLost {
                path: self.path.display().to_string(),
            });
        }
        let content = content(&self.owner, self.beats + 1);
        atomic::replace(&self.path, content.as_bytes(), PRIVATE)
            .map_err(|error| failure(&error))?;
        self.beats += 1;
        self.last_beat = now;
        Ok(())
    }

    fn is_owned(&self) -> bool {
        let found = fs::read(&self.path).unwrap_or_default();
        owner_of(&found) == self.owner.as_bytes()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_owned() {
            // One that cannot be removed becomes stale.
            let _stale = atomic::remove(&self.path);
        }
    }
}

fn content(owner: &str, beats: u64) -> String {
    format!("{owner}\n{beats}\n")
}

fn owner_of(content: &[u8]) -> &[u8] {
    content
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_holds_a_lock_until_it_releases_it_or_dies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut one, mut two) = (Observed::default(), Observed::default());
        let mut lock = one.take(&path, "one", at(0)).unwrap().unwrap();
        assert!(two.take(&path, "two", at(0)).unwrap().is_none());
        // The owner lives.
        for seconds in (0..300).step_by(10) {
            lock.beat(at(seconds)).unwrap();
            assert!(two.take(&path, "two", at(seconds)).unwrap().is_none());
        }
        drop(lock);
        let lock = two.take(&path, "two", at(300)).unwrap().unwrap();
        assert!(one.take(&path, "one", at(300)).unwrap().is_none());
        // The owner dies, and its file stays.
        std::mem::forget(lock);
        assert!(one.take(&path, "one", at(419)).unwrap().is_none());
        let mut lock = one.take(&path, "one", at(420)).unwrap().unwrap();
        // Another process of the same server has died.
        std::mem::forget(one.take(&path, "one", at(421)).unwrap().unwrap());
        lock.beat(at(450)).unwrap();
        drop(lock);
        assert!(!path.exists());
    }

    #[test]
    fn a_lock_that_was_taken_over_is_lost_and_stays_with_its_new_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let start = Instant::now();
        let mut lock = (Observed::default().take(&path, "one", start))
            .unwrap()
            .unwrap();
        let mut two = Observed::default();
        assert!(two.take(&path, "two", start).unwrap().is_none());
        let taken = two.take(&path, "two", start + LEASE).unwrap();
        assert!(taken.is_some());
        let lost = lock.beat(start + LEASE).unwrap_err();
        assert!(matches!(lost, Failure::LockLost { .. }), "{lost}");
        drop(lock);
        assert!(path.exists(), "the old owner has not removed it");
        drop(taken);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_lock_that_has_changed_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        fs::write(&path, "two\n1\n").unwrap();
        assert!(!remove_stale(&path, b"two\n0\n").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two\n1\n");
        assert!(remove_stale(&path, b"two\n1\n").unwrap());
        assert!(!path.exists());
        assert!(remove_stale(&path, b"two\n1\n").unwrap());
    }
}
