//! The error log: one event after another, as `[time] [pid] [LEVEL] message` or as JSON.
//!
//! Invariant: only an event begins with `[`, so text quoted inside a message cannot pass for another event.

use std::borrow::Cow;

use crate::date::WallTime;
use crate::object::Json;

/// The severity of an event, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The server cannot continue.
    Critical,
    /// Something failed with a visible effect: a request, a worker.
    Error,
    /// Nothing has failed yet.
    Warning,
    /// What operators want to know about a healthy server.
    Info,
    /// What developers of the server want to know.
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
/// A message of several lines (a traceback) keeps its lines; one that begins with `[` is indented by one space. Control
/// characters other than the tab are written as `\xHH`; trailing line ends are dropped.
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

/// Appends text that an application writes, possibly incomplete: control characters are escaped as in an event.
///
/// A line that begins inside the text may belong to a value with line feeds: as in an event, it is indented by one
/// space if it begins with `[`.
pub fn append_text(out: &mut Vec<u8>, text: &[u8]) {
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if index > 0 {
            out.push(b'\n');
            if line.starts_with(b"[") {
                out.push(b' ');
            }
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        for part in line.utf8_chunks() {
            write_line(out, part.valid());
            crate::escape::escape_into(out, part.invalid());
        }
    }
}

/// Whether a line could be mistaken for the beginning of an event.
pub fn reads_as_event(line: &[u8]) -> bool {
    const TIME: &[u8] = b"[0000-00-00 00:00:00 +0000] [";
    let fits = |(&byte, &shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'+' => matches!(byte, b'+' | b'-'),
        _ => byte == shape,
    };
    line.len() >= TIME.len() && line.iter().zip(TIME).all(fits)
}

/// The beginning and the end of a message longer than `most` bytes, and how many bytes between them are omitted.
pub fn shorten(message: &str, most: usize) -> Cow<'_, str> {
    if message.len() <= most {
        return Cow::Borrowed(message);
    }
    let is_boundary = |index: &usize| message.is_char_boundary(*index);
    let head_end = (0..=most / 2).rev().find(is_boundary).unwrap_or(0);
    let tail_start = (message.len() - most / 2..message.len())
        .find(is_boundary)
        .unwrap_or(message.len());
    Cow::Owned(format!(
        "{}\n... {} of {} bytes omitted: the limit of a message is {most} bytes ...\n{}",
        &message[..head_end],
        tail_start - head_end,
        message.len(),
        &message[tail_start..]
    ))
}

/// A text without its middle if it is longer than `most` bytes: the first line of a traceback says what failed, the last
/// one why. It then has at most `most` bytes, and no character of UTF-8 is split.
pub fn without_middle(text: &[u8], most: usize) -> Cow<'_, [u8]> {
    const GAP: &[u8] = b"\n[...]\n";
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let half = most.saturating_sub(GAP.len()) / 2;
    // No character has more than three continuation bytes; what has more is not UTF-8.
    let is_boundary = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let (head, tail) = (half, text.len() - half);
    let head = (head.saturating_sub(3)..=head).rfind(is_boundary);
    let tail = (tail..=tail.saturating_add(3).min(text.len())).find(is_boundary);
    let head = text.get(..head.unwrap_or(half)).unwrap_or_default();
    let tail = (text.get(tail.unwrap_or(text.len() - half)..)).unwrap_or_default();
    Cow::Owned([head, GAP, tail].concat())
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
    fn an_event_has_time_process_level_and_message() {
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
    fn text_of_an_application_can_neither_forge_an_event_nor_drive_a_terminal() {
        for (text, expected) in [
            (&b"plain \t text"[..], &b"plain \t text"[..]),
            (b"two\nlines\r\n", b"two\nlines\n"),
            (
                "snowman \u{2603}\n".as_bytes(),
                "snowman \u{2603}\n".as_bytes(),
            ),
            (b"a\x1b[2J\x00\rb", b"a\\x1b[2J\\x00\\x0db"),
            (b"\xff\xfe latin", b"\\xff\\xfe latin"),
            ("c1 \u{9b}".as_bytes(), b"c1 \\xc2\\x9b"),
            (
                b"[own line\n[continued\n [x",
                b"[own line\n [continued\n [x",
            ),
        ] {
            let mut out = Vec::new();
            append_text(&mut out, text);
            assert_eq!(out, expected, "{text:?}");
        }
    }

    #[test]
    fn only_a_line_with_the_shape_of_an_event_reads_as_one() {
        let written = event(Level::Error, "x");
        assert!(reads_as_event(written.as_bytes()));
        assert!(reads_as_event(b"[2026-11-22 14:00:30 -0330] [7] ["));
        for line in [
            "",
            "[",
            "[2026-11-22 14:00:30,123] ERROR in app: x",
            "[2026-11-22 14:00:30 +0000] ",
            " [2026-11-22 14:00:30 +0000] [7] [INFO] x",
        ] {
            assert!(!reads_as_event(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_keeps_both_ends_and_says_how_much_is_missing() {
        assert_eq!(shorten("0123456789", 10), "0123456789");
        let shortened = shorten("01234567890", 10);
        assert_eq!(
            shortened,
            "01234\n... 1 of 11 bytes omitted: the limit of a message is 10 bytes ...\n67890"
        );
        // Characters are not split.
        let shortened = shorten("ééééééé", 10);
        assert!(shortened.starts_with("éé\n... 6 of 14 "), "{shortened}");
        assert!(shortened.ends_with("\néé"), "{shortened}");
    }

    #[test]
    fn a_text_without_its_middle_has_both_ends_and_no_split_character() {
        assert_eq!(&*without_middle(b"0123456789", 10), b"0123456789");
        for letter in ["x", "é", "日", "🦀"] {
            for most in 40..60 {
                let long = format!("first {} last", letter.repeat(100));
                let short = without_middle(long.as_bytes(), most);
                let short = std::str::from_utf8(&short).unwrap();
                assert!(short.len() <= most && short.len() + 8 > most, "{short}");
                assert!(short.starts_with("first ") && short.ends_with(" last"));
                assert_eq!(short.matches("\n[...]\n").count(), 1, "{short}");
            }
        }
        let binary = without_middle(&[0x80; 100], 47).into_owned();
        let part = [0x80; 20];
        assert_eq!(binary, [&part[..], b"\n[...]\n", &part].concat());
        assert_eq!(&*without_middle(b"0123456789", 3), b"\n[...]\n");
    }

    #[test]
    fn levels_are_ordered_from_what_matters_most() {
        assert!(Level::Critical < Level::Error && Level::Error < Level::Warning);
        assert!(Level::Warning < Level::Info && Level::Info < Level::Debug);
    }
}
