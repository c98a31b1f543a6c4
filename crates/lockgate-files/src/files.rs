//! The files of all mounts: finds what a path names without waiting, and loads from the disk what is not known.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockgate_config::{StaticConfig, StaticMount};

use crate::directory::Problem;
use crate::entry::{Freshness, SharedEntry};
use crate::loading;
use crate::mount::{Mount, Mounts};
use crate::open_files::OpenFiles;
use crate::path::{RelativePath, decode};

/// The time, by both clocks that matter here.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// For the age of what is known.
    pub now: Instant,
    /// Since 1970, for what is compared with files.
    pub unix: Duration,
}

/// See the module documentation.
pub struct Files {
    mounts: Mounts,
    open: Mutex<OpenFiles>,
    valid: Duration,
    /// Ages are counted from here.
    epoch: Instant,
    has_internal: bool,
    differ_by_application: bool,
}

/// A file or directory of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    mount: usize,
    /// The only directory of the mount that counts.
    directory: Option<usize>,
    path: RelativePath,
    /// Under which its entry is kept.
    key: Vec<u8>,
}

/// What is known of a path without looking at the disk.
#[derive(Debug)]
pub enum Found {
    /// No mount has this path.
    NotServed,
    /// The mount has no such file.
    Missing {
        /// The request goes on to the application.
        falls_through: bool,
    },
    /// A file.
    Known(SharedEntry),
    /// The disk has to be asked, with [`Files::load`].
    Unknown(Place),
}

/// What the disk has.
#[derive(Debug)]
pub enum Loaded {
    /// A file.
    File(SharedEntry),
    /// A directory with an index file, and a path without a slash at its end.
    Directory,
    /// There is no such file, or it is not served; the problem is for the log.
    Missing {
        /// The request goes on to the application.
        falls_through: bool,
        /// Why a file that is there is not served.
        problem: Option<Problem>,
    },
    /// The system has failed.
    Failed(Problem),
}

impl Files {
    /// `None`: there are no mounts.
    pub fn new(config: &StaticConfig, mounts: &[StaticMount], now: Instant) -> Option<Self> {
        if mounts.is_empty() {
            return None;
        }
        let mounts = Mounts::new(mounts);
        let has_internal = mounts.iter().any(|mount| mount.is_internal);
        Some(Self {
            has_internal,
            differ_by_application: mounts.differ_by_application(),
            mounts,
            open: Mutex::new(OpenFiles::new(config.open_files, config.memory)),
            valid: config.valid,
            epoch: now,
        })
    }

    /// Whether there are files that only the application reaches.
    pub fn has_internal(&self) -> bool {
        self.has_internal
    }

    /// Whether a request for this path that asks for no file goes on to the application of this number.
    pub fn falls_through(&self, path: &[u8], application: u16) -> bool {
        let decoded = decode(path).unwrap_or(Cow::Borrowed(path));
        let found = self.mounts.find(&decoded, application, false);
        let mount = found.and_then(|(index, _)| self.mounts.get(index));
        mount.is_none_or(|mount| mount.falls_through)
    }

    /// Whether requests may be for files, and not only responses of the application.
    pub fn has_public(&self) -> bool {
        self.mounts.iter().any(|mount| !mount.is_internal)
    }

    /// Whether a request for this path, which this application would answer, may be for a file. A path with escapes may
    /// be, before it is decoded.
    #[inline]
    pub fn concerns(&self, path: &[u8], application: u16) -> bool {
        self.mounts.find(path, application, false).is_some() || path.contains(&b'%')
    }

    /// What is known of a path of a request, which is not decoded, and which this application would answer. Does not
    /// wait for the disk.
    #[inline]
    pub fn find(&self, path: &[u8], application: u16, now: Instant) -> Found {
        match self.fresh(&self.key(path, application), now) {
            Some(entry) => Found::Known(entry),
            None => self.resolve(path, application, false, now),
        }
    }

