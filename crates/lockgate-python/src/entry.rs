//! The composition root: from the command line to a running supervisor.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::Arc;

use lockgate_config::{Config, Invocation, LogWording, Resolved};
use lockgate_observe::{GunicornEvent, Level};
use lockgate_supervisor::{ExitWatch, HANDOVER, check_handover};
use lockgate_worker::check_route_files;
use lockgate_worker::log::ErrorLog;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::fs::{Mode, OFlags};
use rustix::process::getppid;

use crate::evaluation::SettingsError;
use crate::hooks::PythonHooks;
use crate::interpreter::exceptions;
use crate::preparation::{self, Refusal, prepare, raise_descriptor_limit};
use crate::process::signals;
use crate::process::title::{self, Role};
use crate::progress::Waiting;
use crate::reloading::FileReports;
use crate::settings_source::{Program, Sources, hide_service_manager};
use crate::worker::gunicorn::WorkerHooks;
use crate::worker::loggers::Loggers;
use crate::worker::shutdown;
use crate::{interpreter, loading, successor};

/// Exit code: the command line or a setting is wrong.
const INVALID_CONFIGURATION: i32 = 2;
/// Exit code: the configuration in Python has failed.
const CONF_FAILED: i32 = 3;
/// Exit code: the server could not start.
const CANNOT_START: i32 = 1;

/// Runs the command line and returns the exit code.
pub(crate) fn run(py: Python<'_>, arguments: &[OsString]) -> i32 {
    open_standard_streams();
    let handover = match take_handover(py) {
        Ok(handover) => handover,
        Err(error) => {
            let problem = exceptions::summary(py, &error);
            print(
                &mut io::stderr(),
                &format!("lockgate: {HANDOVER}: {problem}\n"),
            );
            return CANNOT_START;
        }
    };
    let agreement = handover.as_deref().and_then(check_handover);
    let sources = Sources::new(arguments, served_process(agreement.is_some()));
    if let Err(error) = hide_service_manager(py) {
        let problem = exceptions::summary(py, &error);
        print(&mut io::stderr(), &format!("lockgate: {problem}\n"));
        return CANNOT_START;
    }
    let resolved = match sources.read(py) {
        Ok(resolved) => resolved,
        Err(SettingsError::Mistakes(errors)) => {
            report_errors(&errors);
            return INVALID_CONFIGURATION;
        }
        Err(SettingsError::Conf(failure)) => {
            print(&mut io::stderr(), &failure.text());
            return CONF_FAILED;
        }
    };
    match &resolved.invocation {
        Invocation::Help(text) | Invocation::Version(text) => {
            print(&mut io::stdout(), &format!("{}\n", text.trim_end()));
            0
        }
        Invocation::PrintConfig => {
            print(
                &mut io::stdout(),
                &format!("{}\n", resolved.print().trim_end()),
            );
            0
        }
        Invocation::CheckConfig => check(py, &resolved),
        Invocation::Serve => match agreement {
            None => serve(py, &resolved, sources, None, handover.as_deref()),
            Some(agreement) => {
                let code = check_upgrade(py, &resolved, &sources, agreement);
                // Threads and exit functions from before the start of this server must not delay the upgrade.
                interpreter::leave(py, code)
            }
        },
    }
}

/// The process that is or will be the server: for a program on trial, the parent that started it.
fn served_process(is_trial: bool) -> u32 {
    let parent = getppid().filter(|_| is_trial);
    parent.map_or_else(std::process::id, |pid| {
        pid.as_raw_nonzero().get().unsigned_abs()
    })
}

/// Takes the handover payload of the previous program in this process out of the environment.
fn take_handover(py: Python<'_>) -> PyResult<Option<String>> {
    let handover: Option<String> = py
        .import("os")?
        .getattr("environ")?
        .call_method1("pop", (HANDOVER, py.None()))?
        .extract()?;
    Ok(handover.filter(|handover| !handover.trim().is_empty()))
}

/// Whether this program could take over from another version: it starts, its settings are valid, and the two versions
/// are compatible. The application is not loaded, because this user may have no access to it; workers load it.
fn check_upgrade(
    py: Python<'_>,
    resolved: &Resolved,
    sources: &Sources,
    agreement: Result<(), String>,
) -> i32 {
    let mut config = resolved.config.clone();
    let tried = agreement
        .and_then(|()| sources.service_manager().find_sockets(&mut config))
        .map_err(|problem| vec![Refusal::Other(problem)])
        .and_then(|()| prepare(py, &config));
    match tried {
        Ok(_prepared) => 0,
        Err(errors) => {
            report_errors(&preparation::texts(&errors, resolved));
            INVALID_CONFIGURATION
        }
    }
}

