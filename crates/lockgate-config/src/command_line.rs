//! The command line as a source of settings: its raw values, and what is wrong with it.

use std::ffi::OsString;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::assignment::Assignment;
use crate::gunicorn::foreign::Foreign;
use crate::invocation::Invocation;
use crate::raw_value::RawValue;
use crate::setting::{Setting, Shape};
use crate::settings::named;
use crate::unsupported::{Takes, Unsupported};
use crate::{AppSpec, COMMANDS, ConfigError, Origin, settings, suggestions, unsupported};

mod grammar;
mod help;
use grammar::{CHECK_CONFIG, CONFIG, PRINT_CONFIG, command, foreign_id, negation};
pub(crate) use grammar::{CONTROLS, VALUE_FLAGS};
pub use grammar::{Control, controls};

/// Command names of other servers. Lockgate serves without a command.
const COMMANDS_ELSEWHERE: [&str; 5] = ["run", "serve", "start", "server", "runserver"];

/// A command line, as far as it was understood.
pub(crate) struct CommandLine {
    pub(crate) invocation: Invocation,
    pub(crate) assignments: Vec<Assignment>,
    /// Values of gunicorn's settings that Lockgate does not have.
    pub(crate) foreign: Vec<Foreign>,
    /// The value of `-c`.
    pub(crate) config: Option<String>,
    /// In the order in which they were found.
    pub(crate) mistakes: Vec<ConfigError>,
    /// An argument may be the application or the value of a flag that does not exist.
    pub(crate) is_application_unclear: bool,
}

impl CommandLine {
    fn asks(invocation: Invocation) -> Self {
        Self {
            invocation,
            assignments: Vec::new(),
            foreign: Vec::new(),
            config: None,
            mistakes: Vec::new(),
            is_application_unclear: false,
        }
    }
}

/// Reads the arguments; the first is the program's name. clap stops at the first mistake, so the faulty argument is
/// removed and the rest is read again.
pub(crate) fn read(arguments: &[OsString]) -> CommandLine {
    if let [_, word, topics @ ..] = arguments
        && word == "help"
    {
        return help(topics);
    }
    let mut rest = arguments.to_vec();
    let mut found = CommandLine::asks(Invocation::Serve);
    for _ in arguments {
        let error = match command().try_get_matches_from(&rest) {
            Ok(matches) => {
                understand(&matches, &mut found);
                return found;
            }
            Err(error) => error,
        };
        let (mistake, flag) = match error.kind() {
            ErrorKind::DisplayHelp => {
                // clap does not say which of the two was asked for.
                let text = error.render().to_string();
                let is_long = text == command().render_long_help().to_string();
                return CommandLine::asks(Invocation::Help(if is_long {
                    for_one_application(&text)
                } else {
                    help::short()
                }));
            }
            ErrorKind::DisplayVersion => {
                return CommandLine::asks(Invocation::Version(error.render().to_string()));
            }
            _ => refused(&error),
        };
        let is_unknown = error.kind() == ErrorKind::UnknownArgument;
        if !found.mistakes.contains(&mistake) {
            found.mistakes.push(mistake);
        }
        let Some(at) = position(&rest, &flag) else {
            break;
        };
        let removed = rest.remove(at);
        let has_value_beside = is_unknown
            && !removed.to_string_lossy().contains('=')
            && (rest.get(at)).is_some_and(|next| !next.to_string_lossy().starts_with('-'));
        if has_value_beside {
            rest.remove(at);
            found.is_application_unclear = true;
        }
    }
    found.is_application_unclear = true;
    found
}

/// What `lockgate help TOPIC …` prints.
fn help(topics: &[OsString]) -> CommandLine {
    let topics: Vec<_> = topics
        .iter()
        .map(|topic| topic.to_string_lossy().into_owned())
        .collect();
    match help::about(&topics) {
        Ok(text) => CommandLine::asks(Invocation::Help(text)),
        Err(mistake) => CommandLine {
            mistakes: vec![mistake],
            // The file is not read for it.
            ..CommandLine::asks(Invocation::Help(String::new()))
        },
    }
}

/// clap shows that it would accept several applications; more than one is refused.
fn for_one_application(text: &str) -> String {
    text.replace("[APP]...", "[APP]")
}

