//! Parser of field lines, in heads and in trailer sections.
//!
//! Invariant: each byte is examined once, however the input is cut, and each fault is reported at its first byte, so
//! that every cut gives the same result.

use crate::error::Refusal;
use crate::rules::grammar::{FIELD_NAME, field_value_length, is_whitespace, trim_whitespace};
use crate::span::{Field, Span};

/// A position in a run of field lines that ends with an empty line.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldReader {
    /// Where the current line starts.
    line: usize,
    /// The first byte that was not examined.
    at: usize,
    name_end: usize,
    count: usize,
    stage: Stage,
    /// The classes of the name's bytes, or'ed: 3 if there is an underscore.
    name_class: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    LineStart,
    Name,
    Value,
    LineFeed,
    LastLineFeed,
}

/// The result of a step of [`FieldReader`].
#[derive(Debug)]
pub(crate) enum NextLine {
    /// A whole line.
    Field { field: Field, has_underscore: bool },
    /// The empty line; the section ends before this offset.
    End(usize),
    /// All input was read; more is needed.
    NeedMore,
    /// The line does not end before the given offset.
    TooLarge,
}

impl FieldReader {
    /// Starts at the offset `line`, where a line starts.
    pub(crate) fn starting_at(line: usize) -> Self {
        Self {
            line,
            at: line,
            ..Self::default()
        }
    }

    /// Where the current line starts: everything before it is complete.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// The name in the current line, if its colon was read.
    pub(crate) fn name_in_progress(&self) -> Option<Span> {
        matches!(self.stage, Stage::Value | Stage::LineFeed)
            .then(|| Span::new(self.line, self.name_end))
    }

    /// Continues in `bytes`, which start with the same bytes as before, to the end of one line. The line must end
    /// before `end`; after `max_count` fields it must be the empty line.
    // Always: with two callers the compiler does not inline it by itself, and a head of nine fields takes 240 ns
    // instead of 200 (benches/http1.rs).
    #[inline(always)]
    pub(crate) fn next(
        &mut self,
        bytes: &[u8],
        end: usize,
        max_count: usize,
    ) -> Result<NextLine, Refusal> {
        let window = &bytes[..bytes.len().min(end)];
        if self.stage == Stage::LineStart {
            self.stage = match window.get(self.at) {
                None => return Ok(self.pause(window, end)),
                Some(b'\r') => {
                    self.at += 1;
                    Stage::LastLineFeed
                }
                Some(b' ' | b'\t') if self.count == 0 => {
                    return Err(Refusal::WhitespaceBeforeFirstField);
                }
                Some(b' ' | b'\t') => return Err(Refusal::ObsoleteLineFolding),
                Some(b'\n') => return Err(Refusal::BareLineFeed),
                Some(_) if self.count >= max_count => {
                    return Err(Refusal::TooManyFields { limit: max_count });
                }
                Some(_) => Stage::Name,
            };
        }
        if self.stage == Stage::Name {
            let mut class = self.name_class;
            let mut at = self.at;
            let stop = loop {
                let Some(&byte) = window.get(at) else {
                    self.at = at;
                    self.name_class = class;
                    return Ok(self.pause(window, end));
                };
                match FIELD_NAME[usize::from(byte)] {
                    0 => break byte,
                    bits => class |= bits,
                }
                at += 1;
            };
            self.name_class = class;
            if stop != b':' || at == self.line {
                return Err(name_fault(stop));
            }
            self.name_end = at;
            self.at = at + 1;
            self.stage = Stage::Value;
        }
        if self.stage == Stage::Value {
            self.at += field_value_length(&window[self.at..]);
            match window.get(self.at) {
                None => return Ok(self.pause(window, end)),
                Some(b'\r') => self.at += 1,
                Some(b'\n') => return Err(Refusal::BareLineFeed),
                Some(_) => return Err(Refusal::ForbiddenByteInFieldValue),
            }
            self.stage = Stage::LineFeed;
        }
        match window.get(self.at) {
            None => return Ok(self.pause(window, end)),
            Some(b'\n') => self.at += 1,
            Some(_) => return Err(Refusal::BareCarriageReturn),
        }
        if self.stage == Stage::LastLineFeed {
            self.line = self.at;
            return Ok(NextLine::End(self.at));
        }
        let field = Field {
            name: Span::new(self.line, self.name_end),
            value: trimmed(window, self.name_end + 1, self.at - 2),
        };
        let has_underscore = self.name_class > 1;
        self.line = self.at;
        self.count += 1;
        self.stage = Stage::LineStart;
        self.name_class = 0;
        Ok(NextLine::Field {
            field,
            has_underscore,
        })
    }

