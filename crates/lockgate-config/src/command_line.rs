//! The command line, derived from the table of settings: its grammar, its help and its raw values.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::assignment::Assignment;
use crate::invocation::Invocation;
use crate::raw_value::RawValue;
use crate::setting::{Setting, Shape};
use crate::{AppSpec, ConfigError, Origin, settings, suggestions, unsupported};

/// A flag for an action, not a setting.
pub(crate) struct Control {
    pub(crate) short: Option<char>,
    pub(crate) long: &'static str,
    pub(crate) placeholder: Option<&'static str>,
    pub(crate) doc: &'static str,
}

/// Every flag that is not a setting.
pub(crate) const CONTROLS: [Control; 5] = [
    Control {
        short: Some('c'),
        long: CONFIG,
        placeholder: Some("PATH"),
        doc: "Read settings from this file instead of lockgate.toml in the working directory. \
              The variable LOCKGATE_CONFIG has the same effect, unless the flag is given.",
    },
    Control {
        short: None,
        long: CHECK_CONFIG,
        placeholder: None,
        doc: "Check the settings, load the application, and exit. The exit status is 0 if both succeed.",
    },
    Control {
        short: None,
        long: PRINT_CONFIG,
        placeholder: None,
        doc: "Print every setting with its value and origin, as a valid configuration file, and exit.",
    },
    Control {
        short: Some('v'),
        long: VERSION,
        placeholder: None,
        doc: "Print the version and exit. -V does the same.",
    },
    Control {
        short: Some('h'),
        long: "help",
        placeholder: None,
        doc: "Print every flag and exit. -h prints one line for each, --help the whole text.",
    },
];

const CONFIG: &str = "config";
const CHECK_CONFIG: &str = "check-config";
const PRINT_CONFIG: &str = "print-config";
const VERSION: &str = "version";

/// Columns of a terminal of default width, less clap's indentation of a paragraph.
const HELP_WIDTH: usize = 80 - 10;

/// Command names of other servers. Lockgate serves without a command.
const COMMANDS_ELSEWHERE: [&str; 5] = ["run", "serve", "start", "server", "runserver"];

/// A command line, as far as it was understood.
pub(crate) struct CommandLine {
    pub(crate) invocation: Invocation,
    pub(crate) assignments: Vec<Assignment>,
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
            config: None,
            mistakes: Vec::new(),
            is_application_unclear: false,
        }
    }
}

