//! Resolution of all sources into one configuration: the stronger source wins, and every value keeps its origin. The
//! caller passes all input.

use std::ffi::OsString;
use std::path::Path;

use crate::assignment::Assignment;
use crate::builder::ConfigBuilder;
use crate::gunicorn::threads::set_threads;
use crate::gunicorn::{command_arguments, evaluated};
use crate::host::MEMORY_PER_WORKER;
use crate::invocation::Invocation;
use crate::memory::MemoryBound;
use crate::notation::{quoted, size_words};
use crate::raw_value::RawValue;
use crate::settings::renewal::LEAST_MEMORY;
use crate::{
    BindAddress, Collection, ConfSpec, Config, ConfigError, Gil, Host, Inputs, Origin, Origins,
    Section, Setting, SettingsFile, Threads, cache, command_line, environment, file, https, push,
    route_checks, settings, sources,
};

/// A configuration, the requested action, and the origins of the values.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// The action.
    pub invocation: Invocation,
    /// The origin of each setting, by its canonical name.
    pub origins: Origins,
    /// Notes for the operator at startup, without a full stop.
    pub notes: Vec<String>,
    pub(crate) shown: Vec<(&'static Setting, String)>,
    /// How values were computed on this host, by the name of the setting.
    reasons: Vec<(&'static str, String)>,
}

/// Resolves all sources into one configuration. Precedence: keyword arguments, flags, GUNICORN_CMD_ARGS, file, `LOCKGATE_*`, the platform's
/// variables, default.
///
/// # Errors
///
/// All mistakes: the command line's grammar, variables, the file, then values in order of precedence. Values that a
/// stronger source overrides are checked too.
pub fn resolve(inputs: &Inputs<'_>) -> Result<Resolved, Vec<ConfigError>> {
    let (environment, host) = (inputs.environment, inputs.host);
    let command_line = command_line::read(inputs.arguments);
    let mut invocation = command_line.invocation.clone();
    let mut builder = ConfigBuilder::new();
    let mut origins = Origins::default();
    let (mut notes, mut reasons) = (Vec::new(), Vec::new());
    let is_text_only = matches!(invocation, Invocation::Help(_) | Invocation::Version(_));
    if is_text_only {
        // A topic of `help` that does not exist.
        if !command_line.mistakes.is_empty() {
            return Err(command_line.mistakes);
        }
    } else {
        let sources = sources::read(inputs, command_line);
        let (assignments, mut mistakes) = (sources.assignments, sources.mistakes);
        invocation = sources.invocation;
        notes = sources.notes;
        builder.config.gunicorn = sources.gunicorn;
        // The platform's variables are not meant for Lockgate: where they are overridden, they are not checked.
        let mut platform = environment::platform(environment);
        platform.retain(|weak| {
            assignments
                .iter()
                .all(|strong| strong.setting.name != weak.setting.name)
        });
        for assignment in platform.into_iter().chain(assignments) {
            mistakes.extend(apply(&mut builder, &mut origins, assignment).err());
        }
        mistakes.extend(mount_by_variable(&mut builder, &mut origins).err());
        // A file that cannot be read may name it.
        let is_file_unclear = mistakes.iter().any(|mistake| {
            matches!(
                mistake,
                ConfigError::MalformedFile { .. } | ConfigError::UnreadableConf { .. }
            )
        });
        if !sources.has_application && !is_file_unclear {
            mistakes.push(ConfigError::MissingApplication);
        }
        if let (Some(session), Some(state)) = (
            &mut builder.config.session,
            environment::state_directory(environment),
        ) {
            session.keep_secret_in(&state);
        }
        https::listen_at_standard_ports(&mut builder.config, &mut origins);
        // With an invalid value, values that depend on several settings are unknown.
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let alone = |mistake| vec![mistake];
        let classes = set_threads(&mut builder, &origins);
        notes.extend(classes.notes);
        notes.extend(finish(&mut builder, &origins, host).map_err(alone)?);
        check_event_loops(&builder.config, &origins, host).map_err(alone)?;
        reasons = bound_memory(&mut builder, &origins, host).map_err(alone)?;
        reasons.push(("workers", builder.config.workers_reason.clone()));
        reasons.extend(classes.reason.map(|reason| ("threads", reason)));
    }
    let shown = settings()
        .map(|setting| (setting, (setting.show)(&builder)))
        .collect();
    Ok(Resolved {
        config: builder.config,
        invocation,
        origins,
        notes,
        shown,
        reasons,
    })
}

/// The file that the operator names with `-c`/`--config`, there or in GUNICORN_CMD_ARGS, or with
/// LOCKGATE_CONFIG. `None`: lockgate.toml in the working
/// directory if it exists, else gunicorn.conf.py.
pub fn config_path(
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
) -> Option<ConfSpec> {
    let command_line = command_line::read(arguments);
    match command_line.invocation {
        Invocation::Help(_) | Invocation::Version(_) => None,
        _ => named_file(command_line.config, environment),
    }
}

/// The setting `admin_bind` alone, as in a server started in the directory `start`. Mistakes in other settings are not
/// reported.
///
/// # Errors
///
/// The setting is invalid, or may be in a part of the file that is not TOML.
pub fn admin_address(
    environment: &[(OsString, OsString)],
    file: Option<SettingsFile<'_>>,
    start: &Path,
) -> Result<Option<BindAddress>, Vec<ConfigError>> {
    let (mut assignments, _) = environment::read(environment);
    let mut malformed = Vec::new();
    let (in_file, mistakes) = match file {
        Some(SettingsFile::Toml { path, text }) => file::read(path, text),
        Some(SettingsFile::Python { source, evaluated }) => {
            let conf = evaluated::read(source, evaluated);
            (conf.assignments, conf.mistakes)
        }
        None => Default::default(),
    };
    assignments.extend(in_file);
    malformed.extend(mistakes);
    malformed.retain(|mistake| {
        matches!(
            mistake,
            ConfigError::MalformedFile { .. } | ConfigError::UnreadableConf { .. }
        )
    });
    let (mut builder, mut origins) = (ConfigBuilder::new(), Origins::default());
    assignments.retain(|assignment| ["admin_bind", "chdir"].contains(&assignment.setting.name));
    for assignment in assignments {
        apply(&mut builder, &mut origins, assignment).map_err(|mistake| vec![mistake])?;
    }
    builder.config.make_absolute(start);
    match builder.config.admin_bind {
        None if !malformed.is_empty() => Err(malformed),
        address => Ok(address),
    }
}

fn named_file(flag: Option<String>, environment: &[(OsString, OsString)]) -> Option<ConfSpec> {
    let further = || command_arguments::read(environment).config;
    let variable = || environment::value_of(environment, environment::CONFIG);
    let named = flag.or_else(further).or_else(variable)?;
    Some(ConfSpec::parse(&named))
}

impl Resolved {
    /// Every setting with its value and its origin, by section, as a file that gives the same configuration.
    pub fn print(&self) -> String {
        let assignment =
            |(setting, value): &(&Setting, String)| format!("{} = {value}", setting.name);
        // One long list of addresses must not push every origin off the screen.
        let width = self
            .shown
            .iter()
            .map(|shown| assignment(shown).chars().count())
            .filter(|width| *width <= 60)
            .max();
        let width = width.unwrap_or_default();
        let mut out = String::new();
        for section in Section::ALL {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&format!("# {}\n", section.title()));
            for shown in self
                .shown
                .iter()
                .filter(|(setting, _)| setting.section == section)
            {
                let mut origin = self.origins.of(shown.0.name).to_string();
                for (_, reason) in (self.reasons.iter()).filter(|(name, _)| *name == shown.0.name) {
                    origin = format!("{origin}; {reason}");
                }
                out.push_str(&format!("{:width$}  # {origin}\n", assignment(shown)));
            }
        }
        let gunicorn = &self.config.gunicorn;
        if let (Some(conf), Some(functions)) = (&gunicorn.conf, gunicorn.definitions()) {
            out.push_str(&format!("\n# {conf} defines {functions}\n"));
        }
        out
    }
}

