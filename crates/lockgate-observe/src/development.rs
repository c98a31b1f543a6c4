//! The access log of `lockgate dev`: a line for a person who looks at a terminal.
//!
//! ```text
//! 14:02:31 GET     /articles/?page=2              200    12 ms   4.2 kB  3 SQL 1.2 ms
//! ```
//!
//! Invariant: control characters are only the colours of this module, and only if they are switched on.

use std::io::Write;
use std::time::Duration;

use crate::access::{AccessRecord, Outcome};
use crate::format::BadFormat;
use crate::percent::nibble;

/// The word that the format begins with.
const NAME: &str = "development";

/// The key of environ in which the middleware of `lockgate dev` leaves what it has counted: the number of statements,
/// the microseconds that they took, and how many of them had the same text as an earlier one. It is there for every
/// request that has reached the application.
pub(crate) const STATEMENTS: &str = "lockgate.dev.statements";

/// Columns of the method and of the path. A longer value moves the columns behind it.
const METHOD_WIDTH: usize = 7;
const PATH_WIDTH: usize = 32;

const DIM: &[u8] = b"\x1b[2m";
const GREEN: &[u8] = b"\x1b[32m";
const CYAN: &[u8] = b"\x1b[36m";
const YELLOW: &[u8] = b"\x1b[33m";
const BOLD_YELLOW: &[u8] = b"\x1b[1;33m";
const BOLD_RED: &[u8] = b"\x1b[1;31m";
const RESET: &[u8] = b"\x1b[0m";

/// How the lines look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Development {
    has_colour: bool,
    /// A request that takes longer stands out; zero: none does.
    slow: Duration,
}

/// What the middleware has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Statements {
    count: u64,
    duration: Duration,
    repeated: u64,
}

impl Development {
    /// Reads `development`, and behind it in any order `colour` and `slow=SECONDS`; None: it is another format.
    ///
    /// # Errors
    /// [`BadFormat::UnknownOption`] names a word that is neither.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, BadFormat>> {
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some(NAME) {
            return None;
        }
        let mut format = Self {
            has_colour: false,
            slow: Duration::ZERO,
        };
        for word in words {
            match word.strip_prefix("slow=").map(seconds) {
                Some(Some(slow)) => format.slow = slow,
                None if word == "colour" => format.has_colour = true,
                _ => {
                    return Some(Err(BadFormat::UnknownOption {
                        option: word.to_owned(),
                    }));
                }
            }
        }
        Some(Ok(format))
    }

    /// Appends the line without its line feed; returns false, and appends nothing, for the requests of Lockgate's own
    /// scripts and of Werkzeug's debugger.
    pub(crate) fn write(&self, out: &mut Vec<u8>, record: &AccessRecord<'_>) -> bool {
        if is_internal(record) {
            return false;
        }
        let statements = statements(record);
        let is_dim = is_asset(record, statements.is_some());
        let is_failed = record.status >= 500 || record.outcome == Outcome::Aborted;
        let line: &[u8] = match (is_failed, is_dim) {
            (true, _) => BOLD_RED,
            (false, true) => DIM,
            (false, false) => b"",
        };
        let clock = record.started.after(record.duration).clock();
        self.paint(out, DIM, |out| out.extend_from_slice(&clock));
        out.push(b' ');
        self.paint(out, line, |out| {
            let method = readable(record.method);
            let path = readable(record.target);
            // Writing to a Vec does not fail.
            let _ = write!(out, "{method:<METHOD_WIDTH$} {path:<PATH_WIDTH$}");
        });
        out.push(b' ');
        let status = if line.is_empty() {
            colour_of(record.status)
        } else {
            line
        };
        self.paint(out, status, |out| {
            let _ = write!(out, "{:>3}", record.status);
        });
        out.push(b' ');
        let is_slow = self.is_slow(record);
        self.paint(out, if is_slow { BOLD_YELLOW } else { line }, |out| {
            let _ = write!(out, "{:>8}", human_duration(record.duration));
        });
        out.push(b' ');
        self.paint(out, line, |out| {
            let _ = write!(out, "{:>8}", human_size(record.body_bytes));
        });
        self.write_notes(out, record, statements, is_slow);
        true
    }

    /// What is not in every line.
    fn write_notes(
        &self,
        out: &mut Vec<u8>,
        record: &AccessRecord<'_>,
        statements: Option<Statements>,
        is_slow: bool,
    ) {
        if let Some(counted) = statements.filter(|counted| counted.count > 0) {
            let duration = human_duration(counted.duration);
            let _ = write!(out, "  {} SQL {duration}", counted.count);
            if counted.repeated > 0 {
                out.extend_from_slice(b", ");
                self.paint(out, YELLOW, |out| {
                    let _ = write!(out, "{} repeated", counted.repeated);
                });
            }
        }
        if is_slow {
            out.extend_from_slice(b"  ");
            self.paint(out, BOLD_YELLOW, |out| out.extend_from_slice(b"slow"));
        }
        if let Some(text) = outcome_text(record.outcome) {
            out.extend_from_slice(b"  ");
            self.paint(out, YELLOW, |out| {
                out.extend_from_slice(text.as_bytes());
                if let Some(reason) = record.reason {
                    let _ = write!(out, " ({reason})");
                }
            });
        }
    }

    /// A connection that stays open for events is not slow.
    fn is_slow(&self, record: &AccessRecord<'_>) -> bool {
        let is_open = record.status == 101
            || media_type(record).is_some_and(|known| known == b"text/event-stream");
        !self.slow.is_zero() && record.duration >= self.slow && !is_open
    }

    fn paint(&self, out: &mut Vec<u8>, colour: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let is_painted = self.has_colour && !colour.is_empty();
        if is_painted {
            out.extend_from_slice(colour);
        }
        write(out);
        if is_painted {
            out.extend_from_slice(RESET);
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The page of an application is loaded once, and the requests that belong to the tools would hide it.
fn is_internal(record: &AccessRecord<'_>) -> bool {
    let has_segment = record
        .path
        .windows(b"/.lockgate/".len())
        .any(|part| part == b"/.lockgate/");
    let is_debugger = record.query.starts_with(b"__debugger__=yes");
    (has_segment || is_debugger) && record.status < 400
}

/// A part of a page, or what the server has answered itself: a file, a redirect, a stored response. Refusals count as
/// requests that a developer wants to see.
fn is_asset(record: &AccessRecord<'_>, has_reached_application: bool) -> bool {
    if record.status == 404 && is_browsers_own(record.path) {
        return true;
    }
    if record.status >= 400 || record.outcome != Outcome::Complete {
        return false;
    }
    let is_part = media_type(record).is_some_and(|known| {
        known.starts_with(b"image/")
            || known.starts_with(b"font/")
            || matches!(
                known,
                b"text/css" | b"text/javascript" | b"application/javascript"
            )
    });
    record.status == 304 || is_part || !has_reached_application
}

/// What browsers ask for by themselves, whether or not a site has it.
fn is_browsers_own(path: &[u8]) -> bool {
    path == b"/favicon.ico"
        || path.starts_with(b"/apple-touch-icon")
        || path.starts_with(b"/.well-known/appspecific/")
}

/// The type without its parameters.
fn media_type<'a>(record: &AccessRecord<'a>) -> Option<&'a [u8]> {
    let value = (record.response_header)("content-type")?;
    value.split(|&byte| byte == b';').next()
}

