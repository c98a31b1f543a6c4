//! A directory whose files are served: opens what is below it and never leaves it.
//!
//! Invariant: what is returned is a regular file below the directory, even if a symbolic link is exchanged meanwhile. The
//! kernel resolves the name so (`beneath`), or no link is followed (`segments`).

#[cfg(target_os = "linux")]
mod beneath;
mod segments;

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

#[cfg(target_os = "linux")]
use self::beneath as resolution;
#[cfg(not(target_os = "linux"))]
use self::segments as resolution;

/// The handle is opened again after this time: a deployment may have put another directory in its place.
const HANDLE_FOR: Duration = Duration::from_secs(1);

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: Mutex<Option<(Instant, Arc<OwnedFd>)>>,
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A regular file.
    File(File, Metadata),
    Directory,
    /// There is nothing, or nothing that is served.
    Missing,
}

/// Why a file that is there is not served.
#[derive(Debug)]
pub enum Problem {
    /// A symbolic link leads out of the directory.
    LeadsOut(PathBuf),
    /// It is a device, a fifo or a socket.
    NotRegular(PathBuf),
    /// The system's error.
    Failed(PathBuf, io::Error),
}

impl Problem {
    /// Whether the file may be served the next time: the system lacks descriptors or memory, or the disk has failed.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::LeadsOut(_) | Self::NotRegular(_) => false,
            Self::Failed(_, error) => error.kind() != io::ErrorKind::PermissionDenied,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeadsOut(path) => write!(
                formatter,
                "{}: a symbolic link leads out of the directory that is served",
                path.display()
            ),
            Self::NotRegular(path) => {
                write!(formatter, "{}: it is not a regular file", path.display())
            }
            Self::Failed(path, error) => write!(formatter, "{}: {error}", path.display()),
        }
    }
}

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            handle: Mutex::new(None),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what has this name. May wait for the disk.
    ///
    /// # Errors
    /// Something is there and is not served.
    pub(crate) fn open(&self, name: &str, now: Instant) -> Result<Opened, Problem> {
        let opened = (self.handle(Lookup::MayWait, now))
            .and_then(|handle| resolution::open(handle.as_fd(), name));
        let failed = |error: Errno| Problem::Failed(self.path.join(name), error.into());
        let file = match opened {
            Ok(file) => file,
            Err(Errno::XDEV) => return Err(Problem::LeadsOut(self.path.join(name))),
            // A socket, or a device without a driver.
            Err(Errno::NXIO | Errno::NODEV) => {
                return Err(Problem::NotRegular(self.path.join(name)));
            }
            Err(error) if is_absence(error) => return Ok(Opened::Missing),
            Err(error) => return Err(failed(error)),
        };
        let metadata =
            (file.metadata()).map_err(|error| Problem::Failed(self.path.join(name), error))?;
        if metadata.is_dir() {
            Ok(Opened::Directory)
        } else if metadata.is_file() {
            Ok(Opened::File(file, metadata))
        } else {
            Err(Problem::NotRegular(self.path.join(name)))
        }
    }

    /// Whether the kernel has in memory that there is nothing of this name. Does not wait for the disk.
    pub(crate) fn is_known_to_lack(&self, name: &str, now: Instant) -> bool {
        let found = (self.handle(Lookup::InMemory, now))
            .and_then(|handle| resolution::look_up_in_memory(handle.as_fd(), name));
        found.is_err_and(|error| matches!(error, Errno::NOENT | Errno::NOTDIR))
    }

    fn handle(&self, lookup: Lookup, now: Instant) -> rustix::io::Result<Arc<OwnedFd>> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((opened_at, open)) = &*handle
            && now.saturating_duration_since(*opened_at) < HANDLE_FOR
        {
            return Ok(Arc::clone(open));
        }
        *handle = None;
        let opened = Arc::new(resolution::open_directory(&self.path, lookup)?);
        *handle = Some((now, Arc::clone(&opened)));
        Ok(opened)
    }
}

/// What may be asked of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    MayWait,
    /// Only what the kernel has in memory; it answers EAGAIN to everything else.
    InMemory,
}

