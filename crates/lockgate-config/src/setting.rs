//! The declaration of one setting: names, kind, documentation, and how its value is read and shown.

use std::fmt;
use std::time::Duration;

use crate::config::Config;
use crate::memory::MemoryBound;
use crate::raw_value::{RawValue, ValueError, ValueReader, duration_words, size_words};
use crate::{AppSpec, Threads};

/// One setting. Its documentation and its flags, keys and variables are all derived from this value.
pub struct Setting {
    /// Its canonical name in snake case: the key in the file, and, in capitals after `LOCKGATE_`, the variable.
    pub name: &'static str,
    /// Its section of the reference.
    pub section: Section,
    /// Its one-letter flag.
    pub short: Option<char>,
    /// Its long flags without dashes, the preferred one first.
    pub flags: &'static [&'static str],
    /// How often and in what form it is given.
    pub shape: Shape,
    /// The values that it accepts.
    pub kind: Kind,
    /// One paragraph; its first sentence is the summary.
    pub doc: &'static str,
    /// gunicorn's names for it in Python; the file accepts them too.
    pub gunicorn: &'static [&'static str],
    /// uWSGI's names for it, or for its closest equivalent.
    pub uwsgi: &'static [&'static str],
    pub(crate) read: fn(&mut ConfigBuilder, ValueReader<'_>) -> Result<(), ValueError>,
    pub(crate) show: fn(&ConfigBuilder) -> String,
}

/// The sections of the reference, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The application to serve.
    Application,
    /// Listen addresses.
    Sockets,
    /// Concurrency.
    Workers,
    /// How workers start, and when they are replaced.
    Renewal,
    /// Timeouts and minimum rates.
    Deadlines,
    /// Size limits.
    Limits,
    /// Trusted proxies.
    Proxies,
    /// Headers that the server adds to responses, and how responses are sent.
    Responses,
    /// How Python is run.
    Interpreter,
    /// Logs.
    Logging,
    /// The process as the system sees it.
    Process,
}

/// How often and in what form a setting is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The positional argument.
    Argument,
    /// Once; the last flag wins.
    Value,
    /// Several flags, or a list in the file.
    List,
    /// Once; a flag without a value means this one.
    ValueOrBare(&'static str),
    /// `--name` and `--no-name`.
    Switch,
}

/// The values that a setting accepts. Where zero is special, `Ok` says what it means and `Err` what to write instead.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `module:attribute` or a file.
    Application,
    /// An address to listen on.
    Address,
    /// An address that only this machine can reach, or none.
    AdminAddress,
    /// A whole number.
    Number {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
        /// Whether `auto` is accepted too.
        auto: bool,
    },
    /// A time; a bare number is seconds.
    Duration {
        /// The meaning of zero.
        zero: Result<&'static str, &'static str>,
    },
    /// A short time in whole microseconds; a bare number is seconds.
    Interval {
        /// Shortest.
        least: Duration,
        /// Longest.
        most: Duration,
    },
    /// A number of bytes.
    Size {
        /// Smallest, apart from zero.
        least: u64,
        /// Largest.
        most: u64,
        /// The meaning of zero.
        zero: Result<&'static str, &'static str>,
    },
    /// A number of bytes, or a percentage of the memory that the workers may use together.
    Memory {
        /// Fewest bytes, apart from zero.
        least: u64,
        /// The meaning of zero.
        zero: &'static str,
    },
    /// A percentage, to a hundredth.
    Percentage,
    /// `true` or `false`.
    Switch,
    /// Text on one line.
    Text,
    /// A path.
    Path,
    /// `KEY=VALUE`.
    Assignment,
    /// An address, a network or `*`.
    Network,
    /// The name of a header field.
    FieldName,
    /// `-` for a standard stream, or a path.
    LogTarget {
        /// Whether there may be no log.
        optional: bool,
    },
    /// One of the words.
    Word(&'static [&'static str]),
    /// A file mode in octal.
    Mode,
}

/// A configuration under construction, with the values that [`Config`] cannot express yet.
#[derive(Clone)]
pub(crate) struct ConfigBuilder {
    pub(crate) config: Config,
    pub(crate) app: Option<AppSpec>,
    pub(crate) workers: Threads,
    pub(crate) max_worker_memory: MemoryBound,
    pub(crate) max_worker_memory_hard: MemoryBound,
}

impl ConfigBuilder {
    pub(crate) fn new() -> Self {
        let nothing = AppSpec::Module {
            module: String::new(),
            attribute: None,
        };
        Self {
            config: Config::with_defaults(nothing),
            app: None,
            workers: Threads::Auto,
            max_worker_memory: MemoryBound::Bytes(0),
            max_worker_memory_hard: MemoryBound::Bytes(0),
        }
    }
}

impl Setting {
    /// The name of its environment variable.
    pub fn variable(&self) -> String {
        format!("LOCKGATE_{}", self.name.to_ascii_uppercase())
    }

    /// Its preferred flag with dashes; none for the application.
    pub fn flag(&self) -> Option<String> {
        self.flags.first().map(|flag| format!("--{flag}"))
    }

