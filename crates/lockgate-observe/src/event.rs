//! The error log: one event after the other, `[time] [pid] [LEVEL] message`. Decides neither where it goes nor what passes.
//!
//! Invariant: only an event begins with `[`, so text quoted inside a message cannot pass for another event.

use crate::date::WallTime;
use crate::object::Json;

/// How much an event matters; the later ones matter less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The server cannot go on.
    Critical,
    /// Something failed and somebody noticed: a request, a worker.
    Error,
    /// Nothing failed yet.
    Warning,
    /// What an operator wants to see of a healthy server.
    Info,
    /// What a developer of the server wants to see.
    Debug,
}

impl Level {
    /// The name in the log, in capitals as Python's logging writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }
}

/// Appends one event as a JSON object on a line of its own: `time` (RFC 3339), `level`, `pid`, `logger`, `message`.
///
/// Whatever the message is, the line is ASCII; trailing line ends are dropped.
pub fn write_json_event(
    out: &mut Vec<u8>,
    at: &WallTime,
    pid: u32,
    level: Level,
    logger: &str,
    message: &[u8],
) {
    let end = message
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'))
        .map_or(0, |last| last + 1);
    let mut json = Json::default();
    json.open('{');
    json.text("time", &at.rfc3339());
    json.text("level", level.name().as_bytes());
    json.number("pid", pid.into());
    json.text("logger", logger.as_bytes());
    json.text("message", &message[..end]);
    json.close('}');
    json.finish(out);
}

/// Appends one event: `[2026-11-22 14:00:30 +0000] [4711] [INFO] message`, ended by a line feed.
///
/// A message of several lines (a traceback) keeps its lines; one that begins with `[` moves a space to the right.
/// Control characters other than the tab are written as `\xHH`; trailing line ends are dropped.
pub fn write_event(out: &mut Vec<u8>, at: &WallTime, pid: u32, level: Level, message: &str) {
    out.extend_from_slice(&at.event_log());
    out.extend_from_slice(b" [");
    out.extend_from_slice(itoa::Buffer::new().format(pid).as_bytes());
    out.extend_from_slice(b"] [");
    out.extend_from_slice(level.name().as_bytes());
    out.extend_from_slice(b"] ");
    for (index, line) in message
        .trim_end_matches(['\r', '\n'])
        .split('\n')
        .enumerate()
    {
        if index > 0 {
            out.push(b'\n');
            if line.starts_with('[') {
                out.push(b' ');
            }
        }
        write_line(out, line.strip_suffix('\r').unwrap_or(line));
    }
    out.push(b'\n');
}

fn write_line(out: &mut Vec<u8>, line: &str) {
    let mut written = 0;
    for (index, character) in line.char_indices() {
        if character.is_control() && character != '\t' {
            out.extend_from_slice(&line.as_bytes()[written..index]);
            written = index + character.len_utf8();
            crate::escape::escape_into(out, &line.as_bytes()[index..written]);
        }
    }
    out.extend_from_slice(&line.as_bytes()[written..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(level: Level, message: &str) -> String {
        let at = WallTime {
            unix_seconds: 1_795_356_030,
            microseconds: 0,
            utc_offset_seconds: 0,
        };
        let mut out = Vec::new();
        write_event(&mut out, &at, 7, level, message);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_tells_time_process_level_and_message() {
        let table: &[(Level, &str, &str)] = &[
            (
                Level::Info,
                "ready",
                "[2026-11-22 14:00:30 +0000] [7] [INFO] ready\n",
            ),
            (
                Level::Warning,
                "",
                "[2026-11-22 14:00:30 +0000] [7] [WARNING] \n",
            ),
            (
                Level::Critical,
                "a\n\n",
                "[2026-11-22 14:00:30 +0000] [7] [CRITICAL] a\n",
            ),
            (
                Level::Error,
                "Größe",
                "[2026-11-22 14:00:30 +0000] [7] [ERROR] Größe\n",
            ),
        ];
        for (level, message, expected) in table {
            assert_eq!(event(*level, message), *expected);
        }
    }

    #[test]
    fn as_json_an_event_is_one_line_with_the_same_keys_whatever_its_message() {
        let at = WallTime {
            unix_seconds: 1_795_356_030,
            microseconds: 42,
            utc_offset_seconds: 3600,
        };
        for message in [
            &b"ready\n"[..],
            b"",
            b"a\n\"b\"\t\\\x1b[2J",
            b"\xff\xc3\xbc",
            b"\r\n",
        ] {
            let mut out = Vec::new();
            write_json_event(&mut out, &at, 7, Level::Warning, "wsgi.errors", message);
            assert!(out.is_ascii() && out.ends_with(b"}\n"));
            assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let keys: Vec<_> = found.as_object().unwrap().keys().collect();
            assert_eq!(
                keys,
                ["level", "logger", "message", "pid", "time"],
                "sorted by the reader"
            );
            assert_eq!(found["time"], "2026-11-22T15:00:30.000042+01:00");
            assert_eq!(
                (&found["pid"], &found["level"]),
                (&7.into(), &"WARNING".into())
            );
        }
    }

    #[test]
    fn a_traceback_keeps_its_lines() {
        let text =
            "Traceback (most recent call last):\r\n  File \"app.py\", line 1\n\tx\nValueError: ü\n";
        let head = "[2026-11-22 14:00:30 +0000] [7] [ERROR] ";
        let expected =
            "Traceback (most recent call last):\n  File \"app.py\", line 1\n\tx\nValueError: ü\n";
        assert_eq!(event(Level::Error, text), format!("{head}{expected}"));
    }

    #[test]
    fn a_message_can_neither_forge_an_event_nor_drive_a_terminal() {
        let text = event(
            Level::Error,
            "bad \x1b[2J\u{9b}1m\0\rx\n[2026-11-22 14:00:31 +0000] [7] [INFO] fake",
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.iter().filter(|line| line.starts_with('[')).count(), 1);
        assert!(
            lines[0].ends_with(r"bad \x1b[2J\xc2\x9b1m\x00\x0dx"),
            "{}",
            lines[0]
        );
        assert_eq!(lines[1], " [2026-11-22 14:00:31 +0000] [7] [INFO] fake");
    }

    #[test]
    fn levels_are_ordered_from_what_matters_most() {
        assert!(Level::Critical < Level::Error && Level::Error < Level::Warning);
        assert!(Level::Warning < Level::Info && Level::Info < Level::Debug);
    }
}
