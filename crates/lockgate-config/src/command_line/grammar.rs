//! The grammar of the command line and its help, derived from the table of settings.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

use super::help::plain;
use crate::setting::{Setting, Shape};
use crate::unsupported::{Takes, Unsupported};
use crate::{settings, unsupported};

/// A flag for an action, not a setting.
#[derive(Debug)]
pub struct Control {
    /// Its one-letter flag.
    pub short: Option<char>,
    /// Its long flag without dashes.
    pub long: &'static str,
    /// The placeholder of its value, if it takes one.
    pub placeholder: Option<&'static str>,
    /// One paragraph; its first sentence is the summary.
    pub doc: &'static str,
}

/// Every flag that is not a setting.
pub fn controls() -> impl Iterator<Item = &'static Control> {
    CONTROLS.iter()
}

impl Control {
    /// The first sentence of its doc, without the full stop.
    pub fn summary(&self) -> &'static str {
        first_sentence(self.doc)
    }
}

/// Every flag that is not a setting.
pub(crate) const CONTROLS: [Control; 5] = [
    Control {
        short: Some('c'),
        long: CONFIG,
        placeholder: Some("PATH"),
        doc: "Read settings from this file. It takes the place of lockgate.toml or gunicorn.conf.py in the working directory. \
              A name that ends in .py, or contains gunicorn without ending in .toml, is a configuration of \
              gunicorn's in Python; python:MODULE is an importable one. The variable LOCKGATE_CONFIG has the same effect, unless the flag is given.",
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
        doc: "Print every setting with its value and origin, and exit. The output is a valid configuration file.",
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
        doc: "Print help and exit. -h prints the flags that are used most, --help every flag with its whole text.",
    },
];

pub(super) const CONFIG: &str = "config";
pub(super) const CHECK_CONFIG: &str = "check-config";
pub(super) const PRINT_CONFIG: &str = "print-config";
const VERSION: &str = "version";

/// Columns of a terminal of default width, less clap's indentation of a paragraph.
const HELP_WIDTH: usize = 80 - 10;

const AFTER_HELP: &str = "\
Example:
  lockgate shop.wsgi:application -b 0.0.0.0:8000 -w 4 --access-logfile -

Every setting can also be set in lockgate.toml (its name with underscores) and in the environment
(LOCKGATE_ and its name in capitals). Flags override the file, the file overrides the environment.
Without lockgate.toml, gunicorn.conf.py is read; GUNICORN_CMD_ARGS may contain further flags.
Signals: TERM stops gracefully, INT quickly, HUP reloads, USR1 reopens log files, USR2 upgrades
in place; README.md and docs/deploying.md describe them. The commands are in lockgate -h.";

/// The grammar, for clap.
pub(super) fn command() -> Command {
    let mut command = Command::new("lockgate")
        .bin_name("lockgate")
        .about("A production WSGI server.")
        .override_usage("lockgate [OPTIONS] [APP]\n       lockgate COMMAND …")
        .after_help(AFTER_HELP)
        .version(env!("CARGO_PKG_VERSION"))
        .args_override_self(true)
        .disable_version_flag(true)
        .disable_help_flag(true);
    for setting in settings().filter(|setting| setting.shape != Shape::Tables) {
        command = command.arg(argument(setting));
        if setting.shape == Shape::Switch {
            command = command.arg(negative(setting));
        }
    }
    for control in &CONTROLS {
        command = command.arg(control_argument(control));
    }
    for (flag, setting) in VALUE_FLAGS {
        let arg = Arg::new(flag).long(flag).hide(true);
        let arg = arg.action(ArgAction::Append);
        command = command.arg(arg.value_parser(ValueParser::os_string()).help(setting));
    }
    for setting in unsupported::with_flags() {
        command = command.arg(hidden(setting));
    }
    command
}

fn argument(setting: &'static Setting) -> Arg {
    let default = setting.default_text();
    let mut long = wrapped(&plain(setting.doc));
    if setting.shape != Shape::Argument {
        let default = format!("[default: {default}]");
        let variable = setting.variable().unwrap_or_default();
        let variable = format!("[variable: {variable}]");
        let space = if default.len() + variable.len() < HELP_WIDTH {
            ' '
        } else {
            '\n'
        };
        long = format!("{long}\n{}{space}{variable}", wrapped(&default));
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
        Shape::Value | Shape::Tables => arg
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
pub(super) fn brief(default: &str) -> Option<&str> {
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

/// clap's name for the opposite of a switch.
pub(super) fn negation(name: &str) -> String {
    format!("no_{name}")
}

fn control_argument(control: &'static Control) -> Arg {
    let arg = Arg::new(control.long)
        .long(control.long)
        .help(control.summary())
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

/// Flags of gunicorn's that take a value, for settings that are switches here.
pub(crate) const VALUE_FLAGS: [(&str, &str); 1] = [("http-protocols", "http2")];

/// A flag of gunicorn's that is understood and not in the help.
fn hidden(setting: &'static Unsupported) -> Arg {
    let mut flags = setting.long_flags().into_iter();
    let arg = Arg::new(foreign_id(setting)).hide(true);
    let arg = match setting.takes {
        Takes::Switch => arg.action(ArgAction::SetTrue),
        _ => arg
            .action(ArgAction::Append)
            .value_parser(ValueParser::os_string())
            .allow_negative_numbers(true),
    };
    let arg = match setting.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flags.next() {
        Some(first) => arg.long(first).aliases(flags),
        None => arg,
    }
}

/// clap's name for a setting that Lockgate does not have.
pub(super) fn foreign_id(setting: &Unsupported) -> String {
    format!("gunicorn:{}", setting.name)
}

fn first_sentence(doc: &'static str) -> &'static str {
    doc.split(". ").next().unwrap_or(doc).trim_end_matches('.')
}

/// clap wraps lines only with a feature that brings three more crates.
pub(super) fn wrapped(paragraph: &str) -> String {
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
