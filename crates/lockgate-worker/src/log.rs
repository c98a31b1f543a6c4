//! Where log lines go: a stream or a file, reopened on demand. Knows nothing of what the lines say.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lockgate_config::{LogLevel, LogTarget};
use lockgate_observe::{Level, write_event};

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

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(bytes)
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
