//! Log output: a file, a pipe, a socket or a terminal. Writes whole lines or returns how much it could not write, and
//! waits for a slow reader no longer than the caller allows.
//!
//! Invariant: an incomplete line does not garble another: its beginning is overwritten in place by
//! an empty line (regular files opened here) or ended with a line break before the next line (everything else). The
//! file is never truncated: other processes append to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::LogTarget;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::SendFlags;

use crate::os::{self, NO_SIGNAL};

/// A write of up to this size to a pipe is atomic (pipe(7), PIPE_BUF): lines of several processes do not mix.
const WHOLE_AT_MOST: usize = 4096;

/// Log files contain data of clients, so they are not readable by all users.
const MODE: u32 = 0o640;

/// Delay between two attempts to lock, or to write where there was room. Only a blocked log pays it.
const MOMENT: Duration = Duration::from_millis(1);

/// The error of a write that was incomplete.
#[derive(Debug)]
pub(crate) struct Unwritten {
    /// Bytes that are written, all of them whole lines.
    pub(crate) done: usize,
    /// `WouldBlock`: the reader made no room in time.
    pub(crate) error: io::Error,
    /// Another thread was writing: no statement about the log itself.
    pub(crate) is_contended: bool,
}

/// An open log target.
#[derive(Debug)]
pub(crate) struct LogOutput {
    target: LogTarget,
    open: Mutex<OpenOutput>,
}

impl LogOutput {
    pub(crate) fn open(target: &LogTarget) -> io::Result<Self> {
        Ok(Self {
            target: target.clone(),
            open: Mutex::new(OpenOutput::open(target)?),
        })
    }

    /// Writes lines; waits at most `patience` for a slow reader.
    ///
    /// # Errors
    /// The system's, or `WouldBlock` when the time is over, with what was written up to then.
    pub(crate) fn write(&self, lines: &[u8], patience: Duration) -> Result<(), Unwritten> {
        let now = Instant::now();
        let deadline = now + patience;
        // A line takes microseconds: even a caller that waits for no reader waits for another writer.
        match self.lock_until(deadline.max(now + MOMENT)) {
            Some(mut output) => output.write(lines, deadline),
            None => Err(Unwritten {
                done: 0,
                error: io::ErrorKind::WouldBlock.into(),
                is_contended: true,
            }),
        }
    }

    /// Reopens the file; when that fails the old one stays in use.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        if let LogTarget::File(_) = self.target {
            let fresh = OpenOutput::open(&self.target)?;
            *self.open.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        Ok(())
    }

    /// Makes standard output and standard error of this process the file, if the target is a regular one. (A named pipe
    /// does not block, which programs do not expect of their standard streams.)
    pub(crate) fn capture(&self) -> io::Result<()> {
        let output = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if output.kind == (Kind::File { is_own: true }) {
            rustix::stdio::dup2_stdout(&output.file)?;
            rustix::stdio::dup2_stderr(&output.file)?;
        }
        Ok(())
    }

    /// Tries to lock instead of blocking: the holder may itself wait for room, and in a child that the application has
    /// forked it may not exist.
    fn lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, OpenOutput>> {
        loop {
            match self.open.try_lock() {
                Ok(output) => return Some(output),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => thread::sleep(MOMENT / 20),
            }
        }
    }
}

/// How a descriptor is written to without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file never blocks on a reader; a file opened here may be repaired.
    File {
        is_own: bool,
    },
    Socket,
    /// A pipe or a device.
    Stream,
}

#[derive(Debug)]
struct OpenOutput {
    file: File,
    kind: Kind,
    /// What was written last is the beginning of a line that will not be completed.
    is_incomplete: bool,
}

impl OpenOutput {
    fn open(target: &LogTarget) -> io::Result<Self> {
        let (file, is_own) = match target {
            LogTarget::Stdout => (io::stdout().as_fd().try_clone_to_owned()?.into(), false),
            LogTarget::Stderr => (io::stderr().as_fd().try_clone_to_owned()?.into(), false),
            LogTarget::File(path) => (open_file(path)?, true),
        };
        Ok(Self::of(file, is_own))
    }