/// Whether the error means that there is nothing of this name. ELOOP is a circle of links, or any link where the kernel
/// has no openat2.
fn is_absence(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::ILSEQ
    )
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "any moment will do, and one of the files is a socket"
    )]

    use super::*;
    use rustix::fs::{CWD, Mode};
    use std::os::unix::fs::symlink;

    fn sample() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let served = root.path().join("served");
        std::fs::create_dir_all(served.join("inner/deep")).unwrap();
        std::fs::write(root.path().join("secret"), "secret").unwrap();
        std::fs::write(served.join("a.css"), "a").unwrap();
        std::fs::write(served.join("inner/b.css"), "b").unwrap();
        symlink("a.css", served.join("same")).unwrap();
        symlink("../a.css", served.join("inner/up")).unwrap();
        symlink("../secret", served.join("out")).unwrap();
        symlink("../../secret", served.join("inner/out")).unwrap();
        symlink(root.path().join("secret"), served.join("absolute")).unwrap();
        symlink("..", served.join("parent")).unwrap();
        symlink("circle", served.join("circle")).unwrap();
        symlink("/proc/self/root", served.join("magic")).unwrap();
        rustix::fs::mkfifoat(CWD, served.join("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
        std::os::unix::net::UnixListener::bind(served.join("socket")).unwrap();
        root
    }

    /// `"a"` for a file with that content; `/` a directory; empty: missing; `!` refused.
    fn look(outcome: Result<Opened, Problem>) -> String {
        match outcome {
            Ok(Opened::File(mut file, _)) => {
                let mut content = String::new();
                io::Read::read_to_string(&mut file, &mut content).unwrap();
                content
            }
            Ok(Opened::Directory) => "/".to_owned(),
            Ok(Opened::Missing) => String::new(),
            Err(Problem::LeadsOut(_)) => "!out".to_owned(),
            Err(Problem::NotRegular(_)) => "!kind".to_owned(),
            Err(Problem::Failed(_, error)) => format!("!{error}"),
        }
    }

    #[test]
    fn only_regular_files_below_the_directory_are_opened() {
        let root = sample();
        let directory = Directory::new(root.path().join("served"));
        for (name, expected) in [
            ("a.css", "a"),
            ("inner/b.css", "b"),
            ("same", "a"),
            ("inner/up", "a"),
            ("inner", "/"),
            ("inner/deep", "/"),
            ("out", "!out"),
            ("inner/out", "!out"),
            ("absolute", "!out"),
            ("parent", "!out"),
            ("parent/secret", "!out"),
            ("magic/etc/passwd", "!out"),
            ("circle", ""),
            ("fifo", "!kind"),
            ("socket", "!kind"),
            ("none", ""),
            ("none/none", ""),
            ("a.css/none", ""),
            ("../secret", "!out"),
            ("..", "!out"),
        ] {
            let found = directory.open(name, Instant::now());
            assert_eq!(look(found), expected, "{name}");
        }
    }

    #[test]
    fn by_segments_no_link_is_followed_and_no_name_leads_out() {
        let root = sample();
        let served = File::open(root.path().join("served")).unwrap();
        let open = |name: &str| segments::open(served.as_fd(), name).is_ok();
        for (name, is_opened) in [
            ("a.css", true),
            ("inner/b.css", true),
            ("same", false),
            ("inner/up", false),
            ("out", false),
            ("absolute", false),
            ("parent/secret", false),
            ("magic/etc/passwd", false),
            ("none/a", false),
            ("..", false),
            ("../secret", false),
            ("inner/../../secret", false),
        ] {
            assert_eq!(open(name), is_opened, "{name}");
        }
    }

    #[test]
    fn a_device_is_not_served() {
        let directory = Directory::new("/dev".into());
        assert_eq!(look(directory.open("null", Instant::now())), "!kind");
    }

    #[test]
    fn a_directory_that_was_exchanged_is_opened_again() {
        let root = sample();
        let link = root.path().join("current");
        symlink("served", &link).unwrap();
        let directory = Directory::new(link.clone());
        let now = Instant::now();
        assert_eq!(look(directory.open("a.css", now)), "a");
        let next = root.path().join("next");
        std::fs::create_dir(&next).unwrap();
        std::fs::write(next.join("a.css"), "next").unwrap();
        std::fs::remove_file(&link).unwrap();
        symlink("next", &link).unwrap();
        assert_eq!(look(directory.open("a.css", now + HANDLE_FOR)), "next");
        std::fs::remove_file(&link).unwrap();
        assert_eq!(look(directory.open("a.css", now + 2 * HANDLE_FOR)), "");
    }

    #[test]
    fn what_is_missing_is_known_after_the_first_look() {
        let root = sample();
        let directory = Directory::new(root.path().join("served"));
        let now = Instant::now();
        for name in ["none", "none/none"] {
            assert_eq!(look(directory.open(name, now)), "");
            assert!(directory.is_known_to_lack(name, now), "{name}");
        }
        for name in ["a.css", "inner", "fifo", "out", "never-seen"] {
            assert!(!directory.is_known_to_lack(name, now), "{name}");
        }
    }
}
