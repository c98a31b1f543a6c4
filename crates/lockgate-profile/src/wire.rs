//! The bytes in which samples and profiles leave a worker: numbers as LEB128, texts once in a table, everything else by
//! number.
//!
//! A reader trusts nothing: another process wrote the bytes. What it returns is well-formed, and its memory is bounded:
//! a few bytes can refer to a long text many times.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::{Activity, Frame, StackId, Stacks, Weight};

/// Most frames of a stack, the one that stands for left-out frames included. Encoders do not cut: what makes samples
/// does.
pub const MOST_FRAMES: usize = 512;

/// Most bytes of all texts together, each counted as often as it is referred to.
const MOST_TEXT: usize = 64 << 20;

/// Why bytes are not a sample or a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// They begin as something else does, or as another version writes it.
    OtherFormat,
    /// They end too early.
    Cut,
    /// They continue after their end.
    TooLong,
    /// A number is larger than 64 bits, or than what it counts.
    NumberTooLarge,
    /// A text is not UTF-8.
    NotUtf8,
    /// Their texts are longer than 64 MiB, each counted as often as it is referred to.
    TooMuchText,
    /// They refer to a text, a frame or a stack that they do not have.
    Dangling,
    /// A stack has more than [`MOST_FRAMES`] frames.
    StackTooDeep,
    /// An activity is none of those known.
    UnknownActivity,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherFormat => "it is in another format",
            Self::Cut => "it ends too early",
            Self::TooLong => "it continues after its end",
            Self::NumberTooLarge => "a number in it is too large",
            Self::NotUtf8 => "a text in it is not UTF-8",
            Self::TooMuchText => "its texts are too long",
            Self::Dangling => "it refers to something that it does not have",
            Self::StackTooDeep => "a stack in it is too deep",
            Self::UnknownActivity => "an activity in it is unknown",
        })
    }
}

impl std::error::Error for DecodeError {}

/// Collects the parts after the tables.
#[derive(Default)]
pub(crate) struct Writer<'a> {
    texts: Vec<&'a str>,
    numbers: HashMap<&'a str, u64>,
    body: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn number(&mut self, value: u64) {
        write_number(&mut self.body, value);
    }

    /// Nanoseconds: 584 years at most.
    pub(crate) fn duration(&mut self, value: Duration) {
        self.number(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn text(&mut self, text: &'a str) {
        let next = self.texts.len() as u64;
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.texts.push(text);
        }
        self.number(number);
    }

    pub(crate) fn stack(&mut self, stack: StackId) {
        self.number(stack.index() as u64);
    }

    pub(crate) fn activity(&mut self, activity: &'a Activity) {
        self.number(match activity {
            Activity::Running => 0,
            Activity::Gil => 1,
            Activity::Lock => 2,
            Activity::Network(_) => NETWORK,
            Activity::Disk => 4,
            Activity::Sleep => 5,
            Activity::Child => 6,
            Activity::Waiting => 7,
        });
        if let Activity::Network(peer) = activity {
            self.text(peer);
        }
    }

    pub(crate) fn weight(&mut self, weight: Weight) {
        self.number(weight.samples);
        self.duration(weight.cpu);
    }

    pub(crate) fn stacks(&mut self, stacks: &'a Stacks) {
        let (frames, nodes) = stacks.tables();
        self.number(frames.len() as u64);
        for frame in frames {
            self.text(&frame.function);
            self.text(&frame.file);
            self.number(frame.line.into());
        }
        self.number(nodes.len() as u64);
        for (caller, frame) in nodes {
            self.stack(*caller);
            self.number((*frame).into());
        }
    }

    /// The format's name, the texts, the rest.
    pub(crate) fn finish(self, format: [u8; 4]) -> Vec<u8> {
        let mut out = format.to_vec();
        write_number(&mut out, self.texts.len() as u64);
        for text in self.texts {
            write_number(&mut out, text.len() as u64);
            out.extend(text.as_bytes());
        }
        out.extend(self.body);
        out
    }
}