/// Reads the arguments; the first is the program's name. clap stops at the first mistake, so the faulty argument is
/// removed and the rest is read again.
pub(crate) fn read(arguments: &[OsString]) -> CommandLine {
    if arguments.len() == 2 && arguments[1] == "help" {
        return read(&[arguments[0].clone(), OsString::from("-h")]);
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
                // clap shows that it would accept several; more than one is refused.
                let text = error.render().to_string().replace("[APP]...", "[APP]");
                return CommandLine::asks(Invocation::Help(text));
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
        Shape::Switch => (None, origin),
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
    if COMMANDS_ELSEWHERE.contains(&words[0].as_str()) {
        return Err(ConfigError::NoCommand {
            application: words[1..].join(" "),
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

fn command() -> Command {
    let mut command = Command::new("lockgate")
        .bin_name("lockgate")
        .about("A production WSGI server.")
        .override_usage(
            "lockgate [OPTIONS] [APP]\n       \
             lockgate ctl [--admin ADDRESS] COMMAND   (status, reload, …: lockgate ctl --help)\n       \
             lockgate top [--admin ADDRESS]           (a live view: lockgate top --help)",
        )
        .after_help(
            "Example:\n  \
             lockgate shop.wsgi:application -b 0.0.0.0:8000 -w 4 --access-logfile -\n\n\
             Every setting can also be set in lockgate.toml (its name with underscores) and in the environment\n\
             (LOCKGATE_ and its name in capitals). Flags override the file, the file overrides the environment.\n\
             Signals: TERM stops gracefully, INT quickly, HUP reloads, USR1 reopens log files, USR2 upgrades\n\
             in place; README.md and docs/deploying.md describe them.",
        )
        .version(env!("CARGO_PKG_VERSION"))
        .args_override_self(true)
        .disable_version_flag(true)
        .disable_help_flag(true);
    for setting in settings() {
        command = command.arg(argument(setting));
        if setting.shape == Shape::Switch {
            command = command.arg(negative(setting));
        }
    }
    for control in &CONTROLS {
        command = command.arg(control_argument(control));
    }
    command
}

fn argument(setting: &'static Setting) -> Arg {
    let default = setting.default_text();
    let mut long = wrapped(setting.doc);
    if setting.shape != Shape::Argument {
        let default = format!("[default: {default}]");
        let variable = format!("[variable: {}]", setting.variable());
        let space = if default.len() + variable.len() < HELP_WIDTH {
            ' '
        } else {
            '\n'
        };
        long = format!("{long}\n{default}{space}{variable}");
    }
    let mut short = setting.summary().to_owned();
    if let Some(default) = brief(&default).filter(|_| setting.shape != Shape::Argument) {
        short = format!("{short} [default: {default}]");
    }
    let arg = Arg::new(setting.name)
        .help(short)
        .long_help(long)
        .value_name(setting.kind.placeholder());
    let arg = match setting.shape {
        Shape::Argument => arg,
        _ => arg.help_heading(setting.section.title()),
    };
    let arg = match setting.shape {
        Shape::Switch => arg
            .action(ArgAction::SetTrue)
            .overrides_with(negation(setting.name)),
        Shape::List => arg
            .action(ArgAction::Append)
            .value_parser(ValueParser::os_string()),
        Shape::ValueOrBare(bare) => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .default_missing_value(bare)
            .value_parser(ValueParser::os_string()),
        // More than one is refused, with a better message than clap's.
        Shape::Argument => arg
            .action(ArgAction::Append)
            .num_args(0..)
            .value_parser(ValueParser::os_string()),
        Shape::Value => arg
            .action(ArgAction::Set)
            .value_parser(ValueParser::os_string()),
    };
    // `--timeout -1` is reported as a bad value, not as an unknown flag.
    let arg = if setting.shape == Shape::Switch {
        arg
    } else {
        arg.allow_negative_numbers(true)
    };
    let arg = match setting.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match setting.flags.split_first() {
        Some((first, rest)) => arg.long(*first).visible_aliases(rest.iter().copied()),
        None => arg,
    }
}

/// A default in the help, on one line; `None` if nothing is set.
fn brief(default: &str) -> Option<&str> {
    let bare = default.trim_matches(['[', ']', '"']);
    (!bare.is_empty() && bare != "false").then_some(bare)
}

fn negative(setting: &'static Setting) -> Arg {
    let flag = setting.flags.first().copied().unwrap_or(setting.name);
    Arg::new(negation(setting.name))
        .long(format!("no-{flag}"))
        .help(format!("The opposite of --{flag}"))
        .action(ArgAction::SetTrue)
        .overrides_with(setting.name)
        .help_heading(setting.section.title())
}

fn negation(name: &str) -> String {
    format!("no_{name}")
}

fn control_argument(control: &'static Control) -> Arg {
    let arg = Arg::new(control.long)
        .long(control.long)
        .help(first_sentence(control.doc))
        .long_help(wrapped(control.doc));
    let arg = match control.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match control.long {
        "help" => arg.action(ArgAction::Help),
        VERSION => arg.action(ArgAction::Version).visible_short_alias('V'),
        _ => match control.placeholder {
            Some(placeholder) => arg
                .action(ArgAction::Set)
                .value_name(placeholder)
                .value_parser(ValueParser::os_string()),
            None => arg.action(ArgAction::SetTrue),
        },
    }
}

fn first_sentence(doc: &'static str) -> &'static str {
    doc.split(". ").next().unwrap_or(doc).trim_end_matches('.')
}

/// clap wraps lines only with a feature that brings three more crates.
fn wrapped(paragraph: &str) -> String {
    let mut lines = vec![String::new()];
    for word in paragraph.split(' ') {
        let is_full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > HELP_WIDTH);
        if is_full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
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
    if let Some(unsupported) = unsupported::by_flag(&flag) {
        return ConfigError::UnsupportedSetting {
            origin: Origin::Flag(flag.clone()),
            name: flag,
            advice: unsupported.message(),
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
    let suggestion = if flag.starts_with("--") {
        suggestions::suggest(&flag, &candidates)
    } else {
        None
    };
    ConfigError::UnknownFlag {
        suggestion: suggestion.map(str::to_owned),
        flag,
    }
}
