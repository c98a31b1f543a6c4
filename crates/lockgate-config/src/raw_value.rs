//! Raw values, as an operator writes them in a flag, a variable or the file, and their interpretation by kind.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::kind::Kind;
use crate::memory::{MemoryBound, WHOLE};
use crate::notation::{duration_words, quoted, size_words};

/// A value as it was written. Flags and variables give text; the file gives types.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RawValue {
    Text(String),
    Integer {
        value: i64,
        radix: u32,
    },
    Float(f64),
    Boolean(bool),
    List(Vec<RawValue>),
    Table(Vec<Entry>),
    Date(String),
    /// Python's None.
    Null,
    /// Another object of Python, as Python shows it.
    Object(String),
}

/// One key of a table with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: RawValue,
    /// Its line, if the table is in the file.
    pub(crate) line: Option<usize>,
}

/// What is wrong with a value, and which part of it if it has several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValueError {
    /// The line of the part, where it is another one than the setting's.
    pub(crate) line: Option<usize>,
    pub(crate) piece: Option<String>,
    pub(crate) requirement: String,
}

impl From<String> for ValueError {
    fn from(requirement: String) -> Self {
        Self {
            line: None,
            piece: None,
            requirement,
        }
    }
}

impl From<&str> for ValueError {
    fn from(requirement: &str) -> Self {
        Self::from(requirement.to_owned())
    }
}

/// A raw value with the kind that its setting declares: the setting has the bounds, the parsing is done here.
#[derive(Clone, Copy)]
pub(crate) struct ValueReader<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) raw: &'a RawValue,
}

