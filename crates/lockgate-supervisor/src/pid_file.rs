//! The file that names the supervisor's process. Two servers never believe that it is theirs.

use std::fmt;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// A pid file that holds our number.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    pid: u32,
}

/// Why the file is not ours.
#[derive(Debug)]
pub(crate) enum PidFileError {
    /// A process with the number in the file is alive.
    AlreadyRunning { path: PathBuf, pid: u32 },
    /// The system refused.
    Failed { path: PathBuf, error: io::Error },
}

impl fmt::Display for PidFileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning { path, pid } => {
                let path = path.display();
                write!(
                    out,
                    "already running with pid {pid} (pid file {path}): stop it or choose another --pid"
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
    /// Writes `pid`, unless the file names another process that is alive.
    pub(crate) fn claim(path: &Path, pid: u32) -> Result<Self, PidFileError> {
        let failed = |error| PidFileError::Failed {
            path: path.to_owned(),
            error,
        };
        // The working directory may be another one when the file is removed.
        let path = std::path::absolute(path).map_err(failed)?;
        let failed = |error| PidFileError::Failed {
            path: path.clone(),
            error,
        };
        refuse_live(&path, pid)?;
        let mut draft = path.clone().into_os_string();
        draft.push(format!(".{pid}"));
        let draft = PathBuf::from(draft);
        let published = write(&draft, pid).and_then(|()| publish(&draft, &path));
        // The draft is gone when it was renamed; otherwise it has done its work.
        let _gone = std::fs::remove_file(&draft);
        match published {
            Ok(Published::Done) => Ok(Self { path, pid }),
            // Stale, as it was judged before, or just written by a faster server.
            Ok(Published::Occupied) => {
                refuse_live(&path, pid)?;
                write(&draft, pid)
                    .and_then(|()| std::fs::rename(&draft, &path))
                    .map_err(failed)?;
                Ok(Self { path, pid })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes the file, if it still holds our number.
    pub(crate) fn remove(&self) {
        if read(&self.path) == Some(self.pid) {
            // A directory that has become read-only is no reason to fail at the very end.
            let _left_behind = std::fs::remove_file(&self.path);
        }
    }
}

fn write(draft: &Path, pid: u32) -> io::Result<()> {
    // What a dead process of the same number has left is of no use.
    let _left_over = std::fs::remove_file(draft);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(draft)?;
    io::Write::write_all(&mut file, format!("{pid}\n").as_bytes())
}

enum Published {
    Done,
    Occupied,
}

/// Puts the finished file in its place. A link fails when another server has just done the same; a rename would not.
fn publish(draft: &Path, path: &Path) -> io::Result<Published> {
    match std::fs::hard_link(draft, path) {
        Ok(()) => Ok(Published::Done),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Published::Occupied),
        // File systems without hard links.
        Err(_) => std::fs::rename(draft, path).map(|()| Published::Done),
    }
}

fn refuse_live(path: &Path, own: u32) -> Result<(), PidFileError> {
    match read(path) {
        // Our own number is a left-over: in a container every first process is PID 1.
        Some(pid) if pid != own && is_alive(pid) => Err(PidFileError::AlreadyRunning {
            path: path.to_owned(),
            pid,
        }),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // EPERM: alive, and another user's.
    matches!(test_kill_process(pid), Ok(()) | Err(Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_stale_or_senseless_file_is_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pid");
        for before in [
            None,
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
    fn the_file_of_a_live_process_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pid");
        let alive = std::process::id();
        std::fs::write(&path, alive.to_string()).unwrap();
        let refusal = PidFile::claim(&path, 4242).unwrap_err();
        assert!(
            refusal
                .to_string()
                .starts_with(&format!("already running with pid {alive} ")),
            "{refusal}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), alive.to_string());
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
    fn a_folder_that_does_not_exist_is_named() {
        let refusal = PidFile::claim(Path::new("/nonexistent/server.pid"), 1).unwrap_err();
        assert!(
            refusal
                .to_string()
                .starts_with("cannot write the pid file /nonexistent/server.pid: "),
            "{refusal}"
        );
    }
}