    fn of(file: File, is_own: bool) -> Self {
        let kind = match file.metadata().map(|metadata| metadata.file_type()) {
            Ok(found) if found.is_file() => Kind::File { is_own },
            Ok(found) if found.is_socket() => Kind::Socket,
            _ => Kind::Stream,
        };
        Self {
            file,
            kind,
            is_incomplete: false,
        }
    }

    fn write(&mut self, lines: &[u8], deadline: Instant) -> Result<(), Unwritten> {
        if self.is_incomplete {
            self.put(b"\n", deadline).map_err(|(error, _)| Unwritten {
                done: 0,
                error,
                is_contended: false,
            })?;
            self.is_incomplete = false;
        }
        let mut done = 0;
        while done < lines.len() {
            let piece = self.next_piece(&lines[done..]);
            let Err((error, count)) = self.put(piece, deadline) else {
                done += piece.len();
                continue;
            };
            let written = &piece[..count];
            let whole = last_line_end(written).unwrap_or(0);
            let fragment = &written[whole..];
            self.is_incomplete = !fragment.is_empty() && !self.blank_out(fragment);
            return Err(Unwritten {
                done: done + whole,
                error,
                is_contended: false,
            });
        }
        Ok(())
    }

    /// What is written in one system call, if the system accepts all of it.
    fn next_piece<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        if matches!(self.kind, Kind::File { .. }) || lines.len() <= WHOLE_AT_MOST {
            return lines;
        }
        let end = last_line_end(&lines[..WHOLE_AT_MOST])
            .or_else(|| Some(lines.iter().position(|&byte| byte == b'\n')? + 1));
        &lines[..end.unwrap_or(lines.len())]
    }

    /// # Errors
    /// With the number of bytes that were written all the same.
    fn put(&mut self, piece: &[u8], deadline: Instant) -> Result<(), (io::Error, usize)> {
        let mut count = 0;
        let mut has_waited = false;
        while count < piece.len() {
            match self.write_now(&piece[count..]) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), count)),
                Ok(written) => {
                    count += written;
                    has_waited = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || !self.wait_for_room(left) {
                        return Err((error, count));
                    }
                    // There was room, but another writer took it, or it is too small for the piece.
                    if std::mem::replace(&mut has_waited, true) {
                        thread::sleep(MOMENT);
                    }
                }
                Err(error) => return Err((error, count)),
            }
        }
        Ok(())
    }

    fn write_now(&mut self, piece: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::File { .. } => self.file.write(piece),
            Kind::Socket => {
                let flags = SendFlags::DONTWAIT | NO_SIGNAL;
                Ok(rustix::net::send(&self.file, piece, flags)?)
            }
            Kind::Stream => self.write_to_stream(piece),
        }
    }

    /// The descriptor is shared with the parent process, so only the single write is made non-blocking.
    fn write_to_stream(&mut self, piece: &[u8]) -> io::Result<usize> {
        os::write_at_once(&self.file, piece).unwrap_or_else(|| self.write_if_ready(piece))
    }

    /// A stream that is ready takes PIPE_BUF bytes at once, unless another process is quicker.
    fn write_if_ready(&mut self, piece: &[u8]) -> io::Result<usize> {
        if !self.wait_for_room(Duration::ZERO) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.file.write(&piece[..piece.len().min(WHOLE_AT_MOST)])
    }

    fn wait_for_room(&self, at_most: Duration) -> bool {
        let mut watched = [PollFd::new(&self.file, PollFlags::OUT)];
        let at_most = Timespec {
            tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // After a signal the next write shows whether there is room.
        poll(&mut watched, Some(&at_most)).map_or(true, |ready| ready > 0)
    }

    /// Overwrites the beginning of a line, which the last write has left at the descriptor's position, with spaces and
    /// a line break. Overwriting allocates no blocks, so it works on a full disk, and it changes no bytes of others.
    fn blank_out(&mut self, fragment: &[u8]) -> bool {
        if self.kind != (Kind::File { is_own: true }) {
            return false;
        }
        let mut blank = vec![b' '; fragment.len()];
        if let Some(last) = blank.last_mut() {
            *last = b'\n';
        }
        let overwritten = (|| {
            let end = self.file.stream_position()?;
            let start = end
                .checked_sub(fragment.len() as u64)
                .ok_or(io::ErrorKind::InvalidInput)?;
            let file = self.open_for_overwriting()?;
            let mut found = vec![0; fragment.len()];
            file.read_exact_at(&mut found, start)?;
            // The position is shared with processes that inherited the descriptor: it may be after their line.
            if found != fragment {
                return Err(io::ErrorKind::InvalidData.into());
            }
            file.write_all_at(&blank, start)
        })();
        overwritten.is_ok()
    }

    /// The same file without O_APPEND, under which pwrite(2) appends on Linux, and ignores the offset.
    fn open_for_overwriting(&self) -> io::Result<File> {
        let file = os::open_again(&self.file)?;
        let (ours, opened) = (self.file.metadata()?, file.metadata()?);
        if (ours.dev(), ours.ino()) != (opened.dev(), opened.ino()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }
}

/// The position after the last line break in these bytes.
fn last_line_end(bytes: &[u8]) -> Option<usize> {
    Some(bytes.iter().rposition(|&byte| byte == b'\n')? + 1)
}

pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        // Opened for reading and writing (fifo(7)): the open waits for no reader, and readers may come and go.
        return OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path);
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).open(path)
}