/// The last position of the flag that clap reports.
fn position(arguments: &[OsString], flag: &str) -> Option<usize> {
    let setting = settings().find(|setting| setting.flag().as_deref() == Some(flag));
    let mut spellings = setting.map(Setting::spellings).unwrap_or_default();
    let control = CONTROLS
        .iter()
        .find(|control| Some(control.long) == flag.strip_prefix("--"));
    spellings.extend(control.and_then(|control| Some(format!("-{}", control.short?))));
    spellings.push(flag.to_owned());
    let is_it = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        spellings.iter().any(|spelling| {
            let rest = argument.strip_prefix(spelling.as_str());
            let is_short = !spelling.starts_with("--");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('=') || is_short)
        })
    };
    let end = arguments.iter().position(|argument| argument == "--");
    let flags = &arguments[..end.unwrap_or(arguments.len())];
    let at = flags.iter().skip(1).rposition(is_it)?;
    Some(at + 1)
}

fn understand(matches: &ArgMatches, found: &mut CommandLine) {
    found.invocation = if matches.get_flag(PRINT_CONFIG) {
        Invocation::PrintConfig
    } else if matches.get_flag(CHECK_CONFIG) {
        Invocation::CheckConfig
    } else {
        Invocation::Serve
    };
    match texts(matches, CONFIG, &Origin::Flag(format!("--{CONFIG}"))) {
        Ok(mut configs) => found.config = configs.pop(),
        Err(mistake) => found.mistakes.push(mistake),
    }
    for setting in settings() {
        match assignment(matches, setting) {
            Ok(assignment) => found.assignments.extend(assignment),
            Err(mistake) => {
                found.is_application_unclear |= setting.shape == Shape::Argument;
                found.mistakes.push(mistake);
            }
        }
    }
    for (flag, name) in VALUE_FLAGS {
        let origin = Origin::Flag(format!("--{flag}"));
        let setting = settings().find(|setting| setting.name == name);
        match (texts(matches, flag, &origin), setting) {
            (Ok(mut values), Some(setting)) => {
                found
                    .assignments
                    .extend(values.pop().map(|value| Assignment {
                        setting,
                        value: RawValue::Text(value),
                        origin,
                    }));
            }
            (Err(mistake), _) => found.mistakes.push(mistake),
            (Ok(_), None) => {}
        }
    }
    for setting in unsupported::with_flags() {
        match foreign(matches, setting) {
            Ok(foreign) => found.foreign.extend(foreign),
            Err(mistake) => found.mistakes.push(mistake),
        }
    }
}

fn foreign(
    matches: &ArgMatches,
    setting: &'static Unsupported,
) -> Result<Option<Foreign>, ConfigError> {
    let id = foreign_id(setting);
    let flag = setting.long_flags().swap_remove(0);
    let origin = Origin::Flag(format!("--{flag}"));
    let value = match setting.takes {
        Takes::Switch => matches.get_flag(&id).then_some(RawValue::Boolean(true)),
        Takes::List => {
            let texts = texts(matches, &id, &origin)?.into_iter();
            let items: Vec<_> = texts.map(RawValue::Text).collect();
            (!items.is_empty()).then_some(RawValue::List(items))
        }
        Takes::Value | Takes::Nothing => texts(matches, &id, &origin)?.pop().map(RawValue::Text),
    };
    Ok(value.map(|value| Foreign {
        setting,
        value,
        origin,
    }))
}

fn assignment(
    matches: &ArgMatches,
    setting: &'static Setting,
) -> Result<Option<Assignment>, ConfigError> {
    let origin = setting.flag().map_or(Origin::Argument, Origin::Flag);
    let (value, origin) = match setting.shape {
        Shape::Switch if matches.get_flag(setting.name) => (Some(RawValue::Boolean(true)), origin),
        Shape::Switch if matches.get_flag(&negation(setting.name)) => {
            let flag = setting.flags.first().map(|flag| format!("--no-{flag}"));
            (
                Some(RawValue::Boolean(false)),
                flag.map_or(origin, Origin::Flag),
            )
        }
        Shape::Switch | Shape::Tables => (None, origin),
        Shape::List => {
            let texts = texts(matches, setting.name, &origin)?;
            let list = texts.into_iter().map(RawValue::Text).collect::<Vec<_>>();
            ((!list.is_empty()).then_some(RawValue::List(list)), origin)
        }
        Shape::Argument => (
            one_application(texts(matches, setting.name, &origin)?)?.map(RawValue::Text),
            origin,
        ),
        Shape::Value | Shape::ValueOrBare(_) => (
            texts(matches, setting.name, &origin)?
                .pop()
                .map(RawValue::Text),
            origin,
        ),
    };
    Ok(value.map(|value| Assignment {
        setting,
        value,
        origin,
    }))
}

