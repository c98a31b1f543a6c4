//! The variable GUNICORN_CMD_ARGS as a source of settings: flags, weaker than those of the command line.

use std::ffi::OsString;

use super::shell_words;
use crate::command_line::{self, CommandLine};
use crate::environment::value_of;
use crate::{ConfigError, Invocation, Origin};

/// The variable.
pub(crate) const GUNICORN_CMD_ARGS: &str = "GUNICORN_CMD_ARGS";

/// The flags in the variable. As in gunicorn, an application in it does not count.
pub(crate) fn read(environment: &[(OsString, OsString)]) -> CommandLine {
    let text = value_of(environment, GUNICORN_CMD_ARGS).unwrap_or_default();
    let refused = |problem: &str| ConfigError::BadVariable {
        name: GUNICORN_CMD_ARGS,
        problem: problem.to_owned(),
    };
    let words = match shell_words::split(&text) {
        Ok(words) => words,
        Err(unfinished) => {
            let mut nothing = command_line::read(&[]);
            nothing.mistakes = vec![refused(unfinished.requirement())];
            return nothing;
        }
    };
    let program = std::iter::once(OsString::new());
    let arguments: Vec<OsString> = program
        .chain(words.into_iter().map(OsString::from))
        .collect();
    let mut found = command_line::read(&arguments);
    let mistakes = std::mem::take(&mut found.mistakes).into_iter();
    found.mistakes = mistakes
        .map(|mistake| refused(&mistake.to_string()))
        .collect();
    if let Invocation::Help(_) | Invocation::Version(_) = found.invocation {
        found.invocation = Invocation::Serve;
        let problem = "--help and --version are available on the command line only";
        found.mistakes.push(refused(problem));
    }
    found
        .assignments
        .retain(|given| given.setting.name != "app");
    let origins = found.assignments.iter_mut().map(|given| &mut given.origin);
    let foreign = found.foreign.iter_mut().map(|given| &mut given.origin);
    for origin in origins.chain(foreign) {
        if let Origin::Flag(flag) = origin {
            *origin = Origin::CommandArguments(std::mem::take(flag));
        }
    }
    found
}