fn apply(
    builder: &mut ConfigBuilder,
    origins: &mut Origins,
    assignment: Assignment,
) -> Result<(), ConfigError> {
    let Assignment {
        setting,
        value,
        origin,
    } = assignment;
    setting
        .apply(builder, &value)
        .map_err(|error| ConfigError::BadValue {
            name: setting.name,
            value: error.piece.unwrap_or_else(|| value.to_string()),
            origin: error
                .line
                .map_or(origin.clone(), |line| origin.at_line(line)),
            requirement: error.requirement,
        })?;
    origins.record(setting.name, origin);
    Ok(())
}

/// As in gunicorn, SCRIPT_NAME in `env` is the mount point, unless `root_path` is set. It overrides the same variable
/// of the process, which it replaces for the application.
fn mount_by_variable(
    builder: &mut ConfigBuilder,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    let is_set = match origins.of("root_path") {
        Origin::Default => false,
        Origin::Variable(name) => name != environment::SCRIPT_NAME,
        _ => true,
    };
    let variables = builder.config.env.iter().rev();
    let path = variables
        .filter(|(name, _)| name == environment::SCRIPT_NAME)
        .map(|(_, path)| path.clone())
        .next();
    match (path, settings().find(|setting| setting.name == "root_path")) {
        (Some(path), Some(setting)) if !is_set => {
            let assignment = Assignment {
                setting,
                value: RawValue::Text(path),
                origin: origins.of("env").clone(),
            };
            apply(builder, origins, assignment)
        }
        _ => Ok(()),
    }
}