fn write_number(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

const NETWORK: u64 = 3;

/// Reads what a [`Writer`] has written.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    texts: Vec<&'a str>,
    /// Bytes of texts that it may still return.
    allowance: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], format: [u8; 4]) -> Result<Self, DecodeError> {
        let rest = bytes
            .strip_prefix(&format)
            .ok_or(DecodeError::OtherFormat)?;
        let mut reader = Self::without_texts(rest);
        for _ in 0..reader.count()? {
            let text = reader.bytes()?;
            let text = std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)?;
            reader.texts.push(text);
        }
        Ok(reader)
    }

    fn without_texts(rest: &'a [u8]) -> Self {
        Self {
            rest,
            texts: Vec::new(),
            allowance: MOST_TEXT,
        }
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest {
            [] => Ok(()),
            _ => Err(DecodeError::TooLong),
        }
    }

    pub(crate) fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Cut)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::NumberTooLarge)
    }

    /// How many things follow: each has a byte at least.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.number()?;
        let count = usize::try_from(count).map_err(|_| DecodeError::NumberTooLarge)?;
        match count > self.rest.len() {
            true => Err(DecodeError::Cut),
            false => Ok(count),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.count()?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn index(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.number()?).map_err(|_| DecodeError::Dangling)
    }

    pub(crate) fn duration(&mut self) -> Result<Duration, DecodeError> {
        self.number().map(Duration::from_nanos)
    }

    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let index = self.index()?;
        let text = *self.texts.get(index).ok_or(DecodeError::Dangling)?;
        let allowance = self.allowance.checked_sub(text.len());
        self.allowance = allowance.ok_or(DecodeError::TooMuchText)?;
        Ok(text.to_owned())
    }

    pub(crate) fn activity(&mut self) -> Result<Activity, DecodeError> {
        Ok(match self.number()? {
            0 => Activity::Running,
            1 => Activity::Gil,
            2 => Activity::Lock,
            NETWORK => Activity::Network(self.text()?),
            4 => Activity::Disk,
            5 => Activity::Sleep,
            6 => Activity::Child,
            7 => Activity::Waiting,
            _ => return Err(DecodeError::UnknownActivity),
        })
    }

    pub(crate) fn weight(&mut self) -> Result<Weight, DecodeError> {
        Ok(Weight {
            samples: self.number()?,
            cpu: self.duration()?,
        })
    }

    /// The stacks, and for each stack of the writer (the empty one first) the stack here. They differ where the writer
    /// had one twice.
    pub(crate) fn stacks(&mut self) -> Result<(Stacks, Vec<StackId>), DecodeError> {
        let mut frames = Vec::new();
        for _ in 0..self.count()? {
            frames.push(Frame {
                function: self.text()?,
                file: self.text()?,
                line: u32::try_from(self.number()?).map_err(|_| DecodeError::NumberTooLarge)?,
            });
        }
        let mut stacks = Stacks::default();
        let mut ids = vec![StackId::EMPTY];
        let mut depths = vec![0];
        for _ in 0..self.count()? {
            // A caller comes before what it calls, so no stack is its own caller.
            let caller = self.index()?;
            let frame = self.index()?;
            let id = ids.get(caller).ok_or(DecodeError::Dangling)?;
            let depth = depths.get(caller).ok_or(DecodeError::Dangling)? + 1;
            if depth > MOST_FRAMES {
                return Err(DecodeError::StackTooDeep);
            }
            let frame = frames.get(frame).ok_or(DecodeError::Dangling)?;
            ids.push(stacks.push(*id, frame));
            depths.push(depth);
        }
        Ok((stacks, ids))
    }

    pub(crate) fn stack(&mut self, ids: &[StackId]) -> Result<StackId, DecodeError> {
        let index = self.index()?;
        ids.get(index).copied().ok_or(DecodeError::Dangling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: [u8; 4] = *b"TEST";

    #[test]
    fn a_number_has_one_to_ten_bytes() {
        for (value, length) in [(0, 1), (127, 1), (128, 2), (1 << 35, 6), (u64::MAX, 10)] {
            let mut bytes = Vec::new();
            write_number(&mut bytes, value);
            assert_eq!(bytes.len(), length, "{value}");
            let mut reader = Reader::without_texts(&bytes);
            assert_eq!(reader.number(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
        for (bytes, error) in [
            (&[][..], DecodeError::Cut),
            (&[0x80], DecodeError::Cut),
            (&[0xff; 20], DecodeError::NumberTooLarge),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
                DecodeError::NumberTooLarge,
            ),
        ] {
            let mut reader = Reader::without_texts(bytes);
            assert_eq!(reader.number(), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn malformed_tables_are_refused() {
        let reads = |body: &[u8]| {
            let bytes = [&FORMAT[..], body].concat();
            let mut reader = Reader::new(&bytes, FORMAT)?;
            reader.stacks()?;
            reader.finish()
        };
        // One text, "x"; one frame of it; then the stacks.
        let with_stacks = |stacks: &[u8]| reads(&[&[1, 1, b'x', 1, 0, 0, 7], stacks].concat());
        for (stacks, expected) in [
            (&[0][..], Ok(())),
            (&[2, 0, 0, 1, 0], Ok(())),
            (&[1, 1, 0], Err(DecodeError::Dangling)),
            (&[1, 0, 1], Err(DecodeError::Dangling)),
            (&[9, 0, 0], Err(DecodeError::Cut)),
            (&[0, 0], Err(DecodeError::TooLong)),
        ] {
            assert_eq!(with_stacks(stacks), expected, "{stacks:?}");
        }
        for (body, expected) in [
            (&[1, 1, 0xff, 0, 0][..], DecodeError::NotUtf8),
            (&[0, 1, 0, 0, 0], DecodeError::Dangling),
            (&[0xff, 0xff, 3], DecodeError::Cut),
        ] {
            assert_eq!(reads(body), Err(expected), "{body:?}");
        }
        assert_eq!(
            Reader::new(b"tEST", FORMAT).err(),
            Some(DecodeError::OtherFormat)
        );
    }

    #[test]
    fn a_long_text_cannot_be_referred_to_without_end() {
        let read = |times: u64| {
            let text = "x".repeat(1 << 20);
            let mut writer = Writer::default();
            (0..times).for_each(|_| writer.text(&text));
            let bytes = writer.finish(FORMAT);
            let mut reader = Reader::new(&bytes, FORMAT)?;
            (0..times).try_for_each(|_| reader.text().map(drop))
        };
        assert_eq!(read(64), Ok(()));
        assert_eq!(read(65), Err(DecodeError::TooMuchText));
    }

    #[test]
    fn a_stack_is_as_deep_as_most_frames() {
        let read = |depth: usize| {
            let mut stacks = Stacks::default();
            let frame = Frame {
                function: "f".to_owned(),
                file: String::new(),
                line: 1,
            };
            (0..depth).fold(StackId::EMPTY, |caller, _| stacks.push(caller, &frame));
            let mut writer = Writer::default();
            writer.stacks(&stacks);
            let bytes = writer.finish(FORMAT);
            let mut reader = Reader::new(&bytes, FORMAT)?;
            reader.stacks().map(|(stacks, _)| stacks.len())
        };
        assert_eq!(read(MOST_FRAMES), Ok(MOST_FRAMES));
        assert_eq!(read(MOST_FRAMES + 1), Err(DecodeError::StackTooDeep));
    }
}
