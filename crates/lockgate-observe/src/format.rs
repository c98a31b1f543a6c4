//! Compiler of access-log formats: text in, a list of parts out.
//!
//! Invariant: after compilation no part holds a line end, and every atom is one that the writer knows.

use std::fmt;

/// What is wrong with an access-log format, and where: positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadFormat {
    /// The text has no atom; most likely a misspelled format name.
    NoAtom {
        /// The whole text.
        text: String,
    },
    /// An atom that does not exist, such as `%(x)s`.
    UnknownAtom {
        /// The atom as it was written.
        atom: String,
        /// Where its `%` stands.
        position: usize,
    },
    /// A `%` that begins neither an atom nor `%%`.
    StrayPercent {
        /// Where it stands.
        position: usize,
    },
    /// `%(` without the `)s` that ends an atom.
    UnfinishedAtom {
        /// Where its `%` stands.
        position: usize,
    },
    /// A word behind `development` that is none of its options.
    UnknownOption {
        /// The word.
        option: String,
    },
    /// A line feed or another control character other than the tab: one request must stay one line.
    ControlCharacter {
        /// Where it stands.
        position: usize,
    },
}

impl fmt::Display for BadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAtom { text } => write!(
                f,
                "access log format {text:?} is not combined, common, json or development, and holds no atom such as %(h)s"
            ),
            Self::UnknownAtom { atom, position } => write!(
                f,
                "unknown atom {atom} at position {position} of the access log format: known are {KNOWN}"
            ),
            Self::StrayPercent { position } => write!(
                f,
                "stray % at position {position} of the access log format: write %% for a percent sign, %(h)s for an atom"
            ),
            Self::UnfinishedAtom { position } => write!(
                f,
                "unfinished atom at position {position} of the access log format: atoms look like %(h)s or %({{host}}i)s"
            ),
            Self::UnknownOption { option } => write!(
                f,
                "unknown option {option:?} of the access log format development: known are colour and slow=SECONDS"
            ),
            Self::ControlCharacter { position } => write!(
                f,
                "control character at position {position} of the access log format: one request is one line"
            ),
        }
    }
}

impl std::error::Error for BadFormat {}

const KNOWN: &str = "h l u t r m U q H s B b f a R T M D L p I X S Q, {name}i, {name}o and {name}e, each as %(atom)s";

/// One piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(Vec<u8>),
    /// `h`
    Client,
    /// `l`, the identity of RFC 1413: always `-`
    Identity,
    /// `u`
    User,
    /// `t`
    Time,
    /// `r`
    RequestLine,
    /// `m`
    Method,
    /// `U`
    Path,
    /// `q`
    Query,
    /// `H`
    Protocol,
    /// `s`
    Status,
    /// `B`
    BodyBytes,
    /// `b`
    BodyBytesOrDash,
    /// `f`
    Referer,
    /// `a`
    UserAgent,
    /// `R`, which is not gunicorn's
    Reason,
    /// `I`, which is not gunicorn's
    RequestId,
    /// `X`, which is not gunicorn's
    TraceId,
    /// `S`, which is not gunicorn's
    SpanId,
    /// `Q`, which is not gunicorn's
    QueuedBefore,
    /// `T`
    Seconds,
    /// `M`
    Milliseconds,
    /// `D`
    Microseconds,
    /// `L`
    DecimalSeconds,
    /// `p`
    ProcessId,
    /// `{name}i`
    RequestHeader(String),
    /// `{name}o`
    ResponseHeader(String),
    /// `{name}e`
    Environ(String),
}

