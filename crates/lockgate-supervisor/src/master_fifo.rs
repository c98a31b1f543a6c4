//! The master FIFO: a named pipe from which the supervisor reads one-letter commands, as uWSGI's master does.
//!
//! Only the user of the supervisor can write to it. A reader takes few bytes at a time and then pauses, so that a
//! writer that never stops costs the supervisor next to nothing.

mod command;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockgate_observe::{Level, Scoreboard};
use rustix::fs::{Mode, OFlags, fchmod, fstat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::Hooks;
use crate::os::{identity, make_fifo};
use crate::supervisor::Request;
use command::{Command, decode, status_lines};

/// Most bytes that are read at a time.
const MOST_BYTES: usize = 64;
/// How long a FIFO rests after a read.
const PAUSE: Duration = Duration::from_millis(100);

/// All FIFOs of the settings.
#[derive(Default)]
pub(crate) struct MasterFifos {
    fifos: Vec<MasterFifo>,
}

/// One FIFO.
struct MasterFifo {
    path: PathBuf,
    file: OwnedFd,
    /// It is not read before this time.
    next_read: Option<Instant>,
}

impl MasterFifos {
    /// Creates the FIFOs. One that a dead server has left is replaced.
    ///
    /// # Errors
    /// When one cannot be created, with the sentence for the operator.
    pub(crate) fn create(paths: &[PathBuf]) -> Result<Self, String> {
        let mut fifos = Self::default();
        for path in paths {
            match MasterFifo::create(path) {
                Ok(fifo) => fifos.fifos.push(fifo),
                Err(error) => {
                    fifos.remove();
                    let path = path.display();
                    return Err(format!("cannot create the master FIFO {path}: {error}"));
                }
            }
        }
        Ok(fifos)
    }

    /// The descriptors to poll, besides the time of [`next`](Self::next).
    pub(crate) fn poll_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let fifos = self.fifos.iter();
        fifos
            .filter(|fifo| fifo.next_read.is_none())
            .map(|fifo| fifo.file.as_fd())
    }

    /// When a pause ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.fifos.iter().filter_map(|fifo| fifo.next_read).min()
    }

    /// The requests since the last call. Other commands are answered in the log.
    pub(crate) fn read(
        &mut self,
        now: Instant,
        scoreboard: Option<Scoreboard>,
        hooks: &dyn Hooks,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        for fifo in &mut self.fifos {
            for command in decode(&fifo.read(now)) {
                let path = fifo.path.display();
                match command {
                    Command::Request(request, letter) => {
                        let message = format!("master FIFO {path}: command {letter:?}");
                        hooks.log(Level::Info, &message);
                        requests.push(request);
                    }
                    Command::Status => {
                        for line in status_lines(scoreboard) {
                            hooks.log(Level::Info, &line);
                        }
                    }
                    Command::Refused(letter, reason) => {
                        let message =
                            format!("master FIFO {path}: command {letter:?} is refused: {reason}");
                        hooks.log(Level::Warning, &message);
                    }
                    Command::Unknown(count) => {
                        let message = format!(
                            "master FIFO {path}: {count} bytes are no command; docs/uwsgi-module.md lists them"
                        );
                        hooks.log(Level::Warning, &message);
                    }
                }
            }
        }
        requests
    }

    /// Removes the FIFOs.
    pub(crate) fn remove(&self) {
        self.fifos.iter().for_each(MasterFifo::remove);
    }
}