fn statements(record: &AccessRecord<'_>) -> Option<Statements> {
    let (_, text) = record.environ.iter().find(|(key, _)| key == STATEMENTS)?;
    let mut numbers = text
        .split_ascii_whitespace()
        .map_while(|word| word.parse().ok());
    Some(Statements {
        count: numbers.next()?,
        duration: Duration::from_micros(numbers.next()?),
        repeated: numbers.next()?,
    })
}

fn colour_of(status: u16) -> &'static [u8] {
    match status {
        200..300 => GREEN,
        400..500 => YELLOW,
        500.. => BOLD_RED,
        _ => CYAN,
    }
}

fn outcome_text(outcome: Outcome) -> Option<&'static str> {
    Some(match outcome {
        Outcome::Complete => return None,
        Outcome::ClientGone => "client gone",
        Outcome::Refused => "refused",
        Outcome::Aborted => "aborted",
        Outcome::TimedOut => "timed out",
        Outcome::Overloaded => "overloaded",
        Outcome::Expired => "request timeout",
    })
}

/// `0.3 ms`, `12 ms`, `1.24 s`
fn human_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..9_950 => format!("{:.1} ms", micros as f64 / 1e3),
        9_950..999_500 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// `512 B`, `4.2 kB`, `13 MB`
fn human_size(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    for unit in ["kB", "MB", "GB"] {
        value /= 1e3;
        if value < 9.95 {
            return format!("{value:.1} {unit}");
        }
        if value < 999.5 {
            return format!("{value:.0} {unit}");
        }
    }
    format!("{:.1} TB", value / 1e3)
}

/// A value as a person reads it: letters and digits of all scripts, and ASCII without control characters. All other
/// bytes are percent-encoded, as they are in a target that a browser sends.
fn readable(value: &[u8]) -> String {
    if value.is_empty() {
        return "-".to_owned();
    }
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, behind)) = rest.split_first() {
        if let Some((character, length)) = encoded_letter(rest) {
            text.push(character);
            rest = &rest[length..];
            continue;
        }
        match byte {
            0x21..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        rest = behind;
    }
    text
}

/// The letter or digit outside ASCII whose UTF-8 form stands at the start of `value`, in percent-encoding or as it is,
/// and how many bytes it takes there.
fn encoded_letter(value: &[u8]) -> Option<(char, usize)> {
    let (mut sequence, mut length, mut taken) = ([0_u8; 4], 0, 0);
    while length < sequence.len() {
        let (byte, width) = match value.get(taken..)? {
            [b'%', high, low, ..] => (nibble(*high)? << 4 | nibble(*low)?, 3),
            [byte, ..] => (*byte, 1),
            [] => return None,
        };
        if byte.is_ascii() {
            return None;
        }
        sequence[length] = byte;
        length += 1;
        taken += width;
        if let Ok(text) = std::str::from_utf8(&sequence[..length]) {
            let character = text.chars().next()?;
            return character.is_alphanumeric().then_some((character, taken));
        }
    }
    None
}

#[cfg(test)]
mod tests;
