//! The error log: what the server itself has to say, and how loudly. Knows nothing of descriptors.
//!
//! Invariant: an event is written or counted, and the first one that is written after a loss says how many are missing.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lockgate_config::{LogLevel, LogTarget};
use lockgate_observe::{Level, write_event};

use crate::date::wall_time;
use crate::sink::{self, Sink};

/// How long a thread waits for a reader of the log that is slow. Once for each time that the reader stops altogether:
/// after that nobody waits until it reads again.
const PATIENCE: Duration = Duration::from_millis(250);

/// Creates a log file that does not exist yet and gives it to an owner, by user and group, who will open it again.
/// Files that exist stay as they are.
///
/// # Errors
/// When it can neither be created nor is there.
pub fn create_missing(target: &LogTarget, owner: Option<(u32, u32)>) -> io::Result<()> {
    sink::create_missing(target, owner)
}

/// Opens a log file as the logs do, for somebody who writes to it in another way.
///
/// # Errors
/// When it cannot be opened for appending.
pub fn open_file(path: &Path) -> io::Result<File> {
    sink::open_file(path)
}

/// The error log: what the server itself has to say.
#[derive(Debug)]
pub struct ErrorLog {
    sink: Sink,
    level: LogLevel,
    lost: AtomicU64,
    /// The last line was not taken: nobody waits for the next.
    is_stuck: AtomicBool,
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
            is_stuck: AtomicBool::new(false),
        })
    }

    /// From now on a panic of any thread of this process is an event of this log, with the thread and the place, and
    /// with a backtrace where `RUST_BACKTRACE` asks for one.
    pub fn report_panics(self: &Arc<Self>) {
        let log = Arc::clone(self);
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("without a name");
            let place = panic
                .location()
                .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
            let payload = panic.payload();
            let text = (payload.downcast_ref::<&str>().copied())
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            let mut message = format!("panic in the thread {name} at {place}: {text}");
            let backtrace = Backtrace::capture();
            if backtrace.status() == BacktraceStatus::Captured {
                message.push_str(&format!("\n{backtrace}"));
            }
            log.write(Level::Critical, &message);
        }));
    }

    /// Writes one event, unless its level is below the configured one.
    pub fn write(&self, level: Level, message: &str) {
        self.write_event(level, message, PATIENCE);
    }

    /// As [`ErrorLog::write`], for threads that must not wait at all.
    pub(crate) fn write_unless_blocked(&self, level: Level, message: &str) {
        self.write_event(level, message, Duration::ZERO);
    }

    fn write_event(&self, level: Level, message: &str, patience: Duration) {
        if rank(level) > rank_of_setting(self.level) {
            return;
        }
        let mut line = Vec::with_capacity(message.len() + 64);
        write_event(&mut line, &wall_time(), std::process::id(), level, message);
        self.put(&line, patience);
    }

    /// Writes bytes as they are (`wsgi.errors`).
    pub fn raw(&self, bytes: &[u8]) {
        self.put(bytes, PATIENCE);
    }

    /// Says how many lines were lost, if any were and the log takes lines again. To be called now and then.
    pub fn mention_losses(&self) {
        if self.lost.load(Ordering::Relaxed) > 0 {
            self.put(&[], Duration::ZERO);
        }
    }

    fn put(&self, lines: &[u8], patience: Duration) {
        let patience = if self.is_stuck.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            patience
        };
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mention = mention_of(lost);
        let text = if mention.is_empty() {
            Cow::Borrowed(lines)
        } else {
            Cow::Owned([mention.as_slice(), lines].concat())
        };
        match self.sink.write(&text, patience) {
            Ok(()) => self.is_stuck.store(false, Ordering::Relaxed),
            Err(unwritten) => {
                let still_lost = if unwritten.done < mention.len() {
                    lost
                } else {
                    0
                };
                let rest = lines
                    .get(unwritten.done.saturating_sub(mention.len())..)
                    .unwrap_or_default();
                self.lost
                    .fetch_add(still_lost + count_lines(rest), Ordering::Relaxed);
                if !unwritten.is_contended {
                    self.is_stuck.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Opens the file anew, after it was moved away.
    ///
    /// # Errors
    /// When that fails; the old file stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        self.sink.reopen()
    }
}

fn mention_of(lost: u64) -> Vec<u8> {
    let mut mention = Vec::new();
    if lost > 0 {
        let lines = if lost == 1 {
            "1 line"
        } else {
            &format!("{lost} lines")
        };
        let message = format!(
            "{lines} of this log before this one were lost: it took none (is its disk full, or its reader gone?)"
        );
        let pid = std::process::id();
        write_event(&mut mention, &wall_time(), pid, Level::Error, &message);
    }
    mention
}

/// How many lines there are, one without an end included.
pub(crate) fn count_lines(text: &[u8]) -> u64 {
    let ends = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
    ends + u64::from(text.last().is_some_and(|&last| last != b'\n'))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::path::Path;

    fn log_to(path: &Path) -> ErrorLog {
        ErrorLog::open(&LogTarget::File(path.to_owned()), LogLevel::Info).unwrap()
    }

    #[test]
    fn what_a_full_log_has_not_taken_is_counted_and_told_once_it_takes_lines_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let log = log_to(&path);
        let mut reader = File::open(&path).unwrap();
        let mut written = 0;
        while log.lost.load(Ordering::Relaxed) == 0 {
            log.write_unless_blocked(Level::Info, "a line");
            written += 1;
        }
        written -= 1;
        // Nobody waits any more, whatever its patience: ten thousand of it would be 40 minutes.
        for _ in 0..9_999 {
            log.write(Level::Info, "another line");
        }
        assert_eq!(log.lost.load(Ordering::Relaxed), 10_000);
        let mut bytes = vec![0; 1 << 20];
        let count = reader.read(&mut bytes).unwrap();
        assert_eq!(count_lines(&bytes[..count]), written);
        log.mention_losses();
        log.write(Level::Info, "at last");
        log.mention_losses();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let lines: Vec<&str> = rest.lines().collect();
        assert_eq!(lines.len(), 2, "{rest}");
        assert!(lines[0].contains("10000 lines of this log"), "{rest}");
        assert!(lines[1].ends_with("at last"), "{rest}");
    }

    #[test]
    fn lines_are_counted_with_one_that_has_no_end() {
        for (text, count) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)] {
            assert_eq!(count_lines(text.as_bytes()), count, "{text:?}");
        }
    }
}