/// Checks that the server does not need an address twice: the error of the system would name another process.
fn check_addresses(config: &Config, origins: &Origins) -> Result<(), ConfigError> {
    let refuse = |name, address: &BindAddress, other: &BindAddress, of: &str| {
        Err(ConfigError::BadValue {
            name,
            value: quoted(&address.to_string()),
            origin: origins.of(name).clone(),
            requirement: format!(
                "cannot be used beside {other} (setting: {of}): choose another port or path"
            ),
        })
    };
    let others = [
        ("admin_bind", &config.admin_bind),
        ("uwsgi_stats", &config.uwsgi.stats),
    ];
    for (number, bind) in config.bind.iter().enumerate() {
        let bind = &bind.address;
        let mut earlier = config.bind[..number].iter().map(|bind| &bind.address);
        if let Some(earlier) = earlier.find(|earlier| earlier.overlaps(bind))
            && !config.reuse_port
        {
            return refuse("bind", bind, earlier, "bind");
        }
        for (name, address) in others {
            if let Some(address) = address
                && address.overlaps(bind)
            {
                return refuse(name, address, bind, "bind");
            }
        }
    }
    Ok(())
}

/// Fills in what depends on the host or on several settings; returns the notes.
fn finish(
    builder: &mut ConfigBuilder,
    origins: &Origins,
    host: &Host,
) -> Result<Vec<String>, ConfigError> {
    let has_conf = builder.config.gunicorn.conf.is_some();
    builder.config.log_style.complete(has_conf, origins);
    check_addresses(&builder.config, origins)?;
    let mut notes = https::check(&builder.config, origins)?;
    notes.extend(push::check(&builder.config, origins)?);
    notes.extend(cache::check(&builder.config, origins)?);
    builder.config.app = builder
        .paste
        .clone()
        .or_else(|| builder.app.clone())
        .ok_or(ConfigError::MissingApplication)?;
    let is_sent = !builder.otlp.host.is_empty();
    builder.config.identity.otlp = is_sent.then(|| builder.otlp.clone());
    notes.extend(route_checks::check(&builder.config, origins)?);
    let config = &mut builder.config;
    match builder.workers {
        Threads::Auto => {
            let (workers, reason) = host.suitable_workers();
            config.workers = workers;
            config.workers_reason = format!("workers = {workers} ({reason})");
        }
        Threads::Count(workers) => {
            config.workers = workers.get();
            config.workers_reason = format!("workers = {workers} (from {})", origins.of("workers"));
            let needed = (workers.get() as u64).saturating_mul(MEMORY_PER_WORKER);
            if workers.get() > 1 && needed > host.memory() {
                let (suitable, reason) = host.suitable_workers();
                notes.push(format!(
                    "workers = {workers} may need more memory than there is; auto would give {suitable} ({reason})"
                ));
            }
        }
    }
    // A script may have exported that name for its own use.
    if *origins.of("root_path") == Origin::Variable(environment::SCRIPT_NAME.to_owned()) {
        let path = &config.root_path;
        notes.push(format!(
            "the application is mounted at {path} because the environment has SCRIPT_NAME={path}; root_path overrides it"
        ));
    }
    let limits = &mut config.limits;
    for limit in [&mut limits.request_line, &mut limits.request_field_size] {
        if *limit == 0 {
            *limit = limits.request_head;
        }
    }
    for (name, size) in [
        ("limit_request_line", limits.request_line),
        ("limit_request_field_size", limits.request_field_size),
    ] {
        if size > limits.request_head {
            notes.push(format!(
                "{name} = {size} never comes to bear: limit_request_head = {} is smaller",
                limits.request_head
            ));
        }
    }
    if config.gc == Collection::Idle && host.gil != Gil::Always {
        notes.push(format!(
            "gc = \"idle\" (from {}) is the same as \"freeze\" with a free-threaded Python, which stops all threads for a \
             collection and decides itself when one is due",
            origins.of("gc")
        ));
    }
    Ok(notes)
}

/// With the GIL, event loops of one process only wait for each other.
fn check_event_loops(config: &Config, origins: &Origins, host: &Host) -> Result<(), ConfigError> {
    if config.event_loops == 1 || host.gil == Gil::Disabled {
        return Ok(());
    }
    Err(ConfigError::BadValue {
        name: "event_loops",
        value: config.event_loops.to_string(),
        origin: origins.of("event_loops").clone(),
        requirement: "must be 1, because this Python has a GIL; more need a free-threaded Python whose GIL is \
                      disabled, and workers uses several CPUs with any Python"
            .to_owned(),
    })
}

