//! The record of a line of the error log in shared memory, for the OTLP exporter: numbers of fixed length, then the name
//! of the logger and the message.
//!
//! Invariant: what is read is what was written, or nothing.

use crate::event::{Level, without_middle};

/// Bytes of a message that are kept.
const LONGEST_MESSAGE: usize = 16 * 1024;
/// Bytes of a name that are kept.
const LONGEST_NAME: usize = 256;

/// A line of the error log, a traceback included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its severity.
    pub level: Level,
    /// The process that has written it.
    pub pid: u32,
    /// The slot of the worker, if it was one.
    pub worker: Option<u32>,
    /// The trace and the server's span of the request that its thread was running; 0: none is known.
    pub trace_id: u128,
    /// See above.
    pub span_id: u64,
    /// Lines that could not be recorded before this one.
    pub lost_before: u64,
    /// `lockgate`, `wsgi.errors`, or the name of a logger of the application.
    pub logger: &'a str,
    /// The message; bytes that are not UTF-8 are read as latin-1.
    pub message: &'a [u8],
}

const LEVELS: [Level; 5] = [
    Level::Critical,
    Level::Error,
    Level::Warning,
    Level::Info,
    Level::Debug,
];

impl<'a> LogLine<'a> {
    /// Appends the record to `out`. A long name is cut, and a long message loses its middle.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let level = LEVELS.iter().position(|level| *level == self.level);
        let logger = self.logger.as_bytes();
        let logger = match self.logger.is_char_boundary(LONGEST_NAME) {
            true => logger.get(..LONGEST_NAME).unwrap_or(logger),
            false if logger.len() > LONGEST_NAME => b"",
            false => logger,
        };
        let message = without_middle(self.message, LONGEST_MESSAGE);
        out.extend_from_slice(&self.trace_id.to_le_bytes());
        for number in [self.time, self.span_id, self.lost_before] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let worker = self.worker.map_or(0, |slot| slot.saturating_add(1));
        for number in [self.pid, worker] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(level.unwrap_or_default() as u8);
        for text in [logger, &message] {
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text);
        }
    }

    /// Reads a record; `None`: it is not one.
    pub fn decode(record: &'a [u8]) -> Option<Self> {
        let mut rest = record;
        let trace_id = u128::from_le_bytes(take(&mut rest)?);
        let [time, span_id, lost_before] = {
            let mut numbers = [0; 3];
            for number in &mut numbers {
                *number = u64::from_le_bytes(take(&mut rest)?);
            }
            numbers
        };
        let pid = u32::from_le_bytes(take(&mut rest)?);
        let worker = u32::from_le_bytes(take(&mut rest)?);
        let [level] = take(&mut rest)?;
        let logger = std::str::from_utf8(take_text(&mut rest)?).ok()?;
        let message = take_text(&mut rest)?;
        rest.is_empty().then_some(Self {
            time,
            level: *LEVELS.get(usize::from(level))?,
            pid,
            worker: worker.checked_sub(1),
            trace_id,
            span_id,
            lost_before,
            logger,
            message,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*array)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_le_bytes(take(rest)?);
    let (text, after) = rest.split_at_checked(length.into())?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(logger: &'a str, message: &'a [u8]) -> LogLine<'a> {
        LogLine {
            time: 1,
            level: Level::Warning,
            pid: 2,
            worker: Some(0),
            trace_id: u128::MAX - 1,
            span_id: 3,
            lost_before: 4,
            logger,
            message,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_or_not_at_all() {
        for level in LEVELS {
            let written = LogLine {
                level,
                ..line("lockgate", b"caf\xe9\nat line 2")
            };
            let mut bytes = Vec::new();
            written.encode(&mut bytes);
            assert_eq!(LogLine::decode(&bytes), Some(written));
            for length in 0..bytes.len() {
                assert_eq!(LogLine::decode(&bytes[..length]), None, "{length}");
            }
            bytes.push(0);
            assert_eq!(LogLine::decode(&bytes), None);
        }
    }

    #[test]
    fn long_texts_are_cut_and_the_process_may_be_none_of_a_worker() {
        let name = "n".repeat(LONGEST_NAME + 1);
        let message = format!(
            "Traceback:\n{}\nValueError: why",
            "é".repeat(LONGEST_MESSAGE)
        );
        let mut bytes = Vec::new();
        let written = LogLine {
            worker: None,
            ..line(&name, message.as_bytes())
        };
        written.encode(&mut bytes);
        let read = LogLine::decode(&bytes).unwrap();
        assert_eq!(read.worker, None);
        assert_eq!(read.logger.len(), LONGEST_NAME);
        let text = std::str::from_utf8(read.message).unwrap();
        assert!((LONGEST_MESSAGE - 8..=LONGEST_MESSAGE).contains(&text.len()));
        assert!(text.starts_with("Traceback:\né") && text.ends_with("é\nValueError: why"));
        let wide = "é".repeat(LONGEST_NAME);
        bytes.clear();
        line(&wide[..], b"").encode(&mut bytes);
        assert_eq!(
            LogLine::decode(&bytes).unwrap().logger,
            &wide[..LONGEST_NAME]
        );
    }

    #[test]
    fn what_is_no_level_is_no_record() {
        let mut bytes = Vec::new();
        line("", b"").encode(&mut bytes);
        let level = bytes.len() - 5;
        assert_eq!(bytes[level], 2);
        bytes[level] = 5;
        assert_eq!(LogLine::decode(&bytes), None);
    }
}
