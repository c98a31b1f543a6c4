//! All sources of settings, read in the order of their precedence.

use crate::assignment::Assignment;
use crate::command_line::CommandLine;
use crate::gunicorn::command_arguments;
use crate::gunicorn::evaluated;
use crate::gunicorn::foreign::Foreign;
use crate::{ConfigError, GunicornConfig, Inputs, Invocation, SettingsFile, environment, file};

/// What all sources together contain.
pub(crate) struct Sources {
    pub(crate) invocation: Invocation,
    /// The weaker before the stronger.
    pub(crate) assignments: Vec<Assignment>,
    /// The configuration in Python and its hooks.
    pub(crate) gunicorn: GunicornConfig,
    pub(crate) mistakes: Vec<ConfigError>,
    pub(crate) notes: Vec<String>,
    /// Whether the application is given, or may be.
    pub(crate) has_application: bool,
}

/// Reads every source but the platform's variables, which count where all others are silent.
pub(crate) fn read(inputs: &Inputs<'_>, command_line: CommandLine) -> Sources {
    let mut sources = Sources {
        invocation: command_line.invocation,
        assignments: Vec::new(),
        gunicorn: GunicornConfig::default(),
        mistakes: command_line.mistakes,
        notes: Vec::new(),
        has_application: command_line.is_application_unclear,
    };
    sources.extend(environment::read(inputs.environment));
    match inputs.file {
        Some(SettingsFile::Toml { path, text }) => sources.extend(file::read(path, text)),
        Some(SettingsFile::Python { source, evaluated }) => {
            let conf = evaluated::read(source, evaluated);
            sources.extend((conf.assignments, conf.mistakes));
            sources.judge(&conf.foreign);
            sources.notes.extend(conf.notes);
            sources.gunicorn = GunicornConfig {
                conf: Some(source.clone()),
                hooks: conf.hooks,
                has_logconfig_dict: conf.has_logconfig_dict,
                conf_text: conf.text,
                ..GunicornConfig::default()
            };
        }
        None => {}
    }
    let further = command_arguments::read(inputs.environment);
    if sources.invocation == Invocation::Serve {
        sources.invocation = further.invocation;
    }
    sources.extend((further.assignments, further.mistakes));
    sources.judge(&further.foreign);
    sources.extend((command_line.assignments, Vec::new()));
    sources.judge(&command_line.foreign);
    if let Some(keywords) = inputs.keywords {
        let given = evaluated::read_keywords(keywords);
        let assignments = &mut sources.assignments;
        assignments.retain(|weaker| !given.unset.contains(&weaker.setting.name));
        sources.extend((given.assignments, given.mistakes));
        sources.judge(&given.foreign);
    }
    sources
}

impl Sources {
    fn extend(&mut self, (assignments, mistakes): (Vec<Assignment>, Vec<ConfigError>)) {
        self.has_application |= assignments
            .iter()
            .any(|assignment| ["app", "paste"].contains(&assignment.setting.name));
        self.assignments.extend(assignments);
        self.mistakes.extend(mistakes);
    }

    fn judge(&mut self, values: &[Foreign]) {
        for value in values {
            match value.judge() {
                Ok(note) => self.notes.extend(note),
                Err(mistake) => self.mistakes.push(mistake),
            }
        }
    }
}