/// Reads a format of atoms, such as `%(h)s "%(r)s" %(s)s`.
pub(crate) fn compile(text: &str) -> Result<Vec<Part>, BadFormat> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let position = text[..text.len() - rest.len()].chars().count() + 1;
        if character.is_control() && character != '\t' {
            return Err(BadFormat::ControlCharacter { position });
        }
        if character != '%' {
            let (plain, behind) = rest.split_at(character.len_utf8());
            literal.extend_from_slice(plain.as_bytes());
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("%%") {
            literal.push(b'%');
            rest = behind;
        } else {
            let (part, behind) = compile_atom(rest, position)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
            rest = behind;
        }
    }
    if parts.is_empty() {
        return Err(BadFormat::NoAtom {
            text: text.to_owned(),
        });
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// Reads the atom at the start of `text`; also returns the text after it.
fn compile_atom(text: &str, position: usize) -> Result<(Part, &str), BadFormat> {
    let inside = text
        .strip_prefix("%(")
        .ok_or(BadFormat::StrayPercent { position })?;
    let (name, behind) = inside
        .split_once(')')
        .ok_or(BadFormat::UnfinishedAtom { position })?;
    let part = atom(name).ok_or_else(|| BadFormat::UnknownAtom {
        atom: format!("%({name})s"),
        position,
    })?;
    // Formats come from Python's % operator, where numbers may also be written as %(D)d.
    let behind = match behind.strip_prefix('s') {
        Some(behind) => behind,
        None if part.is_number() => behind
            .strip_prefix('d')
            .ok_or(BadFormat::UnfinishedAtom { position })?,
        None => return Err(BadFormat::UnfinishedAtom { position }),
    };
    Ok((part, behind))
}

fn atom(name: &str) -> Option<Part> {
    if let Some(named) = name.strip_prefix('{') {
        let (name, kind) = named.rsplit_once('}')?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return None;
        }
        return match kind {
            "i" => Some(Part::RequestHeader(name.to_owned())),
            "o" => Some(Part::ResponseHeader(name.to_owned())),
            "e" => Some(Part::Environ(name.to_owned())),
            _ => None,
        };
    }
    Some(match name {
        "h" => Part::Client,
        "l" => Part::Identity,
        "u" => Part::User,
        "t" => Part::Time,
        "r" => Part::RequestLine,
        "m" => Part::Method,
        "U" => Part::Path,
        "q" => Part::Query,
        "H" => Part::Protocol,
        "s" => Part::Status,
        "B" => Part::BodyBytes,
        "b" => Part::BodyBytesOrDash,
        "f" => Part::Referer,
        "a" => Part::UserAgent,
        "R" => Part::Reason,
        "T" => Part::Seconds,
        "M" => Part::Milliseconds,
        "D" => Part::Microseconds,
        "L" => Part::DecimalSeconds,
        "p" => Part::ProcessId,
        "I" => Part::RequestId,
        "X" => Part::TraceId,
        "S" => Part::SpanId,
        "Q" => Part::QueuedBefore,
        _ => return None,
    })
}

impl Part {
    fn is_number(&self) -> bool {
        matches!(
            self,
            Self::BodyBytes | Self::Seconds | Self::Milliseconds | Self::Microseconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_becomes_its_parts() {
        let literal = |text: &str| Part::Literal(text.into());
        let table: &[(&str, Vec<Part>)] = &[
            ("%(h)s", vec![Part::Client]),
            ("%(U)s%(q)s", vec![Part::Path, Part::Query]),
            (
                "100%% \"%(r)s\"\té",
                vec![literal("100% \""), Part::RequestLine, literal("\"\té")],
            ),
            (
                "%(D)d %(B)d",
                vec![Part::Microseconds, literal(" "), Part::BodyBytes],
            ),
            ("%({X-Id}i)s", vec![Part::RequestHeader("X-Id".into())]),
            ("%({etag}o)s", vec![Part::ResponseHeader("etag".into())]),
            (
                "%({wsgi.url_scheme}e)ss",
                vec![Part::Environ("wsgi.url_scheme".into()), literal("s")],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(compile(text).as_ref(), Ok(expected), "for {text}");
        }
    }

    #[test]
    fn a_bad_format_names_its_fault_and_the_place() {
        let unknown = |atom: &str, position| BadFormat::UnknownAtom {
            atom: atom.into(),
            position,
        };
        let table: &[(&str, BadFormat)] = &[
            (
                "",
                BadFormat::NoAtom {
                    text: String::new(),
                },
            ),
            (
                "combind",
                BadFormat::NoAtom {
                    text: "combind".into(),
                },
            ),
            (
                "100%%",
                BadFormat::NoAtom {
                    text: "100%%".into(),
                },
            ),
            ("%(h)s %(x)s", unknown("%(x)s", 7)),
            ("é %(hh)s", unknown("%(hh)s", 3)),
            ("%({}i)s", unknown("%({}i)s", 1)),
            ("%({a}x)s", unknown("%({a}x)s", 1)),
            ("%({a)s", unknown("%({a)s", 1)),
            ("%({a\nb}i)s", unknown("%({a\nb}i)s", 1)),
            ("%h %s", BadFormat::StrayPercent { position: 1 }),
            ("%(h)s %", BadFormat::StrayPercent { position: 7 }),
            ("%(h", BadFormat::UnfinishedAtom { position: 1 }),
            ("%(h)", BadFormat::UnfinishedAtom { position: 1 }),
            ("%(h)d", BadFormat::UnfinishedAtom { position: 1 }),
            ("%(T)x", BadFormat::UnfinishedAtom { position: 1 }),
            ("%(h)s\n%(s)s", BadFormat::ControlCharacter { position: 6 }),
        ];
        for (text, expected) in table {
            assert_eq!(compile(text).as_ref(), Err(expected), "for {text}");
        }
    }

    #[test]
    fn the_message_shows_what_to_write_instead() {
        let message = compile("%(h)s %(x)s").unwrap_err().to_string();
        assert!(message.starts_with("unknown atom %(x)s at position 7 of the access log format"));
        assert!(message.contains("{name}i"));
    }
}