    /// Under which the entry of a path is kept. No path of a request begins with a byte of one.
    fn key<'p>(&self, path: &'p [u8], application: u16) -> Cow<'p, [u8]> {
        match self.differ_by_application {
            true => [&[1], &application.to_be_bytes()[..], path].concat().into(),
            false => path.into(),
        }
    }

    /// As [`Files::find`] for a path that the application has set (`X-Accel-Redirect`): internal mounts are reached,
    /// too. What follows a `?` is left out.
    pub fn find_internal(&self, path: &[u8], now: Instant) -> Found {
        let path = path.split(|byte| *byte == b'?').next().unwrap_or(path);
        // Where there are internal mounts, all are the operator's, and for every application.
        self.resolve(path, 0, true, now)
    }

    /// The file of this path in the file system (`X-Sendfile`), if a directory that is served contains it.
    pub fn find_on_disk(&self, path: &[u8], now: Instant) -> Found {
        let directories = self.mounts.iter().enumerate().flat_map(|(mount, one)| {
            let directories = one.directories.iter().enumerate();
            directories.filter_map(move |(index, directory)| {
                Some((mount, index, below(path, directory.path())?))
            })
        });
        // The innermost one.
        let Some((mount, directory, rest)) = directories.min_by_key(|(_, _, rest)| rest.len())
        else {
            return Found::NotServed;
        };
        match RelativePath::new(rest, false) {
            Ok(path) if !path.is_directory() && !path.name().is_empty() => {
                self.place(mount, Some(directory), path, now)
            }
            _ => Found::Missing {
                falls_through: false,
            },
        }
    }

    fn resolve(&self, path: &[u8], application: u16, is_internal: bool, now: Instant) -> Found {
        let missing = |mount: Option<&Mount>| Found::Missing {
            falls_through: mount.is_none_or(|mount| mount.falls_through),
        };
        let Ok(decoded) = decode(path) else {
            // No file has this name; the mount is the one of the part before the malformed escape.
            return match self.mounts.find(path, application, is_internal) {
                Some((index, _)) => missing(self.mounts.get(index)),
                None => Found::NotServed,
            };
        };
        let Some((index, rest)) = self.mounts.find(&decoded, application, is_internal) else {
            return Found::NotServed;
        };
        let mount = self.mounts.get(index);
        let is_at_root = mount.is_some_and(|mount| mount.path.is_empty());
        let Ok(relative) = RelativePath::new(rest, is_at_root) else {
            return missing(mount);
        };
        if is_internal {
            return self.place(index, None, relative, now);
        }
        if mount.is_some_and(|mount| loading::is_known_to_lack(mount, &relative, now)) {
            return missing(mount);
        }
        Found::Unknown(Place {
            mount: index,
            directory: None,
            path: relative,
            key: self.key(path, application).into_owned(),
        })
    }

    fn place(
        &self,
        mount: usize,
        directory: Option<usize>,
        path: RelativePath,
        now: Instant,
    ) -> Found {
        // No path of a request begins with a zero byte.
        let mut key = vec![0];
        for number in [mount, directory.map_or(0, |index| index + 1)] {
            key.extend_from_slice(&(number as u64).to_be_bytes());
        }
        key.extend_from_slice(path.name().as_bytes());
        if path.is_directory() {
            key.push(b'/');
        }
        match self.fresh(&key, now) {
            Some(entry) => Found::Known(entry),
            None => Found::Unknown(Place {
                mount,
                directory,
                path,
                key,
            }),
        }
    }

    /// Looks at the disk. May wait for it, and reads small files whole.
    pub fn load(&self, place: &Place, clock: Clock) -> Loaded {
        let Some(mount) = self.mounts.get(place.mount) else {
            return Loaded::Missing {
                falls_through: true,
                problem: None,
            };
        };
        let known = self.open().get(&place.key).cloned();
        let keeps_content = self.open().keeps_content();
        let source = loading::Source {
            mount,
            directory: place.directory,
            path: &place.path,
            known: known.as_ref(),
            keeps_content,
            clock,
        };
        let loaded = source.load();
        let is_same = |entry: &SharedEntry| {
            known
                .as_ref()
                .is_some_and(|known| Arc::ptr_eq(known, entry))
        };
        match &loaded {
            Loaded::File(entry) => {
                entry.record_check(self.nanos(clock.now));
                if !is_same(entry) {
                    self.open().insert(&place.key, Arc::clone(entry));
                }
            }
            // What was known is no longer there.
            _ if known.is_some() => self.open().remove(&place.key),
            _ => {}
        }
        loaded
    }

    #[inline]
    fn fresh(&self, key: &[u8], now: Instant) -> Option<SharedEntry> {
        let mut open = self.open();
        let entry = open.get(key)?;
        match entry.freshness(self.nanos(now), self.valid) {
            Freshness::Fresh => Some(Arc::clone(entry)),
            Freshness::Stale => None,
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn open(&self) -> MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What follows the directory in this path, with a slash at the beginning.
fn below<'p>(path: &'p [u8], directory: &Path) -> Option<&'p [u8]> {
    let directory = directory.as_os_str().as_encoded_bytes();
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    path.strip_prefix(directory)
        .filter(|rest| rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests;
