//! The error log: events of the server itself, by level.
//!
//! Invariant: an event is written or counted, and the first event written after a loss says how many are missing.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lockgate_config::{
    Config, ErrorLogFormat, LogLevel, LogStyle, LogTarget, LogWording, UnusableValue,
};
use lockgate_observe::{
    GunicornEvent, Level, LogCounts, LossyLog, Scoreboard, escape_into, shorten, write_event,
    write_json_event,
};
use lockgate_shm::Log;

use crate::date::Zone;
use crate::log::lines::LineRecorder;
use crate::log::output::{self, LogOutput};

/// How long a thread waits for a slow reader of the log. After one wait without success no thread waits until the log
/// is read again.
const PATIENCE: Duration = Duration::from_millis(250);

/// The source of an event in a JSON error log.
const SERVER: &str = "lockgate";
const APPLICATION: &str = "wsgi.errors";

/// Maximum bytes of a target in the error log.
const TARGET_AT_MOST: usize = 1024;

/// The part of a request's target that operators see: with `log_query` off it ends at its `?`.
#[inline]
pub fn shown_target(target: &[u8], shows_queries: bool) -> &[u8] {
    if shows_queries {
        return target;
    }
    match target.iter().position(|&byte| byte == b'?') {
        Some(at) => target.get(..=at).unwrap_or(target),
        None => target,
    }
}

