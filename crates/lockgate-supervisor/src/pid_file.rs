//! The pid file. It is locked (flock(2)) while the supervisor accepts connections. So a stale pid file never prevents a
//! start, and two servers never share a file.
//!
//! Invariant: the file is replaced by a rename under the lock of the previous one, so that a reader finds a whole
//! number.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Give up after other servers have taken the file this many times in a row.
const MOST_ATTEMPTS: usize = 100;

/// A pid file that contains our pid.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    pid: u32,
    /// The lock belongs to this open file description and ends when it is closed in every process.
    file: File,
}

/// Why the pid file could not be claimed.
#[derive(Debug)]
pub(crate) enum PidFileError {
    /// Another server holds the lock.
    AlreadyRunning { path: PathBuf, pid: Option<u32> },
    /// A system call failed.
    Failed { path: PathBuf, error: io::Error },
}

impl fmt::Display for PidFileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning { path, pid } => {
                let path = path.display();
                let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
                write!(
                    out,
                    "already running with pid {pid}, which holds the lock of the pid file {path}: \
                     stop it or choose another --pid"
                )
            }
            Self::Failed { path, error } => {
                let path = path.display();
                write!(
                    out,
                    "cannot write the pid file {path}: {error}; choose another --pid"
                )
            }
        }
    }
}

impl PidFile {
    /// Writes `pid` and locks the file, unless another server holds the lock. The old content does not matter.
    pub(crate) fn claim(path: &Path, pid: u32) -> Result<Self, PidFileError> {
        let failed = |error| PidFileError::Failed {
            path: path.to_owned(),
            error,
        };
        // The directory may be behind a symlink that a deploy points to another release before the file is removed.
        let path = resolve_directory(path).map_err(failed)?;
        let failed = |error| PidFileError::Failed {
            path: path.clone(),
            error,
        };
        let mut draft = path.clone().into_os_string();
        draft.push(format!(".{pid}"));
        let draft = PathBuf::from(draft);
        for _ in 0..MOST_ATTEMPTS {
            let present = match open(&path) {
                Ok(present) => Some(present),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(failed(error)),
            };
            if let Some(present) = &present {
                if !lock(present).map_err(failed)? {
                    let pid = read(&path);
                    return Err(PidFileError::AlreadyRunning { path, pid });
                }
                if !is_at(present, &path) {
                    continue;
                }
            }
            let file = write(&draft, pid).map_err(failed)?;
            let published = match (lock(&file), &present) {
                (Ok(_), Some(_)) => std::fs::rename(&draft, &path).map(|()| true),
                (Ok(_), None) => publish(&draft, &path),
                (Err(error), _) => Err(error),
            };
            // The draft no longer exists if it was renamed; otherwise it is not needed any more.
            let _gone = std::fs::remove_file(&draft);
            if published.map_err(failed)? {
                return Ok(Self { path, pid, file });
            }
        }
        Err(failed(io::Error::other("other servers keep replacing it")))
    }

    /// The locked file of the previous program in this process, if it is the one at `path`.
    pub(crate) fn adopt(path: &Path, pid: u32, left: OwnedFd) -> Option<Self> {
        let (path, file) = (resolve_directory(path).ok()?, File::from(left));
        is_at(&file, &path).then_some(Self { path, pid, file })
    }

    /// Unlocks the file, so that another server can take it while this one finishes its requests.
    pub(crate) fn release(&self) {
        // If unlocking fails, the file stays locked until this process ends.
        let _locked_still = flock(&self.file, FlockOperation::Unlock);
    }