/// Opens closed standard streams on /dev/null. After `2>&-` the next descriptor opened would get the stream's number,
/// and log lines would go to a client. Children inherit the streams.
fn open_standard_streams() {
    const FIRST_OTHER: RawFd = 3;
    // open(2) returns the lowest free number. Without /dev/null there is no better choice.
    while let Ok(nowhere) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
        if nowhere.as_raw_fd() >= FIRST_OTHER {
            return;
        }
        // Kept open for the life of the process, by its number.
        let _standard_stream = nowhere.into_raw_fd();
    }
}

/// Loads the application in this process, without a fork, and reports its errors.
fn check(py: Python<'_>, resolved: &Resolved) -> i32 {
    for note in &resolved.notes {
        print(&mut io::stderr(), &format!("lockgate: {note}\n"));
    }
    let config = &resolved.config;
    // Read once the directory is the one that the workers have.
    let prepared = prepare(py, config).and_then(|prepared| {
        let read = check_route_files(&config.routes);
        read.map_err(|errors| Vec::from_iter(errors.into_iter().map(Refusal::Other)))?;
        Ok(prepared)
    });
    let log = match prepared {
        Ok((log, _identity)) => log,
        Err(errors) => {
            report_errors(&preparation::texts(&errors, resolved));
            return invalid(config);
        }
    };
    if let Err(problem) = Loggers::install(py, config, &log) {
        print(&mut io::stderr(), &format!("lockgate: {problem}\n"));
        return CANNOT_START;
    }
    // As in a worker, which would fail at each of its boots.
    if let Err(failure) = WorkerHooks::start(py, config, std::iter::empty()) {
        print(&mut io::stderr(), &format!("{}\n", failure.text));
        return failure.code;
    }
    let app = &config.app;
    let waiting = Waiting::begin(format!("loading {app}"));
    let loaded = loading::load(py, config, None, None);
    drop(waiting);
    let code = match loaded {
        Ok(_) => {
            print(
                &mut io::stdout(),
                &format!("lockgate: configuration valid, {app} loads\n"),
            );
            0
        }
        Err(failure) => {
            print(&mut io::stderr(), &format!("{}\n", failure.text));
            failure.code
        }
    };
    // Not through Python's own exit: a thread that the import has started may never end.
    let watch = ExitWatch::alone("lockgate --check-config".to_owned(), code);
    shutdown::finish(watch, shutdown::ExitingProcess::alone(log));
    interpreter::leave(py, code)
}

/// Serves the application of a program (`lockgate.serve`). Each worker calls `provide` for it; without that, its name is
/// a setting. Returns the exit code, and does not return in a worker.
///
/// # Errors
/// When a setting is wrong: ValueError.
pub(crate) fn serve_program(
    py: Python<'_>,
    program: Program,
    provide: Option<Py<PyAny>>,
) -> PyResult<i32> {
    let sources = Sources::of_program(program);
    hide_service_manager(py)?;
    let resolved = sources
        .read(py)
        .map_err(|error| PyValueError::new_err(error.text()))?;
    if resolved.config.reload.is_enabled
        && (sources.program()).is_some_and(|one| one.has_application && !one.is_development)
    {
        return Err(PyValueError::new_err(
            "reload = true: the workers inherit the application of the program and cannot load changed code; name the \
             application, as in lockgate.serve(\"shop.wsgi:app\", reload=True)",
        ));
    }
    Ok(serve(py, &resolved, sources, provide, None))
}

/// Warns of threads that exist in this process and will not exist in its workers.
fn warn_of_threads(py: Python<'_>, log: &ErrorLog) -> PyResult<()> {
    let threads: Vec<String> = py
        .import("lockgate.fork_server")?
        .call_method0("threads")?
        .extract()?;
    if !threads.is_empty() {
        let message = format!(
            "the program has started threads before lockgate.serve, and the workers will not have them: {}; \
             start them at their first use, or by os.register_at_fork",
            threads.join("; ")
        );
        log.write(Level::Warning, &message);
    }
    Ok(())
}