    #[cold]
    fn pause(&mut self, window: &[u8], end: usize) -> NextLine {
        if window.len() >= end {
            NextLine::TooLarge
        } else {
            NextLine::NeedMore
        }
    }
}

/// The value between `start` and `end` without surrounding white space, which is nearly always one space.
#[inline]
fn trimmed(bytes: &[u8], start: usize, end: usize) -> Span {
    let raw = &bytes[start..end];
    if let [b' ', first, .., last] = raw
        && !is_whitespace(*first)
        && !is_whitespace(*last)
    {
        return Span::new(start + 1, end);
    }
    let value = trim_whitespace(raw);
    let lead = raw.iter().take_while(|byte| is_whitespace(**byte)).count();
    Span::new(start + lead, start + lead + value.len())
}

#[cold]
fn name_fault(stop: u8) -> Refusal {
    match stop {
        b':' => Refusal::EmptyFieldName,
        b' ' | b'\t' => Refusal::WhitespaceInFieldName,
        b'\r' => Refusal::FieldWithoutColon,
        b'\n' => Refusal::BareLineFeed,
        _ => Refusal::InvalidFieldName,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], end: usize, max_count: usize) -> Result<Vec<(String, String)>, String> {
        let mut reader = FieldReader::default();
        let mut fields = Vec::new();
        // One more byte each time: every stage is interrupted and resumed.
        for length in 0..=text.len() {
            loop {
                match reader.next(&text[..length], end, max_count) {
                    Ok(NextLine::NeedMore) => break,
                    Ok(NextLine::Field { field, .. }) => {
                        let part = |span: Span| String::from_utf8_lossy(span.of(text)).into_owned();
                        fields.push((part(field.name), part(field.value)));
                    }
                    Ok(NextLine::End(at)) if at == text.len() => return Ok(fields),
                    Ok(found) => return Err(format!("{found:?} at {length}")),
                    Err(refusal) => return Err(format!("{refusal:?} at {length}")),
                }
            }
        }
        Err("unfinished".into())
    }

    #[test]
    fn fields_are_read_and_trimmed_one_byte_at_a_time() {
        let text = b"A: b\r\nCd:e\r\nEmpty:\r\nSpaces: \t x y \t\r\nOne: z\r\nOnly:   \r\n\r\n";
        let fields = read(text, 1000, 100).unwrap();
        let expected = [
            ("A", "b"),
            ("Cd", "e"),
            ("Empty", ""),
            ("Spaces", "x y"),
            ("One", "z"),
            ("Only", ""),
        ];
        assert_eq!(fields.len(), expected.len());
        for ((name, value), (expected_name, expected_value)) in fields.iter().zip(expected) {
            assert_eq!(
                (name.as_str(), value.as_str()),
                (expected_name, expected_value)
            );
        }
    }

    #[test]
    fn each_fault_is_reported_at_its_first_byte() {
        let cases: [(&[u8], &str); 15] = [
            (b" A: b\r\n\r\n", "WhitespaceBeforeFirstField at 1"),
            (b"A: b\r\n c\r\n\r\n", "ObsoleteLineFolding at 7"),
            (b"A: b\r\n\tc\r\n\r\n", "ObsoleteLineFolding at 7"),
            (b": b\r\n\r\n", "EmptyFieldName at 1"),
            (b"A : b\r\n\r\n", "WhitespaceInFieldName at 2"),
            (b"A\r\n\r\n", "FieldWithoutColon at 2"),
            (b"A\n\r\n", "BareLineFeed at 2"),
            (b"A: b\n\r\n", "BareLineFeed at 5"),
            (b"A: b\r\n\n", "BareLineFeed at 7"),
            (b"A: b\rc", "BareCarriageReturn at 6"),
            (b"A: b\r\n\rc", "BareCarriageReturn at 8"),
            (b"A: b\0c", "ForbiddenByteInFieldValue at 5"),
            (b"A(: b", "InvalidFieldName at 2"),
            (
                b"A: 1\r\nB: 2\r\nC: 3\r\n",
                "TooManyFields { limit: 2 } at 13",
            ),
            (b"A: 56789012345678901", "TooLarge at 20"),
        ];
        for (text, answer) in cases {
            assert_eq!(read(text, 20, 2).unwrap_err(), answer, "{text:?}");
        }
    }
}
