//! The declaration of one setting: names, kind, documentation, and how its value is read and shown.

use std::fmt;

use crate::builder::ConfigBuilder;
use crate::kind::Kind;
use crate::raw_value::{RawValue, ValueError, ValueReader};

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
    /// Certificates, TLS connections and what their responses are like.
    Https,
    /// Certificates that a certificate authority issues by itself.
    Acme,
    /// HTTP/2.
    Http2,
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
    /// Applications, redirects and rules by host and path.
    Routes,
    /// How often a client may come.
    RateLimits,
    /// Who may come.
    Access,
    /// Ids, traces and spans of requests.
    Identity,
    /// Sessions of the applications.
    Sessions,
    /// Files that are served without the application.
    StaticFiles,
    /// Compression of responses.
    Compression,
    /// The response cache.
    Cache,
    /// Held connections and publishing.
    Push,
    /// How Python is run.
    Interpreter,
    /// Logs.
    Logging,
    /// What applications and operators of uWSGI find again.
    Uwsgi,
    /// Metrics that are sent to statsd.
    Statsd,
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
    /// Tables of the file; there is neither a flag nor a variable.
    Tables,
    /// Once; a flag without a value means this one.
    ValueOrBare(&'static str),
    /// `--name` and `--no-name`.
    Switch,
}

impl Setting {
    /// The name of its environment variable, unless it is for the file only.
    pub fn variable(&self) -> Option<String> {
        let variable = format!("LOCKGATE_{}", self.name.to_ascii_uppercase());
        (self.shape != Shape::Tables).then_some(variable)
    }

    /// What to do with it elsewhere than in the file, if it is for the file only.
    pub(crate) fn file_only(&self) -> Option<String> {
        let is_table = self.shape == Shape::Tables;
        is_table.then(|| format!("is available in the file only: [[{}]]", self.name))
    }

    /// Its preferred flag with dashes; none for the application and for what is in the file only.
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
    pub const ALL: [Self; 25] = [
        Self::Application,
        Self::Sockets,
        Self::Https,
        Self::Acme,
        Self::Http2,
        Self::Workers,
        Self::Renewal,
        Self::Deadlines,
        Self::Limits,
        Self::Proxies,
        Self::Responses,
        Self::Routes,
        Self::RateLimits,
        Self::Access,
        Self::Identity,
        Self::Sessions,
        Self::StaticFiles,
        Self::Compression,
        Self::Cache,
        Self::Push,
        Self::Interpreter,
        Self::Logging,
        Self::Uwsgi,
        Self::Statsd,
        Self::Process,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Sockets => "Sockets",
            Self::Https => "HTTPS",
            Self::Acme => "Automatic certificates (ACME)",
            Self::Http2 => "HTTP/2",
            Self::Workers => "Workers and threads",
            Self::Renewal => "New workers",
            Self::Deadlines => "Deadlines",
            Self::Limits => "Limits",
            Self::Proxies => "Proxies",
            Self::Responses => "Responses",
            Self::Routes => "Routes",
            Self::RateLimits => "Rate limits",
            Self::Access => "Access",
            Self::Identity => "Identity of requests",
            Self::Sessions => "Sessions",
            Self::StaticFiles => "Static files",
            Self::Compression => "Compression",
            Self::Cache => "Cache",
            Self::Push => "Held connections and publishing",
            Self::Interpreter => "Interpreter",
            Self::Logging => "Logging",
            Self::Uwsgi => "uWSGI",
            Self::Statsd => "Statsd",
            Self::Process => "Process",
        }
    }
}