impl ValueReader<'_> {
    /// A whole number inside the bounds of the kind.
    pub(crate) fn number<N: TryFrom<u64>>(&self) -> Result<N, ValueError> {
        let (least, most, auto) = match *self.kind {
            Kind::Number { least, most, auto } => (least, most, auto),
            _ => (0, u64::MAX, false),
        };
        let or_auto = if auto { ", or \"auto\"" } else { "" };
        let number = match self.raw {
            RawValue::Integer { value, .. } => i128::from(*value),
            RawValue::Text(text) => match whole_number(text) {
                Some(number) => number,
                None => return Err(format!("must be a whole number{or_auto}").into()),
            },
            _ => return Err(format!("must be a whole number{or_auto}").into()),
        };
        if number < i128::from(least) {
            return Err(format!("must be at least {least}{or_auto}").into());
        }
        let too_large = || ValueError::from(format!("must be at most {most}{or_auto}"));
        if number > i128::from(most) {
            return Err(too_large());
        }
        let number = u64::try_from(number).map_err(|_| too_large())?;
        N::try_from(number).map_err(|_| too_large())
    }

    /// Whether the value is the word `auto`.
    pub(crate) fn is_auto(&self) -> bool {
        matches!(self.raw, RawValue::Text(text) if text.trim().eq_ignore_ascii_case("auto"))
    }

    /// A time of whole milliseconds inside the bounds of the kind; a bare number is seconds.
    pub(crate) fn duration(&self) -> Result<Duration, ValueError> {
        let zero = match self.kind {
            Kind::Duration { zero } => *zero,
            _ => Ok(""),
        };
        let milliseconds = match self.raw {
            RawValue::Integer { value, .. } => *value as f64 * 1000.0,
            RawValue::Float(seconds) => seconds * 1000.0,
            RawValue::Text(text) => match scaled(text, &DURATION_UNITS, 1000.0) {
                Some(milliseconds) => milliseconds,
                None => return Err(NOT_A_DURATION.into()),
            },
            _ => return Err(NOT_A_DURATION.into()),
        };
        if !milliseconds.is_finite() {
            return Err(NOT_A_DURATION.into());
        }
        if milliseconds < 0.0 {
            return Err("must not be negative".into());
        }
        if milliseconds == 0.0 {
            return match zero {
                Ok(_) => Ok(Duration::ZERO),
                Err(advice) => Err(format!("must be greater than 0: {advice}").into()),
            };
        }
        let milliseconds = milliseconds.round();
        if milliseconds < 1.0 {
            return Err("must be at least 1ms".into());
        }
        if milliseconds > LONGEST_DURATION.as_secs_f64() * 1000.0 {
            return Err("must be at most 8760h, a year".into());
        }
        // Between 1 and a year of milliseconds: exact in both types.
        Ok(Duration::from_millis(milliseconds as u64))
    }

    /// A time of whole microseconds inside the bounds of the kind; a bare number is seconds.
    pub(crate) fn interval(&self) -> Result<Duration, ValueError> {
        let (least, most) = match self.kind {
            Kind::Interval { least, most } => (*least, *most),
            _ => (Duration::ZERO, LONGEST_DURATION),
        };
        let milliseconds = match self.raw {
            RawValue::Integer { value, .. } => Some(*value as f64 * 1000.0),
            RawValue::Float(seconds) => Some(seconds * 1000.0),
            RawValue::Text(text) => scaled(text, &DURATION_UNITS, 1000.0),
            _ => None,
        };
        let Some(milliseconds) = milliseconds.filter(|number| number.is_finite()) else {
            return Err(NOT_AN_INTERVAL.into());
        };
        let microseconds = (milliseconds * 1000.0).round();
        let (lowest, highest) = (least.as_micros() as f64, most.as_micros() as f64);
        if microseconds < lowest {
            return Err(format!("must be at least {}", duration_words(least)).into());
        }
        if microseconds > highest {
            return Err(format!("must be at most {}", duration_words(most)).into());
        }
        // Not negative, and at most a year of microseconds: exact in both types.
        Ok(Duration::from_micros(microseconds as u64))
    }

    /// A number of bytes inside the bounds of the kind; a bare number is bytes.
    pub(crate) fn size<N: TryFrom<u64>>(&self) -> Result<N, ValueError> {
        let (least, most, zero) = match self.kind {
            Kind::Size { least, most, zero } => (*least, *most, *zero),
            _ => (0, u64::MAX, Ok("")),
        };
        let bytes = match self.raw {
            RawValue::Integer { value, .. } if *value < 0 => {
                return Err("must not be negative".into());
            }
            RawValue::Integer { value, .. } => *value as f64,
            RawValue::Text(text) => match scaled(text, &SIZE_UNITS, 1.0) {
                Some(bytes) if bytes < 0.0 => return Err("must not be negative".into()),
                Some(bytes) if bytes.fract() == 0.0 => bytes,
                _ => return Err(NOT_A_SIZE.into()),
            },
            _ => return Err(NOT_A_SIZE.into()),
        };
        if bytes == 0.0
            && let Err(advice) = zero
        {
            return Err(format!("must be greater than 0: {advice}").into());
        }
        if bytes != 0.0 && bytes < least as f64 {
            return Err(format!("must be at least {}", size_words(least)).into());
        }
        let too_large = || ValueError::from(format!("must be at most {}", size_words(most)));
        if bytes > most as f64 {
            return Err(too_large());
        }
        // The largest bound of any setting is far below 2^53, so the value is exact.
        N::try_from(bytes as u64).map_err(|_| too_large())
    }

    /// A number of bytes or a percentage, as a bound for one worker.
    pub(crate) fn memory(&self) -> Result<MemoryBound, ValueError> {
        let least = match self.kind {
            Kind::Memory { least, .. } => *least,
            _ => 0,
        };
        if matches!(self.raw, RawValue::Text(text) if text.trim_end().ends_with('%')) {
            return match self.percentage()? {
                0 => Err("must be more than 0%: to disable the limit write 0".into()),
                share => Ok(MemoryBound::Share(share)),
            };
        }
        let kind = Kind::Size {
            least,
            most: MOST_MEMORY,
            zero: Ok(""),
        };
        let raw = self.raw;
        let size = ValueReader { kind: &kind, raw };
        size.size().map(MemoryBound::Bytes).map_err(|error| {
            if error.requirement == NOT_A_SIZE {
                format!("{NOT_A_SIZE}, or a percentage such as 25%").into()
            } else {
                error
            }
        })
    }

    /// Hundredths of a per cent, at most a whole.
    pub(crate) fn percentage(&self) -> Result<u32, ValueError> {
        let number = match self.raw {
            RawValue::Text(text) => text.trim_end().strip_suffix('%'),
            _ => None,
        };
        let hundredths = number
            .and_then(|number| scaled(number, &[], 100.0))
            .ok_or(NOT_A_PERCENTAGE)?;
        let rounded = hundredths.round();
        if !(0.0..=f64::from(WHOLE)).contains(&hundredths) {
            return Err("must be from 0% to 100%".into());
        }
        if rounded == 0.0 && hundredths > 0.0 {
            return Err("must be 0%, or at least 0.01%".into());
        }
        // Between 0 and 10,000: exact in both types.
        Ok(rounded as u32)
    }

    /// `true` or `false`, and in variables the usual words for them.
    pub(crate) fn switch(&self) -> Result<bool, ValueError> {
        match self.raw {
            RawValue::Boolean(value) => Ok(*value),
            RawValue::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Ok(true),
                "0" | "false" | "no" | "off" => Ok(false),
                _ => Err("must be true or false".into()),
            },
            _ => Err("must be true or false".into()),
        }
    }

    /// Text without NUL or line ends. Whole numbers are accepted as their digits.
    pub(crate) fn text(&self) -> Result<String, ValueError> {
        one_line(self.raw)
    }

    /// Text; blank text counts as none.
    pub(crate) fn optional_text(&self) -> Result<Option<String>, ValueError> {
        let text = self.text()?;
        let text = text.trim();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// A path; empty text means none.
    pub(crate) fn optional_path(&self) -> Result<Option<PathBuf>, ValueError> {
        let text = self.text()?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    /// The items of a list. Text is split at `separator`; blanks around an item and empty items are ignored.
    pub(crate) fn items(&self, separator: char) -> Result<Vec<String>, ValueError> {
        let mut items = Vec::new();
        let texts = match self.raw {
            RawValue::List(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        for item in texts {
            let RawValue::Text(text) = item else {
                return Err("must be text or a list of texts".into());
            };
            let pieces = text
                .split(separator)
                .map(str::trim)
                .filter(|piece| !piece.is_empty());
            for piece in pieces {
                items.push(one_line(&RawValue::Text(piece.to_owned()))?);
            }
        }
        Ok(items)
    }
}

const NOT_A_DURATION: &str = "must be a time, such as 30, 1.5, 500ms, 30s, 2m, 1h or 7d";
const NOT_AN_INTERVAL: &str = "must be a time, such as 5ms, 500us or 0.005";
const NOT_A_SIZE: &str = "must be a size in bytes, such as 1048576, 512KiB, 64K or 1GiB";
const NOT_A_PERCENTAGE: &str = "must be a percentage, such as 5% or 12.5%";
/// More than any host has.
const MOST_MEMORY: u64 = 1 << 50;
const LONGEST_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// In milliseconds. Longer spellings first: `ms` also ends in `s`.
const DURATION_UNITS: [(&str, f64); 6] = [
    ("us", 1e-3),
    ("ms", 1.0),
    ("s", 1e3),
    ("m", 60e3),
    ("h", 3600e3),
    ("d", 86_400e3),
];

/// K, M and G alone are powers of 1024, the usual meaning of `64K`; KB, MB and GB are the decimal units of SI.
const SIZE_UNITS: [(&str, f64); 10] = [
    ("kib", 1024.0),
    ("mib", 1048576.0),
    ("gib", 1073741824.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("k", 1024.0),
    ("m", 1048576.0),
    ("g", 1073741824.0),
    ("b", 1.0),
];

fn whole_number(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Only overflow can fail here; a number that long exceeds every bound.
    is_number.then(|| {
        text.parse().unwrap_or(if digits.len() < text.len() {
            i128::MIN
        } else {
            i128::MAX
        })
    })
}

/// A decimal number with an optional unit, multiplied by the unit's factor, or by `bare` when it has none.
fn scaled(text: &str, units: &[(&str, f64)], bare: f64) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    let with_unit = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)));
    let (digits, factor) = with_unit.unwrap_or((&text, bare));
    // Rust's float grammar also accepts `inf`, `nan` and exponents, which are not valid settings.
    let is_decimal = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    if !is_decimal {
        return None;
    }
    digits.parse::<f64>().ok().map(|number| number * factor)
}