/// Creates a missing log file, owned by the user that will reopen it. An existing file is left unchanged: any user who
/// may write to its directory could have put a link to anything there.
pub(crate) fn create_missing(target: &LogTarget, owner: Option<(u32, u32)>) -> io::Result<()> {
    let LogTarget::File(path) = target else {
        return Ok(());
    };
    let made = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(MODE)
        .open(path);
    match (made, owner) {
        (Ok(file), Some((user, group))) => {
            match std::os::unix::fs::fchown(&file, Some(user), Some(group)) {
                // Without the right to chown a process cannot switch user either, and that is reported elsewhere.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                outcome => outcome,
            }
        }
        (Err(error), _) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    const AT_ONCE: Duration = Duration::ZERO;
    const LINE: &[u8] = b"one line, as long as lines are\n";

    fn open_output(file: impl Into<std::os::fd::OwnedFd>) -> OpenOutput {
        OpenOutput::of(File::from(file.into()), false)
    }

    /// Fills an output until it takes nothing more; returns what it took.
    fn fill(output: &mut OpenOutput) -> Vec<u8> {
        let mut taken = Vec::new();
        loop {
            match output.write(LINE, Instant::now()) {
                Ok(()) => taken.extend_from_slice(LINE),
                Err(unwritten) => {
                    assert_eq!(unwritten.error.kind(), io::ErrorKind::WouldBlock);
                    assert_eq!(unwritten.done, 0);
                    return taken;
                }
            }
        }
    }

    #[test]
    fn a_full_pipe_blocks_no_writer_and_holds_whole_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output = open_output(writer);
        let mut taken = fill(&mut output);
        let long = [&[b'x'; 10_000][..], b"\n"].concat();
        assert_eq!(output.write(&long, Instant::now()).unwrap_err().done, 0);
        let mut read = vec![0; taken.len()];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, taken);
        output.write(LINE, Instant::now()).unwrap();
        taken = LINE.to_vec();
        drop(output);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, taken);
    }

    #[test]
    fn a_stream_without_rwf_nowait_is_polled_before_a_write() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut output = open_output(writer);
        let mut taken = 0;
        let error = loop {
            match output.write_if_ready(&[b'x'; 10_000]) {
                Ok(count) => taken += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(taken >= WHOLE_AT_MOST);
    }

    #[test]
    fn a_line_cut_off_on_a_socket_is_terminated_before_the_next() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut output = open_output(ours);
        let endless = vec![b'x'; 64 << 20];
        let unwritten = output.write(&endless, Instant::now()).unwrap_err();
        assert_eq!(unwritten.done, 0);
        assert!(output.is_incomplete);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        });
        output
            .write(LINE, Instant::now() + Duration::from_secs(20))
            .unwrap();
        drop(output);
        let all = reader.join().unwrap();
        let (fragment, line) = all.split_at(all.len() - LINE.len());
        assert_eq!(line, LINE);
        assert!(fragment.ends_with(b"x\n"));
    }

    #[test]
    fn a_closed_pipe_is_an_error_and_no_signal() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let unwritten = open_output(writer).write(LINE, Instant::now()).unwrap_err();
        assert_eq!(unwritten.error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// A file in a directory that lives as long as the test.
    fn log_with(content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[test]
    fn an_incomplete_line_is_overwritten_only_in_a_file_that_was_opened_here() {
        for (target, before, fragment, after, is_blank, left) in [
            ("ours", "one\n", "two", "", true, "one\n  \n"),
            ("ours", "one\n", "t", "", true, "one\n\n"),
            ("ours", "one\n", "two", "three\n", true, "one\n  \nthree\n"),
            ("theirs", "one\n", "two", "", false, "one\ntwo"),
        ] {
            let (_folder, path) = log_with(before);
            let mut output = OpenOutput::of(open_file(&path).unwrap(), target == "ours");
            output.write_now(fragment.as_bytes()).unwrap();
            // Another process appends before the fragment is repaired.
            open_file(&path)
                .unwrap()
                .write_all(after.as_bytes())
                .unwrap();
            assert_eq!(output.blank_out(fragment.as_bytes()), is_blank, "{before}");
            assert_eq!(fs::read_to_string(&path).unwrap(), left);
        }
    }

    #[test]
    fn nothing_is_overwritten_if_another_process_moved_the_position() {
        let (_folder, path) = log_with("");
        let mut output = OpenOutput::of(open_file(&path).unwrap(), true);
        output.write_now(b"two").unwrap();
        // A child that inherited the descriptor shares its position.
        output
            .file
            .try_clone()
            .unwrap()
            .write_all(b"of a child\n")
            .unwrap();
        assert!(!output.blank_out(b"two"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "twoof a child\n");
    }

    #[test]
    fn a_named_pipe_without_a_reader_is_opened_and_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let output = LogOutput::open(&LogTarget::File(path.clone())).unwrap();
        output.write(LINE, AT_ONCE).unwrap();
        let mut read = vec![0; LINE.len()];
        File::open(&path).unwrap().read_exact(&mut read).unwrap();
        assert_eq!(read, LINE);
    }

    #[test]
    fn a_lock_that_is_never_released_costs_no_more_than_the_patience() {
        let folder = tempfile::tempdir().unwrap();
        let output = LogOutput::open(&LogTarget::File(folder.path().join("log"))).unwrap();
        let held = output.open.lock().unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| output.write(LINE, Duration::from_millis(5)));
            let unwritten = other.join().unwrap().unwrap_err();
            assert_eq!(unwritten.error.kind(), io::ErrorKind::WouldBlock);
        });
        drop(held);
        output.write(LINE, AT_ONCE).unwrap();
    }

    #[test]
    fn only_a_new_log_file_changes_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let (fresh, secret) = (folder.path().join("log"), folder.path().join("secret"));
        let link = folder.path().join("link");
        fs::write(&secret, "mine").unwrap();
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        // -1 leaves user and group unchanged: this test does not need root.
        for path in [&fresh, &secret, &link] {
            create_missing(&LogTarget::File(path.clone()), Some((u32::MAX, u32::MAX))).unwrap();
        }
        assert_eq!(fs::read(&fresh).unwrap(), b"");
        assert_eq!(fs::read(&secret).unwrap(), b"mine");
    }
}
