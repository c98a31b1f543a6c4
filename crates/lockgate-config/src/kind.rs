//! The kinds of values that settings accept, and how the reference describes them.

use std::time::Duration;

use crate::notation::{duration_words, size_words};

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
    /// Directories that are served at a path.
    StaticMount,
    /// `KEY=VALUE`.
    Assignment,
    /// An address, a network or `*`.
    Network,
    /// The name of a header field.
    FieldName,
    /// A certificate with its key.
    Certificate,
    /// The name of a site, or its IP address.
    Domain,
    /// An address on the web.
    Url,
    /// `-` for a standard stream, or a path.
    LogTarget {
        /// Whether there may be no log.
        optional: bool,
    },
    /// One of the words.
    Word(&'static [&'static str]),
    /// A file mode in octal.
    Mode,
    /// Something that only this setting has.
    Special {
        /// Its placeholder in the help.
        placeholder: &'static str,
        /// What it accepts, in words.
        accepts: &'static str,
    },
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
            Self::StaticMount => "/PATH=DIR",
            Self::Assignment => "KEY=VALUE",
            Self::Network => "NETWORK",
            Self::FieldName => "NAME",
            Self::Certificate => "CERTFILE:KEYFILE",
            Self::Domain => "DOMAIN",
            Self::Url => "URL",
            Self::LogTarget { .. } => "FILE",
            Self::Word(_) => "WORD",
            Self::Mode => "MODE",
            Self::Special { placeholder, .. } => placeholder,
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
                "`HOST:PORT`, `HOST`, `:PORT`, `[IPv6]:PORT`, `https://HOST:PORT`, `http://HOST:PORT`, `unix:PATH`, `unix:@NAME`, `fd://N`, `systemd`, `systemd:NAME`, or any of them after `uwsgi://`"
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
                "size of at least {}, or a percentage such as `25%` of the control group's memory limit, or of the host's memory \
                 if there is no limit; 0: {zero}",
                size_words(*least)
            ),
            Self::Percentage => "percentage from `0%` to `100%`".into(),
            Self::Switch => "`true` or `false`".into(),
            Self::Text => "text".into(),
            Self::Path => "path".into(),
            Self::StaticMount => {
                "`/PATH=DIR`, or in the file a table `{ path = …, dir = … }` with `dirs`, `index`, `immutable`, `max_age`, `headers`, `internal` and `fallthrough`; or `auto` alone"
                    .into()
            }
            Self::Assignment => "`KEY=VALUE`".into(),
            Self::Network => "an address, a network such as `10.0.0.0/8`, or `*`".into(),
            Self::FieldName => "name of a header, or `*`".into(),
            Self::Certificate => {
                "`CERTFILE:KEYFILE`, `CERTFILE`, or in the file a table `{ certfile = …, keyfile = …, keyfile_password_file = … }`"
                    .into()
            }
            Self::Domain => "host name, such as `shop.example`, or IP address".into(),
            Self::Url => "URL that begins with `https://`".into(),
            Self::LogTarget { optional: true } => "`-`, a path, or `none`".into(),
            Self::LogTarget { optional: false } => "`-` or a path".into(),
            Self::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(", ")
            }
            Self::Mode => "octal with a leading zero, from `0` to `0777`".into(),
            Self::Special { accepts, .. } => (*accepts).into(),
        }
    }
}

fn zero_words(zero: Result<&'static str, &'static str>) -> String {
    match zero {
        Ok(meaning) => format!("0: {meaning}"),
        Err(advice) => format!("0 is refused: {advice}"),
    }
}