pub(crate) fn one_line(raw: &RawValue) -> Result<String, ValueError> {
    let text = match raw {
        RawValue::Text(text) => text.clone(),
        RawValue::Integer { value, radix: 10 } => value.to_string(),
        _ => return Err("must be text".into()),
    };
    if text.contains(['\0', '\n', '\r']) {
        return Err("must not contain NUL or a line break".into());
    }
    Ok(text)
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Flags and variables are text throughout: a number reads best without quotes.
            Self::Text(text) if whole_number(text).is_some() => f.write_str(text),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Integer { value, radix: 8 } => write!(f, "0o{value:o}"),
            Self::Integer { value, .. } => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Date(shown) | Self::Object(shown) => f.write_str(shown),
            Self::Null => f.write_str("None"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Table(_) => f.write_str("{ … }"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notation::{duration_text, size_text};

    fn text(text: &str) -> RawValue {
        RawValue::Text(text.to_owned())
    }

    #[test]
    fn durations_are_read_in_every_unit() {
        let kind = Kind::Duration { zero: Ok("off") };
        let cases = [
            (text("30"), Some(30_000)),
            (text("30s"), Some(30_000)),
            (text("30 S"), Some(30_000)),
            (text("1.5"), Some(1_500)),
            (text(".5"), Some(500)),
            (text("500ms"), Some(500)),
            (text("2m"), Some(120_000)),
            (text("1h"), Some(3_600_000)),
            (text("0"), Some(0)),
            (text("0s"), Some(0)),
            (text("0.0001"), None),
            (text("8760h"), Some(31_536_000_000)),
            (text("8761h"), None),
            (
                RawValue::Integer {
                    value: 7,
                    radix: 10,
                },
                Some(7_000),
            ),
            (RawValue::Float(0.25), Some(250)),
            (RawValue::Float(f64::NAN), None),
            (RawValue::Float(f64::INFINITY), None),
            (RawValue::Boolean(true), None),
            (
                RawValue::Integer {
                    value: i64::MAX,
                    radix: 10,
                },
                None,
            ),
            (text("-1"), None),
            (text("inf"), None),
            (text("1e3"), None),
            (text("1d"), Some(86_400_000)),
            (text("1w"), None),
            (text("30x"), None),
            (text("s"), None),
            (text(""), None),
        ];
        for (raw, expected) in cases {
            let read = ValueReader {
                kind: &kind,
                raw: &raw,
            }
            .duration();
            assert_eq!(
                read.clone().ok(),
                expected.map(Duration::from_millis),
                "{raw}: {read:?}"
            );
        }
    }

    #[test]
    fn intervals_are_read_to_the_microsecond_inside_their_bounds() {
        let kind = Kind::Interval {
            least: Duration::from_micros(100),
            most: Duration::from_secs(1),
        };
        let cases = [
            (text("5ms"), Ok(5_000)),
            (text("0.5ms"), Ok(500)),
            (text("500us"), Ok(500)),
            (text("0.0002"), Ok(200)),
            (text("1"), Ok(1_000_000)),
            (RawValue::Float(0.001), Ok(1_000)),
            (text("99us"), Err("must be at least 100us")),
            (text("0"), Err("must be at least 100us")),
            (text("-1"), Err("must be at least 100us")),
            (text("1.1s"), Err("must be at most 1s")),
            (text("soon"), Err(NOT_AN_INTERVAL)),
            (RawValue::Float(f64::NAN), Err(NOT_AN_INTERVAL)),
            (RawValue::Boolean(true), Err(NOT_AN_INTERVAL)),
        ];
        for (raw, expected) in cases {
            let reader = ValueReader {
                kind: &kind,
                raw: &raw,
            };
            let read = reader.interval().map_err(|error| error.requirement);
            let expected = expected.map(Duration::from_micros).map_err(str::to_owned);
            assert_eq!(read, expected, "{raw}");
            if let Ok(interval) = read {
                let again = text(duration_text(interval).trim_matches('"'));
                let reader = ValueReader {
                    kind: &kind,
                    raw: &again,
                };
                assert_eq!(reader.interval(), Ok(interval), "{raw}");
            }
        }
    }

    #[test]
    fn sizes_are_read_in_every_unit() {
        let kind = Kind::Size {
            least: 2,
            most: 1 << 40,
            zero: Ok("unlimited"),
        };
        let cases = [
            (text("1048576"), Some(1 << 20)),
            (text("512KiB"), Some(512 << 10)),
            (text("1GiB"), Some(1 << 30)),
            (text("64K"), Some(64 << 10)),
            (text("64 k"), Some(64 << 10)),
            (text("1MB"), Some(1_000_000)),
            (text("1.5M"), Some(3 << 19)),
            (text("100b"), Some(100)),
            (text("0"), Some(0)),
            (text("1"), None),
            (text("1.5"), None),
            (text("1025GiB"), None),
            (text("-1"), None),
            (text("1TiB"), None),
            (text("big"), None),
            (text(""), None),
            (
                RawValue::Integer {
                    value: 64,
                    radix: 10,
                },
                Some(64),
            ),
            (
                RawValue::Integer {
                    value: -1,
                    radix: 10,
                },
                None,
            ),
            (RawValue::Float(64.0), None),
        ];
        for (raw, expected) in cases {
            let read = ValueReader {
                kind: &kind,
                raw: &raw,
            }
            .size::<u64>();
            assert_eq!(read.clone().ok(), expected, "{raw}: {read:?}");
        }
    }

    #[test]
    fn memory_is_read_as_a_size_or_a_percentage() {
        let kind = Kind::Memory {
            least: 16 << 20,
            zero: "none",
        };
        let not_a_size = format!("{NOT_A_SIZE}, or a percentage such as 25%");
        let cases = [
            (text("400MiB"), Ok(MemoryBound::Bytes(400 << 20))),
            (text("0"), Ok(MemoryBound::Bytes(0))),
            (text("25%"), Ok(MemoryBound::Share(2500))),
            (text(" 12.5 % "), Ok(MemoryBound::Share(1250))),
            (text("100%"), Ok(MemoryBound::Share(WHOLE))),
            (text("1MiB"), Err("must be at least 16MiB")),
            (
                text("0%"),
                Err("must be more than 0%: to disable the limit write 0"),
            ),
            (text("101%"), Err("must be from 0% to 100%")),
            (text("-1%"), Err("must be from 0% to 100%")),
            (text("0.001%"), Err("must be 0%, or at least 0.01%")),
            (text("%"), Err(NOT_A_PERCENTAGE)),
            (text("x%"), Err(NOT_A_PERCENTAGE)),
            (text("much"), Err(not_a_size.as_str())),
            (RawValue::Boolean(true), Err(not_a_size.as_str())),
        ];
        for (raw, expected) in cases {
            let reader = ValueReader {
                kind: &kind,
                raw: &raw,
            };
            let read = reader.memory().map_err(|error| error.requirement);
            assert_eq!(read, expected.map_err(str::to_owned), "{raw}");
            if let Ok(bound) = read {
                let again = text(bound.text().trim_matches('"'));
                let reader = ValueReader {
                    kind: &kind,
                    raw: &again,
                };
                assert_eq!(reader.memory(), Ok(bound), "{raw}");
            }
        }
    }

    #[test]
    fn a_zero_that_is_refused_says_what_to_do_instead() {
        let time = Kind::Duration {
            zero: Err("write 1h"),
        };
        let size = Kind::Size {
            least: 1,
            most: 9,
            zero: Err("write 9"),
        };
        let raw = text("0");
        let error = ValueReader {
            kind: &time,
            raw: &raw,
        }
        .duration()
        .unwrap_err();
        assert_eq!(error.requirement, "must be greater than 0: write 1h");
        let error = ValueReader {
            kind: &size,
            raw: &raw,
        }
        .size::<u64>()
        .unwrap_err();
        assert_eq!(error.requirement, "must be greater than 0: write 9");
    }

    #[test]
    fn numbers_keep_to_their_bounds_and_types() {
        let kind = Kind::Number {
            least: 1,
            most: 300,
            auto: true,
        };
        let huge = "9".repeat(60);
        let cases = [
            (text("1"), Ok(1)),
            (text(" 255 "), Ok(255)),
            (text("007"), Ok(7)),
            (text("0"), Err("must be at least 1, or \"auto\"")),
            (text("-3"), Err("must be at least 1, or \"auto\"")),
            (text("256"), Err("must be at most 300, or \"auto\"")),
            (text("301"), Err("must be at most 300, or \"auto\"")),
            (text(&huge), Err("must be at most 300, or \"auto\"")),
            (text("two"), Err("must be a whole number, or \"auto\"")),
            (text("1.0"), Err("must be a whole number, or \"auto\"")),
            (text("+1"), Err("must be a whole number, or \"auto\"")),
            (
                RawValue::Float(1.0),
                Err("must be a whole number, or \"auto\""),
            ),
            (
                RawValue::Integer {
                    value: 16,
                    radix: 16,
                },
                Ok(16),
            ),
        ];
        for (raw, expected) in cases {
            let read = ValueReader {
                kind: &kind,
                raw: &raw,
            }
            .number::<u8>();
            assert_eq!(
                read.map_err(|error| error.requirement),
                expected.map_err(str::to_owned),
                "{raw}"
            );
        }
    }

    #[test]
    fn what_is_written_for_the_file_is_read_back() {
        for milliseconds in [1, 999, 1_000, 1_500, 90_000, 3_600_000] {
            let duration = Duration::from_millis(milliseconds);
            let table =
                toml::de::DeTable::parse(&format!("x = {}", duration_text(duration))).is_ok();
            assert!(table, "{milliseconds}");
            let raw = text(duration_text(duration).trim_matches('"'));
            let reader = ValueReader {
                kind: &Kind::Duration { zero: Ok("") },
                raw: &raw,
            };
            assert_eq!(reader.duration(), Ok(duration));
        }
        for bytes in [0_u64, 1, 1000, 1024, 1536, 1 << 20, 3 << 30] {
            let raw = text(size_text(bytes).trim_matches('"'));
            let reader = ValueReader {
                kind: &Kind::Size {
                    least: 0,
                    most: 1 << 40,
                    zero: Ok(""),
                },
                raw: &raw,
            };
            assert_eq!(reader.size(), Ok(bytes));
        }
        for odd in ["", "a\"b\\c", "tab\t nul\0 é \u{7f}", "\r\n"] {
            let file = format!("x = {}", quoted(odd));
            let table: toml::Table = file.parse().expect(&file);
            assert_eq!(table["x"].as_str(), Some(odd));
        }
    }
}
