//! Configuration errors: each message says what is wrong, with which value, where, and what to do.

use crate::{ConfSource, HookName, Origin};
use std::fmt;

/// One reason why the configuration is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// A flag that does not exist.
    UnknownFlag {
        /// As written.
        flag: String,
        /// The flag that was probably meant.
        suggestion: Option<String>,
    },
    /// A flag without its value.
    MissingValue {
        /// The flag.
        flag: String,
    },
    /// A value for a flag that takes none.
    NeedlessValue {
        /// The flag.
        flag: String,
    },
    /// An argument after the application.
    SecondApplication {
        /// As written.
        argument: String,
        /// The application before it.
        first: String,
    },
    /// Spaces around the colon of an application.
    PartedApplication {
        /// As written.
        written: String,
        /// Without them.
        application: String,
    },
    /// A word such as `run` before the application.
    NoCommand {
        /// The word.
        command: String,
        /// What follows.
        application: String,
        /// The command that was probably meant.
        suggestion: Option<String>,
    },
    /// A command behind flags of the server.
    LateCommand {
        /// The command and what follows.
        written: String,
    },
    /// A word after `help` that is neither a setting nor a command.
    UnknownTopic {
        /// As written.
        topic: String,
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
    /// Anything else that is wrong with the command line.
    BadUsage {
        /// In words.
        problem: String,
    },
    /// A key that does not exist.
    UnknownKey {
        /// As written.
        key: String,
        /// Where.
        origin: Origin,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// A setting twice in the file, under one name or two.
    RepeatedKey {
        /// As written the second time.
        key: String,
        /// Where the second time.
        origin: Origin,
        /// The line of the first time.
        first_line: usize,
    },
    /// A variable that begins with `LOCKGATE_` and names no setting.
    UnknownVariable {
        /// As written.
        name: String,
        /// The variable that was probably meant.
        suggestion: Option<String>,
    },
    /// A variable that contains several settings and is wrong.
    BadVariable {
        /// Its name.
        name: &'static str,
        /// In words.
        problem: String,
    },
    /// One of gunicorn's settings that Lockgate does not have, or not here.
    UnsupportedSetting {
        /// As written: a flag, a key or a variable.
        name: String,
        /// Where.
        origin: Origin,
        /// Why, and what to use instead.
        advice: String,
    },
    /// A file that is not TOML.
    MalformedFile {
        /// The line that the parser stopped at.
        origin: Origin,
        /// In the parser's words.
        problem: String,
    },
    /// A configuration in Python that has failed, or whose evaluation is not understood.
    UnreadableConf {
        /// Which.
        source: ConfSource,
        /// In Python's words.
        problem: String,
    },
    /// A hook that is no function, or has other parameters than gunicorn passes.
    WrongHook {
        /// Which.
        hook: HookName,
        /// What it is.
        found: String,
        /// Where.
        origin: Origin,
    },
    /// Bytes that are not UTF-8.
    NotText {
        /// A flag or a variable.
        origin: Origin,
    },
    /// A value that its setting does not accept.
    BadValue {
        /// The setting's canonical name.
        name: &'static str,
        /// The value, or the part of it that is wrong.
        value: String,
        /// Where.
        origin: Origin,
        /// What it must be.
        requirement: String,
    },
    /// No application anywhere.
    MissingApplication,
}

impl ConfigError {
    /// The texts of mistakes. A configuration file that could not be read may name the application.
    pub fn texts(mistakes: &[Self], is_file_unread: bool) -> Vec<String> {
        let is_known =
            |mistake: &&Self| !(is_file_unread && matches!(mistake, Self::MissingApplication));
        let known = mistakes.iter().filter(is_known);
        known.map(ToString::to_string).collect()
    }

    /// Whether the command line could not be parsed: by convention the exit status is then 2, not 1.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::UnknownFlag { .. }
            | Self::MissingValue { .. }
            | Self::NeedlessValue { .. }
            | Self::SecondApplication { .. }
            | Self::PartedApplication { .. }
            | Self::NoCommand { .. }
            | Self::LateCommand { .. }
            | Self::UnknownTopic { .. }
            | Self::BadUsage { .. } => true,
            Self::UnsupportedSetting { origin, .. }
            | Self::NotText { origin }
            | Self::BadValue { origin, .. } => {
                matches!(origin, Origin::Flag(_) | Origin::Argument)
            }
            Self::UnknownKey { .. }
            | Self::RepeatedKey { .. }
            | Self::UnknownVariable { .. }
            | Self::BadVariable { .. }
            | Self::MalformedFile { .. }
            | Self::UnreadableConf { .. }
            | Self::WrongHook { .. }
            | Self::MissingApplication => false,
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFlag { flag, suggestion } => {
                write!(f, "{flag}: unknown flag; ")?;
                suggest(f, suggestion, "see lockgate --help")
            }
            Self::MissingValue { flag } => write!(f, "{flag}: requires a value"),
            Self::NeedlessValue { flag } => {
                write!(f, "{flag}: does not take a value")?;
                match flag == "--https-redirect" {
                    true => f.write_str("; write the port in lockgate.toml (https_redirect = 443) or in LOCKGATE_HTTPS_REDIRECT"),
                    false => Ok(()),
                }
            }
            Self::SecondApplication { argument, first } => {
                write!(f, "{argument}: only one application can be served, and {first} is already given")
            }
            Self::PartedApplication { written, application } => {
                write!(f, "{written}: an application has no spaces; write {application}")
            }
            Self::NoCommand { command, application, suggestion: None } => write!(
                f,
                "{command}: unknown command; to serve, write lockgate {application}; lockgate -h lists the commands"
            ),
            Self::NoCommand { command, suggestion: Some(suggestion), .. } => {
                write!(f, "{command}: unknown command; did you mean {suggestion}?")
            }
            Self::LateCommand { written } => write!(
                f,
                "{written}: a command is the first argument, and settings are none of it; write lockgate {written}"
            ),
            Self::UnknownTopic { topic, suggestion } => {
                write!(f, "help {topic}: no setting and no command has this name; ")?;
                suggest(f, suggestion, "lockgate help settings lists the settings, lockgate -h the commands")
            }
            Self::BadUsage { problem } => f.write_str(problem),
            Self::UnknownKey { key, origin, suggestion } => {
                write!(f, "{key} (from {origin}): unknown setting; ")?;
                suggest(f, suggestion, "see lockgate --help; settings are at the top level, without sections")
            }
            Self::RepeatedKey { key, origin, first_line } => {
                write!(f, "{key} (from {origin}): is already set on line {first_line}; keep one of them")
            }
            Self::UnknownVariable { name, suggestion } => {
                write!(f, "{name} (from the environment): unknown setting; ")?;
                suggest(f, suggestion, "unset it; names that begin with LOCKGATE_ are reserved for the server")
            }
            Self::BadVariable { name, problem } => write!(f, "{name}: {problem}"),
            Self::UnsupportedSetting {
                name,
                origin: origin @ (Origin::File { .. }
                | Origin::Conf { .. }
                | Origin::CommandArguments(_)
                | Origin::Keyword(_)),
                advice,
            } => write!(f, "{name} (from {origin}): {advice}"),
            Self::UnsupportedSetting { name, advice, .. } => write!(f, "{name}: {advice}"),
            Self::MalformedFile { origin, problem } => write!(f, "{origin}: {problem}"),
            Self::UnreadableConf { source, problem } => write!(f, "{source}: {problem}"),
            Self::WrongHook { hook, found, origin } => write!(
                f,
                "{} = {found} (from {origin}): must be a function with the parameters ({})",
                hook.name(),
                hook.parameters().join(", ")
            ),
            Self::NotText { origin } => write!(f, "{origin}: must be UTF-8"),
            Self::BadValue { name, value, origin, requirement } => write!(f, "{name} = {value} (from {origin}): {requirement}"),
            Self::MissingApplication => {
                f.write_str("no application is given; write lockgate module:attribute, or app = \"module:attribute\" in lockgate.toml, which lockgate init writes for the application that it finds")
            }
        }
    }
}

fn suggest(
    f: &mut fmt::Formatter<'_>,
    suggestion: &Option<String>,
    otherwise: &str,
) -> fmt::Result {
    match suggestion {
        Some(name) => write!(f, "did you mean {name}?"),
        None => f.write_str(otherwise),
    }
}
