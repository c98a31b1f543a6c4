//! Where log lines go: a stream or a file, reopened on demand. Knows nothing of what the lines say.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lockgate_config::{LogLevel, LogTarget};
use lockgate_observe::{Level, write_event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::date::wall_time;

/// An open log target; every write is one `write(2)` on an O_APPEND descriptor, so that lines of several processes
/// never mix (POSIX write; for pipes up to PIPE_BUF).
#[derive(Debug)]
pub(crate) struct Sink {
    target: LogTarget,
    file: Mutex<File>,
}

impl Sink {
    pub(crate) fn open(target: &LogTarget) -> io::Result<Self> {
        Ok(Self {
            target: target.clone(),
            file: Mutex::new(open(target)?),
        })
    }

    /// Writes everything, waiting for a reader that is slow: also where somebody has made the descriptor non-blocking.
    ///
    /// # Errors
    /// The system's, with the number of lines that were not written.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut watched = [PollFd::new(&*file, PollFlags::OUT)];
                    // Whatever the answer, the next write tells.
                    let _ = poll(&mut watched, None);
                }
                Err(error) => {
                    let lines = rest.iter().filter(|byte| **byte == b'\n').count();
                    return Err((error, lines));
                }
            }
        }
        Ok(())
    }

    /// Writes one line if nobody has to wait for that. Says whether it did.
    fn try_write(&self, line: &[u8]) -> bool {
        let Ok(mut file) = self.file.try_lock() else {
            return false;
        };
        let mut watched = [PollFd::new(&*file, PollFlags::OUT)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A pipe that is writable takes PIPE_BUF bytes whole (pipe(7)); lines of ours are shorter.
        poll(&mut watched, Some(&at_once)).is_ok_and(|ready| ready > 0)
            && file.write_all(line).is_ok()
    }

    pub(crate) fn reopen(&self) -> io::Result<()> {
        if let LogTarget::File(_) = self.target {
            let fresh = open(&self.target)?;
            *self.file.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        Ok(())
    }
}

fn open(target: &LogTarget) -> io::Result<File> {
    match target {
        LogTarget::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogTarget::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        LogTarget::File(path) => open_file(path),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The error log: what the server itself has to say.
#[derive(Debug)]
pub struct ErrorLog {
    sink: Sink,
    level: LogLevel,
    lost: AtomicU64,
}

impl ErrorLog {
    /// Opens the target.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(target: &LogTarget, level: LogLevel) -> io::Result<Self> {
        Ok(Self {
            sink: Sink::open(target)?,
            level,
            lost: AtomicU64::new(0),
        })
    }

    /// Writes one event, unless its level is below the configured one.
    pub fn write(&self, level: Level, message: &str) {
        if rank(level) > rank_of_setting(self.level) {
            return;
        }
        let mut line = Vec::with_capacity(message.len() + 64);
        write_event(&mut line, &wall_time(), std::process::id(), level, message);
        self.raw(&line);
    }

    /// As [`ErrorLog::write`], for threads that must not wait: an event that nobody takes is counted, and the next one
    /// that is taken says how many are missing.
    pub(crate) fn write_unless_blocked(&self, level: Level, message: &str) {
        if rank(level) > rank_of_setting(self.level) {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let note = match lost {
            0 => String::new(),
            lost => {
                format!(" ({lost} messages before this one were not written: the log took none)")
            }
        };
        let mut line = Vec::with_capacity(message.len() + 64);
        write_event(
            &mut line,
            &wall_time(),
            std::process::id(),
            level,
            &format!("{message}{note}"),
        );
        if !self.sink.try_write(&line) {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    /// Writes bytes as they are (`wsgi.errors`).
    pub fn raw(&self, bytes: &[u8]) {
        // A log that cannot be written has nowhere to complain; serving goes on.
        let _ = self.sink.write(bytes);
    }

    /// Opens the file anew, after it was moved away.
    ///
    /// # Errors
    /// When that fails; the old file stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        self.sink.reopen()
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::Critical => 0,
        Level::Error => 1,
        Level::Warning => 2,
        Level::Info => 3,
        Level::Debug => 4,
    }
}

fn rank_of_setting(level: LogLevel) -> u8 {
    match level {
        LogLevel::Critical => 0,
        LogLevel::Error => 1,
        LogLevel::Warning => 2,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
    }
}