fn serve(
    py: Python<'_>,
    resolved: &Resolved,
    sources: Sources,
    provide: Option<Py<PyAny>>,
    handover: Option<&str>,
) -> i32 {
    let is_program = sources.program().is_some();
    if let Err(error) = successor::load(py) {
        let problem = exceptions::summary(py, &error);
        print(&mut io::stderr(), &format!("lockgate: {problem}\n"));
        return CANNOT_START;
    }
    let mut config = resolved.config.clone();
    let manager = sources.service_manager();
    if let Err(problem) = manager.find_sockets(&mut config) {
        print(&mut io::stderr(), &format!("lockgate: {problem}\n"));
        return invalid(&config);
    }
    // Programs that the application starts must not inherit these sockets.
    manager.close_at_exec(true);
    let config = &config;
    let (log, identity) = match prepare(py, config) {
        Ok(prepared) => prepared,
        Err(errors) => {
            report_errors(&preparation::texts(&errors, resolved));
            return invalid(config);
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    log.write_as(
        &GunicornEvent::Starting { version },
        Level::Info,
        &format!(
            "Lockgate {version} is starting (application: {}, pid {})",
            config.app,
            std::process::id()
        ),
    );
    if let Some(mounts) = mounts(config) {
        log.write(Level::Info, &format!("mounted applications: {mounts}"));
    }
    log.write(Level::Info, &config.workers_reason);
    raise_descriptor_limit(&log, config.worker_connections);
    for note in &resolved.notes {
        log.write(Level::Warning, note);
    }
    let unused = manager.unused_sockets(config);
    if !unused.is_empty() {
        let names = unused.join(", ");
        let message = format!(
            "systemd has passed sockets that no address names ({names}): clients that connect to them wait and get no \
             response; remove bind from the settings, add systemd to it, or remove ListenStream="
        );
        log.write(Level::Warning, &message);
    }
    let is_root = config.user.is_none() && rustix::process::geteuid().is_root();
    if is_root && !config.is_development {
        log.write(
            Level::Warning,
            "the workers run as root: a vulnerability of the application then affects the whole host or container; \
             configure another user (settings: user, group)",
        );
    }
    if is_program && let Err(error) = warn_of_threads(py, &log) {
        let problem = exceptions::summary(py, &error);
        let message = format!("cannot list the threads of the program: {problem}");
        log.write(Level::Warning, &message);
    }
    if let Err(error) = signals::prepare_supervisor(py) {
        let problem = exceptions::summary(py, &error);
        let message = format!("cannot set signal handlers: {problem}");
        log.write(Level::Critical, &message);
        return CANNOT_START;
    }
    title::set(py, config, Role::Supervisor);
    if config.reload.is_enabled
        && let Err(error) = FileReports::prepare(py, config)
    {
        let problem = exceptions::summary(py, &error);
        let message = format!("cannot import the modules that reload needs: {problem}");
        log.write(Level::Critical, &message);
        return CANNOT_START;
    }
    let mut hooks = PythonHooks::new(config, log, identity, sources);
    hooks.provide = provide;
    let code = lockgate_supervisor::run(config, &mut hooks, handover);
    if is_program {
        // The program goes on, for as long as it wants.
        return code;
    }
    // The code that runs from here on is not the server's: exit functions and threads of a wrapper, of `sitecustomize`,
    // of an agent (`ddtrace-run`), and the code after a call of `main()`.
    let log = Arc::clone(&hooks.log);
    let watch = ExitWatch::alone(format!("the supervisor (pid {})", std::process::id()), code);
    if watch
        .start(Arc::new(shutdown::ExitingProcess::alone(log)))
        .is_err()
    {
        // Without a thread to watch them the server does not wait for them.
        interpreter::leave(py, code);
    }
    code
}

/// The mounts and their applications, if there are any.
fn mounts(config: &Config) -> Option<String> {
    let mounts = config.routes.mounts();
    let shown: Vec<String> = mounts
        .map(|(route, mount)| format!("{route} ({})", mount.app))
        .collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

/// The exit code for a setting that the system refuses.
fn invalid(config: &Config) -> i32 {
    match config.log_style.wording {
        LogWording::Lockgate => INVALID_CONFIGURATION,
        // As in gunicorn.
        LogWording::Gunicorn => CANNOT_START,
    }
}

/// Writes each error as a line on standard error.
fn report_errors(errors: &[String]) {
    for error in errors {
        print(&mut io::stderr(), &format!("lockgate: {error}\n"));
    }
}

/// Writes to a standard stream and ignores errors: a stream without a reader is no reason to fail.
fn print(stream: &mut dyn Write, text: &str) {
    let _ = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush());
}
