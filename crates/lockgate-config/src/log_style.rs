//! The style of log lines: wording, format, time zone, query strings.

use crate::{Origin, Origins};

/// The style of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStyle {
    /// Whose messages the error log has, where gunicorn has one for the same event.
    pub wording: LogWording,
    /// The format of the error log.
    pub error_format: ErrorLogFormat,
    /// The time zone of both logs.
    pub timezone: LogTimezone,
    /// Whether query strings are shown in the error log, and to operators.
    pub shows_queries: bool,
    /// Whether standard output and standard error go to the file of the error log, if it is one.
    pub captures_output: bool,
}

impl Default for LogStyle {
    fn default() -> Self {
        Self {
            wording: LogWording::Lockgate,
            error_format: ErrorLogFormat::Text,
            timezone: LogTimezone::Utc,
            shows_queries: true,
            captures_output: false,
        }
    }
}

impl LogStyle {
    /// Fills in what follows from a configuration for gunicorn: its wording, and with that its local time.
    pub(crate) fn complete(&mut self, has_conf: bool, origins: &Origins) {
        let is_open = |setting| *origins.of(setting) == Origin::Default;
        if has_conf && is_open("log_style") {
            self.wording = LogWording::Gunicorn;
        }
        if self.wording == LogWording::Gunicorn && is_open("log_timezone") {
            self.timezone = LogTimezone::LocalIfKnown;
        }
    }
}

/// Whose messages the error log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogWording {
    /// Lockgate's.
    Lockgate,
    /// gunicorn's, for events that gunicorn logs too.
    Gunicorn,
}

impl LogWording {
    /// Every choice, in the order of the reference.
    pub const ALL: [Self; 2] = [Self::Lockgate, Self::Gunicorn];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lockgate => "lockgate",
            Self::Gunicorn => "gunicorn",
        }
    }
}

/// The format of the error log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorLogFormat {
    /// `[time] [pid] [LEVEL] message`
    Text,
    /// One JSON object per line.
    Json,
}

impl ErrorLogFormat {
    /// Every choice, in the order of the reference.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The time zone of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTimezone {
    /// UTC.
    Utc,
    /// That of the host, or of the variable TZ.
    Local,
    /// The same, or UTC in a container that has no time zone: not chosen by a setting.
    LocalIfKnown,
}

impl LogTimezone {
    /// Every choice, in the order of the reference.
    pub const ALL: [Self; 2] = [Self::Utc, Self::Local];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utc => "utc",
            Self::Local | Self::LocalIfKnown => "local",
        }
    }
}