/// The application, from the arguments that are not flags.
fn one_application(mut words: Vec<String>) -> Result<Option<String>, ConfigError> {
    if words.len() < 2 {
        return Ok(words.pop());
    }
    let together = words.concat();
    let is_parted = words
        .iter()
        .any(|word| word.starts_with(':') || word.ends_with(':'));
    if is_parted && AppSpec::parse(&together).is_ok() {
        return Err(ConfigError::PartedApplication {
            written: words.join(" "),
            application: together,
        });
    }
    let commands: Vec<_> = (COMMANDS.iter())
        .map(|command| (command.name.to_owned(), command.name.to_owned()))
        .collect();
    let suggestion = suggestions::suggest(&words[0], &commands).map(str::to_owned);
    if suggestion.as_deref() == Some(words[0].as_str()) {
        return Err(ConfigError::LateCommand {
            written: words.join(" "),
        });
    }
    let is_elsewhere = COMMANDS_ELSEWHERE.contains(&words[0].as_str());
    if is_elsewhere || suggestion.is_some() {
        return Err(ConfigError::NoCommand {
            application: words[1..].join(" "),
            suggestion: suggestion.filter(|_| !is_elsewhere),
            command: words.swap_remove(0),
        });
    }
    let first = words.swap_remove(0);
    Err(ConfigError::SecondApplication {
        argument: words.swap_remove(1.min(words.len() - 1)),
        first,
    })
}

fn texts(matches: &ArgMatches, id: &str, origin: &Origin) -> Result<Vec<String>, ConfigError> {
    let values = matches.get_many::<OsString>(id).unwrap_or_default();
    values
        .map(|value| match value.to_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(ConfigError::NotText {
                origin: origin.clone(),
            }),
        })
        .collect()
}

/// Turns clap's error into our words, so that flags, keys and variables are reported alike. Also returns the flag that
/// it concerns.
fn refused(error: &clap::Error) -> (ConfigError, String) {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.clone(),
        Some(ContextValue::Strings(arguments)) => arguments.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    // clap names an argument as in its usage: `--bind <ADDRESS>`.
    let flag = (argument.split([' ', '=']).next())
        .unwrap_or_default()
        .to_owned();
    let mistake = match error.kind() {
        ErrorKind::UnknownArgument => unknown_flag(flag.clone()),
        ErrorKind::InvalidValue => ConfigError::MissingValue { flag: flag.clone() },
        ErrorKind::TooManyValues => ConfigError::NeedlessValue { flag: flag.clone() },
        _ => {
            let text = error.render().to_string();
            let first_line = text.lines().next().unwrap_or_default();
            ConfigError::BadUsage {
                problem: first_line.trim_start_matches("error: ").to_owned(),
            }
        }
    };
    (mistake, flag)
}

fn unknown_flag(flag: String) -> ConfigError {
    let name = flag.trim_start_matches('-').replace('-', "_");
    if let Some(advice) = named(&name).and_then(Setting::file_only) {
        return ConfigError::UnsupportedSetting {
            origin: Origin::Flag(flag.clone()),
            name: flag,
            advice,
        };
    }
    let mut candidates = Vec::new();
    for setting in settings() {
        let Some(answer) = setting.flag() else {
            continue;
        };
        for spelling in setting
            .spellings()
            .into_iter()
            .filter(|spelling| spelling.starts_with("--"))
        {
            // For a switch both spellings are worth showing; of aliases, the first.
            let is_negation = setting.shape == Shape::Switch && spelling != answer;
            candidates.push((
                spelling.clone(),
                if is_negation {
                    spelling
                } else {
                    answer.clone()
                },
            ));
        }
        let foreign = setting.gunicorn.iter().chain(setting.uwsgi);
        candidates.extend(foreign.map(|name| ((*name).to_owned(), answer.clone())));
    }
    candidates.extend(
        CONTROLS
            .iter()
            .map(|control| (control.long.to_owned(), format!("--{}", control.long))),
    );
    // A one-letter flag has no neighbours worth suggesting.
    let suggestion = match flag.as_str() {
        // Flags of development servers, waitress, granian and uvicorn.
        "--port" | "--host" => Some("--bind 127.0.0.1:8000"),
        // uWSGI's is the length of the queue.
        "--listen" => Some("--bind 127.0.0.1:8000, or --backlog"),
        "--cert" | "--ssl" | "--tls" => Some("--certfile FILE, or --domain localhost"),
        "--uds" | "--unix-socket" => Some("--bind unix:PATH"),
        "--proxy-headers" => Some("--forwarded-allow-ips"),
        "--gzip" => Some("--compress"),
        "--debug" => Some("lockgate dev"),
        long if long.starts_with("--") => suggestions::suggest(long, &candidates),
        _ => None,
    };
    ConfigError::UnknownFlag {
        suggestion: suggestion.map(str::to_owned),
        flag,
    }
}