/// Method and target for a line of the error log; a long target is cut.
pub fn described(method: &[u8], target: &[u8]) -> String {
    let mut text = Vec::new();
    escape_into(&mut text, method);
    text.push(b' ');
    match target.get(..TARGET_AT_MOST) {
        Some(beginning) if target.len() > TARGET_AT_MOST => {
            escape_into(&mut text, beginning);
            text.extend_from_slice(b"...");
        }
        _ => escape_into(&mut text, target),
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Creates a missing log file, owned by the user and group that will reopen it. Existing files stay unchanged.
///
/// # Errors
/// When it does not exist and cannot be created.
pub fn create_missing(target: &LogTarget, owner: Option<(u32, u32)>) -> io::Result<()> {
    output::create_missing(target, owner)
}

/// Opens a log file as the logs do, for a caller that writes to it in another way.
///
/// # Errors
/// When it cannot be opened for appending.
pub fn open_file(path: &Path) -> io::Result<File> {
    output::open_file(path)
}

/// Maximum length of an event: the text of an exception may contain a whole request or a database's answer.
const LONGEST_EVENT: usize = 64 * 1024;

/// The place of exceptions in [`LogCounts`].
const EXCEPTION: usize = 3;

/// The error log.
#[derive(Debug)]
pub struct ErrorLog {
    output: LogOutput,
    level: LogLevel,
    /// Standard output and standard error are the file.
    captures_output: bool,
    wording: LogWording,
    format: ErrorLogFormat,
    zone: Zone,
    /// Messages since the last report to statsd, as in [`LogCounts`].
    counts: [AtomicU64; LogCounts::NAMES.len()],
    lost: AtomicU64,
    /// The last line was not accepted: no thread waits for the next.
    is_stuck: AtomicBool,
    /// With `otlp_logs`: where lines are recorded for the exporter.
    recorder: Option<LineRecorder>,
    /// Where lost lines are counted, of this log and the access log.
    scoreboard: OnceLock<Scoreboard>,
}

impl ErrorLog {
    /// Opens the error log of the configuration. A missing file is created and given to the owner, by user and group.
    ///
    /// # Errors
    /// When the file cannot be opened for appending, or there is no local time zone.
    pub fn of(config: &Config, owner: Option<(u32, u32)>) -> Result<Self, UnusableValue> {
        let LogStyle {
            wording,
            error_format,
            timezone,
            captures_output,
            ..
        } = config.log_style;
        let zone = Zone::open(timezone).map_err(|error| {
            let problem = format_args!("{error}; set the TZ variable, or log_timezone = utc");
            UnusableValue::new("log_timezone", "local", problem)
        })?;
        let opened = create_missing(&config.error_log, owner)
            .and_then(|()| Self::open(&config.error_log, config.log_level));
        let log = opened.map_err(|error| {
            let place = match &config.error_log {
                LogTarget::Stdout => "standard output".to_owned(),
                LogTarget::Stderr => "standard error".to_owned(),
                LogTarget::File(path) => path.display().to_string(),
            };
            UnusableValue::new("error_logfile", place, error)
        })?;
        if captures_output {
            (log.output.capture())
                .map_err(|error| UnusableValue::new("capture_output", true, error))?;
        }
        Ok(Self {
            captures_output,
            wording,
            format: error_format,
            zone,
            recorder: (config.identity.otlp.as_ref())
                .filter(|otlp| otlp.logs)
                .map(|_| LineRecorder::default()),
            ..log
        })
    }

    /// Opens the target, for text in UTC.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(target: &LogTarget, level: LogLevel) -> io::Result<Self> {
        Ok(Self {
            output: LogOutput::open(target)?,
            level,
            captures_output: false,
            wording: LogWording::Lockgate,
            format: ErrorLogFormat::Text,
            zone: Zone::Utc,
            counts: Default::default(),
            lost: AtomicU64::new(0),
            is_stuck: AtomicBool::new(false),
            recorder: None,
            scoreboard: OnceLock::new(),
        })
    }

    /// Lines are also recorded here for the exporter, if `otlp_logs` is set.
    pub fn record_lines_in(&self, log: Log) {
        if let Some(recorder) = &self.recorder {
            recorder.open(log);
        }
    }

    /// From now on lost lines are counted on this scoreboard.
    pub fn count_losses_on(&self, scoreboard: Scoreboard) {
        // There is only one, so a second call changes nothing.
        let _same = self.scoreboard.set(scoreboard);
    }

    /// Counts lines of a log that were lost.
    pub(crate) fn count_lost(&self, log: LossyLog, lines: u64) {
        if let Some(scoreboard) = self.scoreboard.get() {
            scoreboard.count_lost_lines(log, lines);
        }
    }

    /// This process is the worker of this slot.
    pub fn set_worker(&self, slot: usize) {
        if let Some(recorder) = &self.recorder {
            recorder.set_worker(slot);
        }
    }

    fn record_line(&self, level: Level, logger: &str, message: &[u8]) {
        if let Some(recorder) = &self.recorder {
            recorder.record(level, logger, message);
        }
    }

    /// From now on a panic of any thread of this process is logged here, with the thread and the location, and with a
    /// backtrace if `RUST_BACKTRACE` is set.
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
            let mut message = format!("panic in thread {name} at {place}: {text}");
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

    /// Writes an event that gunicorn logs too: this message, or gunicorn's if `log_style` is gunicorn.
    pub fn write_as(&self, event: &GunicornEvent, level: Level, message: &str) {
        match self.wording {
            LogWording::Lockgate => self.write(level, message),
            LogWording::Gunicorn => self.write_for_gunicorn(event),
        }
    }

    /// Writes an event that only gunicorn logs, if `log_style` is gunicorn.
    pub fn write_for_gunicorn(&self, event: &GunicornEvent) {
        if self.wording == LogWording::Gunicorn {
            for (level, line) in event.lines() {
                self.write(level, &line);
            }
        }
    }

    /// Whether the messages are gunicorn's, where it has one for the same event.
    pub(crate) fn is_gunicorns(&self) -> bool {
        self.wording == LogWording::Gunicorn
    }

    /// As [`ErrorLog::write`], for threads that must not wait.
    pub(crate) fn write_unless_blocked(&self, level: Level, message: &str) {
        self.write_event(level, message, Duration::ZERO);
    }

    /// Writes an exception of the application with its traceback.
    pub fn write_exception(&self, level: Level, message: &str) {
        self.count(EXCEPTION);
        self.write_filtered(level, message, PATIENCE);
    }

    /// The messages since the last call.
    pub fn take_counts(&self) -> LogCounts {
        LogCounts {
            counts: (self.counts.each_ref()).map(|count| count.swap(0, Ordering::Relaxed)),
        }
    }

    fn count(&self, place: usize) {
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write_event(&self, level: Level, message: &str, patience: Duration) {
        // Critical, error and warning are the first three counts.
        if level <= Level::Warning {
            self.count(rank(level).into());
        }
        self.write_filtered(level, message, patience);
    }

    fn write_filtered(&self, level: Level, message: &str, patience: Duration) {
        if rank(level) > rank_of_setting(self.level) {
            return;
        }
        self.record_line(level, SERVER, message.as_bytes());
        self.put(&self.event(level, message), patience);
    }

    /// Writes an event of another logger, whatever its level: the logger has decided.
    pub fn write_record(&self, level: Level, logger: &str, message: &str) {
        self.record_line(level, logger, message.as_bytes());
        self.put(&self.record(level, logger, message), PATIENCE);
    }

    fn event(&self, level: Level, message: &str) -> Vec<u8> {
        self.record(level, SERVER, message)
    }

    fn record(&self, level: Level, logger: &str, message: &str) -> Vec<u8> {
        let message = &shorten(message, LONGEST_EVENT);
        let mut line = Vec::with_capacity(message.len() + 64);
        let (now, pid) = (self.zone.now(), std::process::id());
        match self.format {
            ErrorLogFormat::Text => write_event(&mut line, &now, pid, level, message),
            ErrorLogFormat::Json => {
                write_json_event(&mut line, &now, pid, level, logger, message.as_bytes());
            }
        }
        line
    }

    /// Writes the whole lines of one `write()` of the application (`wsgi.errors`, which has escaped them): unchanged, or
    /// as one event if the log is JSON. A logger writes a message and its traceback at once.
    pub fn raw(&self, lines: &[u8]) {
        let end = lines.iter().rposition(|&byte| byte != b'\n');
        let message = end.map(|end| &lines[..=end]);
        if let (Some(message), true) = (message, self.recorder.is_some()) {
            self.record_line(Level::Error, APPLICATION, message);
        }
        if self.format == ErrorLogFormat::Text {
            return self.put(lines, PATIENCE);
        }
        if let Some(message) = message {
            let (now, pid) = (self.zone.now(), std::process::id());
            let mut event = Vec::with_capacity(message.len() + 128);
            write_json_event(&mut event, &now, pid, Level::Error, APPLICATION, message);
            self.put(&event, PATIENCE);
        }
    }

    /// The time zone of the logs.
    pub(crate) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Logs how many lines were lost, if any were and the log accepts lines again. To be called about once a second.
    pub fn report_losses(&self) {
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
        let report = self.loss_event(lost);
        let text = if report.is_empty() {
            Cow::Borrowed(lines)
        } else {
            Cow::Owned([report.as_slice(), lines].concat())
        };
        match self.output.write(&text, patience) {
            Ok(()) => self.is_stuck.store(false, Ordering::Relaxed),
            Err(unwritten) => {
                let still_lost = if unwritten.done < report.len() {
                    lost
                } else {
                    0
                };
                let rest = lines
                    .get(unwritten.done.saturating_sub(report.len())..)
                    .unwrap_or_default();
                let newly_lost = count_lines(rest);
                self.lost
                    .fetch_add(still_lost + newly_lost, Ordering::Relaxed);
                self.count_lost(LossyLog::Error, newly_lost);
                if !unwritten.is_contended {
                    self.is_stuck.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Reopens the file after it was renamed.
    ///
    /// # Errors
    /// When that fails; the old file stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        self.output.reopen()?;
        match self.captures_output {
            true => self.output.capture(),
            false => Ok(()),
        }
    }
}

impl ErrorLog {
    fn loss_event(&self, lost: u64) -> Vec<u8> {
        if lost == 0 {
            return Vec::new();
        }
        let lines = if lost == 1 {
            "1 line"
        } else {
            &format!("{lost} lines")
        };
        let message = format!(
            "{lines} of this log were lost: it was not writable (is the disk full, or has the reader stopped?)"
        );
        self.event(Level::Error, &message)
    }
}

/// Number of lines, an unterminated last line included.
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
    fn lost_lines_are_counted_and_logged_when_the_log_is_writable_again() {
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
        // No event waits any more: ten thousand times the patience would be 40 minutes.
        for _ in 0..9_999 {
            log.write(Level::Info, "another line");
        }
        assert_eq!(log.lost.load(Ordering::Relaxed), 10_000);
        let mut bytes = vec![0; 1 << 20];
        let count = reader.read(&mut bytes).unwrap();
        assert_eq!(count_lines(&bytes[..count]), written);
        log.report_losses();
        log.write(Level::Info, "at last");
        log.report_losses();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let lines: Vec<&str> = rest.lines().collect();
        assert_eq!(lines.len(), 2, "{rest}");
        assert!(lines[0].contains("10000 lines of this log"), "{rest}");
        assert!(lines[1].ends_with("at last"), "{rest}");
    }

    #[test]
    fn a_logged_target_has_no_query_unless_configured_and_is_cut_if_long() {
        for (target, shown) in [
            ("/a?b=c?d", "/a?"),
            ("/a", "/a"),
            ("*", "*"),
            ("?", "?"),
            ("", ""),
        ] {
            assert_eq!(shown_target(target.as_bytes(), false), shown.as_bytes());
            assert_eq!(shown_target(target.as_bytes(), true), target.as_bytes());
        }
        assert_eq!(described(b"GET", b"/a\nb"), "GET /a\\x0ab");
        let whole = [b'x'; TARGET_AT_MOST];
        assert_eq!(described(b"GET", &whole).len(), 4 + TARGET_AT_MOST);
        let long = described(b"GET", &[b'x'; TARGET_AT_MOST + 1]);
        assert!(long.ends_with("xx...") && long.len() == 4 + TARGET_AT_MOST + 3);
    }

    #[test]
    fn an_unterminated_last_line_counts() {
        for (text, count) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)] {
            assert_eq!(count_lines(text.as_bytes()), count, "{text:?}");
        }
    }
}
