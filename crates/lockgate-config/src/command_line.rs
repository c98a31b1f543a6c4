//! The command line, from the table of settings: its grammar, its help, and the values it gives. Judges no value.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::resolve::Assignment;
use crate::setting::{Setting, Shape};
use crate::written::Written;
use crate::{ConfigError, Invocation, Origin, absent, nearest, settings};

/// A flag that says what to do and sets nothing.
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
              The variable LOCKGATE_CONFIG names one too, more weakly.",
    },
    Control {
        short: None,
        long: CHECK_CONFIG,
        placeholder: None,
        doc: "Check the settings and the application, and stop. Ends with 0 when the server would start.",
    },
    Control {
        short: None,
        long: PRINT_CONFIG,
        placeholder: None,
        doc: "Print every setting with its value and where it comes from, as a file that can be used, and stop.",
    },
    Control {
        short: Some('v'),
        long: VERSION,
        placeholder: None,
        doc: "Print the version, and stop.",
    },
    Control {
        short: Some('h'),
        long: "help",
        placeholder: None,
        doc: "Print what flags there are, and stop. -h gives a line for each, --help everything.",
    },
];

const CONFIG: &str = "config";
const CHECK_CONFIG: &str = "check-config";
const PRINT_CONFIG: &str = "print-config";
const VERSION: &str = "version";

/// Columns of a terminal that nobody has widened, less clap's indentation of a paragraph.
const HELP_WIDTH: usize = 80 - 10;

/// A command line that was understood.
pub(crate) struct CommandLine {
    pub(crate) invocation: Invocation,
    pub(crate) assignments: Vec<Assignment>,
    /// What `-c` names.
    pub(crate) config: Option<String>,
}

/// Reads the arguments; the first is the program's name.
pub(crate) fn read(arguments: &[OsString]) -> Result<CommandLine, ConfigError> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refused(&error),
    };
    let invocation = if matches.get_flag(PRINT_CONFIG) {
        Invocation::PrintConfig
    } else if matches.get_flag(CHECK_CONFIG) {
        Invocation::CheckConfig
    } else {
        Invocation::Serve
    };
    let config = texts(&matches, CONFIG, &Origin::Flag(format!("--{CONFIG}")))?.pop();
    let mut assignments = Vec::new();
    for setting in settings() {
        if let Some(assignment) = assignment(&matches, setting)? {
            assignments.push(assignment);
        }
    }
    Ok(CommandLine {
        invocation,
        assignments,
        config,
    })
}

fn assignment(
    matches: &ArgMatches,
    setting: &'static Setting,
) -> Result<Option<Assignment>, ConfigError> {
    let origin = setting.flag().map_or(Origin::Argument, Origin::Flag);
    let (written, origin) = match setting.shape {
        Shape::Switch if matches.get_flag(setting.name) => (Some(Written::Boolean(true)), origin),
        Shape::Switch if matches.get_flag(&negation(setting.name)) => {
            let flag = setting.flags.first().map(|flag| format!("--no-{flag}"));
            (
                Some(Written::Boolean(false)),
                flag.map_or(origin, Origin::Flag),
            )
        }
        Shape::Switch => (None, origin),
        Shape::List => {
            let texts = texts(matches, setting.name, &origin)?;
            let list = texts.into_iter().map(Written::Text).collect::<Vec<_>>();
            ((!list.is_empty()).then_some(Written::List(list)), origin)
        }
        Shape::Value | Shape::ValueOrBare(_) | Shape::Argument => (
            texts(matches, setting.name, &origin)?
                .pop()
                .map(Written::Text),
            origin,
        ),
    };
    Ok(written.map(|written| Assignment {
        setting,
        written,
        origin,
    }))
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
        .after_help(
            "Every setting can also stand in lockgate.toml (its name with underscores) and in the environment\n\
             (LOCKGATE_ and its name in capitals). Flags win over the file, the file over the environment.\n\
             `lockgate ctl --help` and `lockgate top --help` tell how to ask a running server.",
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
    let arg = Arg::new(setting.name)
        .help(setting.summary())
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
        Shape::Value | Shape::Argument => arg
            .action(ArgAction::Set)
            .value_parser(ValueParser::os_string()),
    };
    // `--timeout -1` is a bad value, and is told so, not an unknown flag.
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
        VERSION => arg.action(ArgAction::Version),
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

/// clap breaks no lines without a feature that would bring three more crates.
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

/// clap knows what is wrong; the words are ours, so that flags, keys and variables are spoken of alike.
fn refused(error: &clap::Error) -> Result<CommandLine, ConfigError> {
    let text = || error.render().to_string();
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.clone(),
        Some(ContextValue::Strings(arguments)) => arguments.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    // clap names an argument as in its usage: `--bind <ADDRESS>`.
    let flag = || {
        argument
            .split([' ', '='])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let asked = |invocation| CommandLine {
        invocation,
        assignments: Vec::new(),
        config: None,
    };
    match error.kind() {
        ErrorKind::DisplayHelp => Ok(asked(Invocation::Help(text()))),
        ErrorKind::DisplayVersion => Ok(asked(Invocation::Version(text()))),
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            Err(ConfigError::SecondApplication { argument })
        }
        ErrorKind::UnknownArgument => Err(unknown_flag(flag())),
        ErrorKind::InvalidValue => Err(ConfigError::MissingValue { flag: flag() }),
        ErrorKind::TooManyValues => Err(ConfigError::NeedlessValue { flag: flag() }),
        _ => {
            let text = text();
            let first_line = text.lines().next().unwrap_or_default();
            Err(ConfigError::BadUsage {
                problem: first_line.trim_start_matches("error: ").to_owned(),
            })
        }
    }
}

fn unknown_flag(flag: String) -> ConfigError {
    if let Some(absent) = absent::by_flag(&flag) {
        return ConfigError::AbsentSetting {
            origin: Origin::Flag(flag.clone()),
            written: flag,
            advice: absent.message(),
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
            // Both spellings of a switch are worth naming; of aliases, the first.
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
    // A letter that is no flag has no neighbours worth naming.
    let suggestion = if flag.starts_with("--") {
        nearest::nearest(&flag, &candidates)
    } else {
        None
    };
    ConfigError::UnknownFlag {
        suggestion: suggestion.map(str::to_owned),
        flag,
    }
}