impl MasterFifo {
    fn create(path: &Path) -> io::Result<Self> {
        if let Ok(present) = std::fs::symlink_metadata(path) {
            if !present.file_type().is_fifo() || present.uid() != geteuid().as_raw() {
                return Err(io::Error::other(
                    "the path exists and is no named pipe of this user",
                ));
            }
            std::fs::remove_file(path)?;
        }
        let mode = Mode::RUSR | Mode::WUSR;
        make_fifo(path, mode)?;
        // Read and write, so that the end of a writer is not the end of the file.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: OwnedFd = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?
            .into();
        // In a directory of another user the path may lead elsewhere by now.
        let opened = fstat(&file)?;
        let is_fifo = rustix::fs::FileType::from_raw_mode(opened.st_mode).is_fifo();
        if !is_fifo || opened.st_uid != geteuid().as_raw() || opened.st_nlink != 1 {
            return Err(io::Error::other("another file has taken its path"));
        }
        // The mask may have removed rights of the owner.
        fchmod(&file, mode)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            next_read: None,
        })
    }

    /// At most [`MOST_BYTES`] bytes, unless it rests.
    fn read(&mut self, now: Instant) -> Vec<u8> {
        if self.next_read.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.next_read = None;
        let mut bytes = [0; MOST_BYTES];
        match rustix::io::read(&self.file, &mut bytes) {
            Ok(count) => {
                self.next_read = Some(now + PAUSE);
                bytes.get(..count).unwrap_or_default().to_vec()
            }
            Err(Errno::AGAIN | Errno::INTR) => Vec::new(),
            // Without the pause the supervisor would try again at once.
            Err(_) => {
                self.next_read = Some(now + PAUSE);
                Vec::new()
            }
        }
    }

    /// Removes the file, unless another one is at the path.
    fn remove(&self) {
        let here = std::fs::symlink_metadata(&self.path);
        let is_ours = matches!((here, fstat(&self.file)), (Ok(here), Ok(ours))
            if (here.dev(), here.ino()) == identity(&ours));
        if is_ours {
            // A directory that has become read-only must not make the exit fail.
            let _left_behind = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn fifo() -> (tempfile::TempDir, PathBuf, MasterFifos) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let fifos = MasterFifos::create(std::slice::from_ref(&path)).unwrap();
        (folder, path, fifos)
    }

    fn write(path: &Path, bytes: &[u8]) {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut file = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path)
            .unwrap();
        // A full pipe is what the endless writer meets.
        let _full = file.write(bytes);
    }

    #[test]
    fn the_owner_alone_may_write_and_the_file_goes_with_the_server() {
        let (_folder, path, fifos) = fifo();
        let metadata = std::fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_fifo());
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert_eq!(fifos.poll_fds().count(), 1);
        fifos.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_fifo_is_replaced_and_nothing_else() {
        let (folder, path, old) = fifo();
        let new = MasterFifos::create(std::slice::from_ref(&path)).unwrap();
        // The file of another server stays.
        old.remove();
        assert!(path.exists());
        new.remove();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for taken in [&file, &link] {
            let fresh = folder.path().join("fresh");
            let failed = MasterFifos::create(&[fresh.clone(), taken.clone()]);
            let problem = failed.err().unwrap();
            assert!(
                problem.contains("is no named pipe of this user"),
                "{problem}"
            );
            assert!(taken.symlink_metadata().is_ok() && !fresh.exists());
        }
    }

    #[test]
    fn an_endless_writer_is_read_in_small_pieces_with_pauses() {
        let (_folder, path, mut fifos) = fifo();
        let now = Instant::now();
        let fifo = &mut fifos.fifos[0];
        write(&path, &[b'r'; 4096]);
        assert_eq!(fifo.read(now).len(), MOST_BYTES);
        assert_eq!(fifo.read(now).len(), 0);
        assert_eq!(fifo.read(now + PAUSE).len(), MOST_BYTES);
        assert_eq!(fifos.poll_fds().count(), 0);
        assert_eq!(fifos.next(), Some(now + 2 * PAUSE));
    }

    #[test]
    fn an_empty_fifo_is_polled() {
        let (_folder, path, mut fifos) = fifo();
        let now = Instant::now();
        assert_eq!(fifos.fifos[0].read(now), b"");
        assert_eq!((fifos.poll_fds().count(), fifos.next()), (1, None));
        write(&path, b"r\n");
        assert_eq!(fifos.fifos[0].read(now), b"r\n");
    }
}