    /// Every flag with dashes, as written: short, long, and the negations of a switch.
    pub fn spellings(&self) -> Vec<String> {
        let mut spellings: Vec<String> = self
            .short
            .map(|short| format!("-{short}"))
            .into_iter()
            .collect();
        spellings.extend(self.flags.iter().map(|flag| format!("--{flag}")));
        if self.shape == Shape::Switch {
            spellings.extend(self.flags.iter().map(|flag| format!("--no-{flag}")));
        }
        spellings
    }

    /// The first sentence of its doc, without the full stop.
    pub fn summary(&self) -> &'static str {
        let end = self
            .doc
            .find(". ")
            .or_else(|| self.doc.rfind('.'))
            .unwrap_or(self.doc.len());
        &self.doc[..end]
    }

    /// Its default, as written in the file.
    pub fn default_text(&self) -> String {
        (self.show)(&ConfigBuilder::new())
    }

    pub(crate) fn apply(
        &self,
        builder: &mut ConfigBuilder,
        raw: &RawValue,
    ) -> Result<(), ValueError> {
        (self.read)(
            builder,
            ValueReader {
                kind: &self.kind,
                raw,
            },
        )
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Setting").field(&self.name).finish()
    }
}

impl Section {
    /// Every section, in order.
    pub const ALL: [Self; 11] = [
        Self::Application,
        Self::Sockets,
        Self::Workers,
        Self::Renewal,
        Self::Deadlines,
        Self::Limits,
        Self::Proxies,
        Self::Responses,
        Self::Interpreter,
        Self::Logging,
        Self::Process,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Sockets => "Sockets",
            Self::Workers => "Workers and threads",
            Self::Renewal => "New workers",
            Self::Deadlines => "Deadlines",
            Self::Limits => "Limits",
            Self::Proxies => "Proxies",
            Self::Responses => "Responses",
            Self::Interpreter => "Interpreter",
            Self::Logging => "Logging",
            Self::Process => "Process",
        }
    }
}

impl Kind {
    /// The placeholder for the value in the help.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Application => "APP",
            Self::Address | Self::AdminAddress => "ADDRESS",
            Self::Number { .. } => "N",
            Self::Duration { .. } | Self::Interval { .. } => "TIME",
            Self::Size { .. } | Self::Memory { .. } => "SIZE",
            Self::Percentage => "PERCENT",
            Self::Switch => "BOOL",
            Self::Text => "TEXT",
            Self::Path => "PATH",
            Self::Assignment => "KEY=VALUE",
            Self::Network => "NETWORK",
            Self::FieldName => "NAME",
            Self::LogTarget { .. } => "FILE",
            Self::Word(_) => "WORD",
            Self::Mode => "MODE",
        }
    }

    /// The values that it accepts, in words.
    pub fn accepts(&self) -> String {
        match self {
            Self::Application => {
                "`module`, `module:attribute`, `module:factory(…)`, `file.py`, `file.py:attribute`"
                    .into()
            }
            Self::AdminAddress => {
                "`unix:PATH`, `unix:@NAME`, `127.0.0.1:PORT`, `[::1]:PORT`, `localhost:PORT`, `systemd:NAME`, or `none`"
                    .into()
            }
            Self::Address => {
                "`HOST:PORT`, `HOST`, `:PORT`, `[IPv6]:PORT`, `unix:PATH`, `unix:@NAME`, `fd://N`, `systemd`, `systemd:NAME`"
                    .into()
            }
            Self::Number { least, most, auto } => {
                format!(
                    "whole number from {least} to {most}{}",
                    if *auto { ", or `auto`" } else { "" }
                )
            }
            Self::Duration { zero } => format!(
                "time, in seconds unless it has a unit; {}",
                zero_words(*zero)
            ),
            Self::Interval { least, most } => format!(
                "time, in seconds unless it has a unit, from {} to {}",
                duration_words(*least),
                duration_words(*most)
            ),
            Self::Size { least, most, zero } => {
                format!(
                    "size, in bytes unless it has a unit, from {} to {}; {}",
                    size_words(*least),
                    size_words(*most),
                    zero_words(*zero)
                )
            }
            Self::Memory { least, zero } => format!(
                "size of at least {}, or a percentage such as `25%` of the control group's memory limit, or where it has none \
                 of the host's memory; 0: {zero}",
                size_words(*least)
            ),
            Self::Percentage => "percentage from `0%` to `100%`".into(),
            Self::Switch => "`true` or `false`".into(),
            Self::Text => "text".into(),
            Self::Path => "path".into(),
            Self::Assignment => "`KEY=VALUE`".into(),
            Self::Network => "an address, a network such as `10.0.0.0/8`, or `*`".into(),
            Self::FieldName => "name of a header, or `*`".into(),
            Self::LogTarget { optional: true } => "`-`, a path, or `none`".into(),
            Self::LogTarget { optional: false } => "`-` or a path".into(),
            Self::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(", ")
            }
            Self::Mode => "octal with a leading zero, from `0` to `0777`".into(),
        }
    }
}

fn zero_words(zero: Result<&'static str, &'static str>) -> String {
    match zero {
        Ok(meaning) => format!("0: {meaning}"),
        Err(advice) => format!("0 is refused: {advice}"),
    }
}