/// Converts memory bounds to bytes; returns the settings whose values depend on the host, with the results.
fn bound_memory(
    builder: &mut ConfigBuilder,
    origins: &Origins,
    host: &Host,
) -> Result<Vec<(&'static str, String)>, ConfigError> {
    const SOFT: &str = "max_worker_memory";
    const HARD: &str = "max_worker_memory_hard";
    let bounds = [
        (SOFT, builder.max_worker_memory),
        (HARD, builder.max_worker_memory_hard),
    ];
    let refuse = |name, bound: MemoryBound, requirement| ConfigError::BadValue {
        name,
        value: bound.text(),
        origin: origins.of(name).clone(),
        requirement,
    };
    let mut reasons = Vec::new();
    for (name, bound) in bounds {
        let bytes = bound.bytes(host);
        if bytes > 0 && !host.measures_memory {
            let requirement =
                "must be 0 on this system, where Lockgate cannot measure the memory of a worker"
                    .to_owned();
            return Err(refuse(name, bound, requirement));
        }
        let Some(reason) = bound.reason(host) else {
            continue;
        };
        if bytes < LEAST_MEMORY {
            let requirement = format!(
                "must be at least {} on this host, but is {reason}",
                size_words(LEAST_MEMORY)
            );
            return Err(refuse(name, bound, requirement));
        }
        reasons.push((name, format!("{name} = {reason}")));
    }
    let [(_, soft), (_, hard)] = bounds;
    builder.config.max_worker_memory = soft.bytes(host);
    builder.config.max_worker_memory_hard = hard.bytes(host);
    if (1..=builder.config.max_worker_memory).contains(&builder.config.max_worker_memory_hard) {
        let requirement = format!(
            "must be greater than {SOFT} = {}, so that a worker is replaced before it is stopped",
            soft.text()
        );
        return Err(refuse(HARD, hard, requirement));
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(
        flag: &str,
        value: &str,
        gil: Gil,
        measures_memory: bool,
    ) -> Result<Resolved, Vec<ConfigError>> {
        resolve(&Inputs {
            arguments: &["lockgate", flag, value, "a:b"].map(OsString::from),
            environment: &[],
            file: None,
            keywords: None,
            host: &Host {
                affinity: 2,
                cpu_quota: None,
                memory_limit: None,
                memory_total: 1 << 40,
                gil,
                measures_memory,
            },
        })
    }

    #[test]
    fn what_the_host_lacks_is_refused_by_name() {
        const GIL: &str = "event_loops = 2 (from --event-loops): must be 1, because this Python has a GIL; more need a \
                           free-threaded Python whose GIL is disabled, and workers uses several CPUs with any Python";
        const MEMORY: &str = "max_worker_memory = \"256MiB\" (from --max-worker-memory): must be 0 on this system, where \
                              Lockgate cannot measure the memory of a worker";
        for (flag, value, gil, measures_memory, mistake) in [
            ("--event-loops", "1", Gil::Always, true, None),
            ("--event-loops", "1", Gil::Disabled, true, None),
            ("--event-loops", "2", Gil::Always, true, Some(GIL)),
            ("--event-loops", "2", Gil::Enabled, true, Some(GIL)),
            ("--event-loops", "2", Gil::Disabled, true, None),
            ("--event-loops", "64", Gil::Disabled, true, None),
            ("--max-worker-memory", "256M", Gil::Always, true, None),
            ("--max-worker-memory", "0", Gil::Always, false, None),
            (
                "--max-worker-memory",
                "256M",
                Gil::Always,
                false,
                Some(MEMORY),
            ),
        ] {
            let resolved = resolved(flag, value, gil, measures_memory);
            let found = resolved.err().map(|mistakes| mistakes[0].to_string());
            assert_eq!(found.as_deref(), mistake, "{flag} {value}");
        }
    }

    #[test]
    fn idle_collection_is_pythons_where_it_stops_all_threads() {
        for (value, gil, is_said) in [
            ("idle", Gil::Always, false),
            ("idle", Gil::Enabled, true),
            ("idle", Gil::Disabled, true),
            ("freeze", Gil::Disabled, false),
        ] {
            let resolved = resolved("--gc", value, gil, true);
            let notes = resolved.unwrap().notes;
            let said = notes
                .iter()
                .any(|note| note.starts_with("gc = \"idle\" (from --gc)"));
            assert_eq!(said, is_said, "{value} {gil:?}: {notes:?}");
        }
    }
}