    /// Removes the file if it is still our own. Under its lock, so that no server takes it meanwhile.
    pub(crate) fn remove(&self) {
        let is_ours = matches!(lock(&self.file), Ok(true)) && is_at(&self.file, &self.path);
        if is_ours && read(&self.path) == Some(self.pid) {
            // A directory that has become read-only must not make the exit fail.
            let _left_behind = std::fs::remove_file(&self.path);
        }
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The path with the symlinks of its directory resolved.
fn resolve_directory(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => Ok(directory.canonicalize()?.join(name)),
        _ => Err(io::ErrorKind::InvalidFilename.into()),
    }
}

/// For writing, which NFS requires for a lock; another user's file can only be read.
fn open(path: &Path) -> io::Result<File> {
    let writable = OpenOptions::new().read(true).write(true).open(path);
    match writable {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    }
}

/// Locks the file; false when another open file holds the lock.
fn lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn write(draft: &Path, pid: u32) -> io::Result<File> {
    // A draft of a dead process with the same pid.
    let _left_over = std::fs::remove_file(draft);
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(draft)?;
    io::Write::write_all(&mut file, format!("{pid}\n").as_bytes())?;
    Ok(file)
}

/// Puts the finished file where there was none. link(2) fails when another server has just done the same; a rename
/// would not.
fn publish(draft: &Path, path: &Path) -> io::Result<bool> {
    match std::fs::hard_link(draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // File systems without hard links.
        Err(_) => std::fs::rename(draft, path).map(|()| true),
    }
}

fn read(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unlocked_file_is_replaced_whatever_its_content_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pid");
        let own = std::process::id().to_string();
        // PID 1 is alive, and so is this process; neither is a server.
        for before in [
            None,
            Some("1\n"),
            Some(own.as_str()),
            Some("2147483646\n"),
            Some("not a number"),
            Some("0"),
            Some(""),
        ] {
            if let Some(text) = before {
                std::fs::write(&path, text).unwrap();
            }
            let file = PidFile::claim(&path, 4242).unwrap();
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                "4242\n",
                "{before:?}"
            );
            file.remove();
            assert_eq!(
                std::fs::read_dir(folder.path()).unwrap().count(),
                0,
                "{before:?}"
            );
        }
    }

    #[test]
    fn a_locked_file_is_not_replaced_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pid");
        let first = PidFile::claim(&path, 4242).unwrap();
        let refusal = PidFile::claim(&path, 4343).unwrap_err().to_string();
        let expected = format!(
            "already running with pid 4242, which holds the lock of the pid file {}: ",
            path.display()
        );
        assert!(refusal.starts_with(&expected), "{refusal}");
        assert_eq!(read(&path), Some(4242));
        first.release();
        let second = PidFile::claim(&path, 4343).unwrap();
        assert_eq!(read(&path), Some(4343));
        first.remove();
        assert_eq!(read(&path), Some(4343), "it is another server's");
        assert!(PidFile::claim(&path, 4444).is_err());
        second.remove();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_released_file_that_no_server_has_claimed_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pid");
        let file = PidFile::claim(&path, 4242).unwrap();
        file.release();
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn the_lock_is_kept_by_the_next_program_in_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["server.pid", "other.pid"].map(|name| folder.path().join(name));
        let first = PidFile::claim(&path, 4242).unwrap();
        let [left, again] = [(); 2].map(|()| first.as_fd().try_clone_to_owned().unwrap());
        drop(first);
        assert!(PidFile::adopt(&other, 4242, again).is_none());
        let next = PidFile::adopt(&path, 4242, left).unwrap();
        assert!(PidFile::claim(&path, 4343).is_err());
        next.remove();
        assert!(!path.exists());
    }

    #[test]
    fn the_file_is_removed_where_it_was_written_although_a_symlink_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, link] = ["1", "2", "current"].map(|name| folder.path().join(name));
        for release in [&one, &two] {
            std::fs::create_dir(release).unwrap();
        }
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let file = PidFile::claim(&link.join("server.pid"), 4242).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&two, &link).unwrap();
        file.remove();
        assert_eq!(std::fs::read_dir(&one).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_another_server_has_taken_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pid");
        let file = PidFile::claim(&path, 4242).unwrap();
        std::fs::write(&path, "4343\n").unwrap();
        file.remove();
        assert!(path.exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let refusal = PidFile::claim(Path::new("/nonexistent/server.pid"), 1).unwrap_err();
        assert!(
            refusal
                .to_string()
                .starts_with("cannot write the pid file /nonexistent/server.pid: "),
            "{refusal}"
        );
    }
}
