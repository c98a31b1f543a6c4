//! Startup and shutdown of the supervisor: what it binds, creates or takes over, and what it removes at the end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use lockgate_config::{Config, WorkerClass};
use lockgate_observe::{GunicornEvent, Level};
use rustix::process::{Signal, getpid, kill_process, umask};

use crate::certificates::{self, Certificates};
use crate::child::setup::{ChildResources, cannot_install, replace_signals};
use crate::clock::Moment;
use crate::handover::inherited_state::InheritedState;
use crate::handover::memories::Memory;
use crate::main_loop::generation_resources::GenerationResources;
use crate::main_loop::scoreboard::SharedScoreboard;
use crate::main_loop::workers::Workers;
use crate::main_loop::{MainLoop, Outcome, Parts};
use crate::master_fifo::MasterFifos;
use crate::os::InheritedDescriptors;
use crate::os::{mode, pipe};
use crate::pid_file::{PidFile, PidFileError};
use crate::processes::admin_process::AdminProcess;
use crate::processes::hook_process::{Begun, HookProcess};
use crate::processes::optional_processes::Duty;
use crate::service_manager::notify::Notifier;
use crate::shared_memory::SharedMemory;
use crate::signals::{SupervisorSignals, TerminalSignals, WorkerSignals};
use crate::sockets::bind_with_retry;
use crate::supervisor::Event;
use crate::{Hooks, SharedContents};

/// The exit code when the server could not start.
const CANNOT_START: i32 = 1;

/// Runs the server until it is asked to stop: binds, forks, restarts. Returns the server's exit code.
///
/// 0: stopped on request. 1: could not bind or write its pid file. 3 or 4, as reported by the worker: no worker could
/// load the application. Must be called on the main thread of a single-threaded process. In a worker it never returns.
///
/// `handover` is the variable [`HANDOVER`](crate::HANDOVER), if the previous program in this process has set it: its
/// workers are serving and are to be replaced.
pub fn run(config: &Config, hooks: &mut dyn Hooks, handover: Option<&str>) -> i32 {
    if let Some(mask) = config.umask {
        umask(mode(mask));
    }
    let mut inherited = match handover.map(take_over).transpose() {
        Ok(inherited) => inherited,
        Err(error) => {
            let message = format!("cannot take over from the previous version: {error}");
            hooks.log(Level::Critical, &message);
            return CANNOT_START;
        }
    };
    let foreign = (inherited.as_ref()).map(|inherited| inherited.foreign.join(", "));
    if let Some(names) = foreign.filter(|names| !names.is_empty()) {
        let message = format!(
            "upgrade: the previous version keeps other data in its shared memory, so this begins empty: {names}"
        );
        hooks.log(Level::Warning, &message);
    }
    let mut pid_file = match own_pid_file(config, inherited.as_mut()) {
        Ok(pid_file) => pid_file,
        // Workers are already serving: a missing file must not stop the server.
        Err(error) if inherited.is_some() => {
            hooks.log(Level::Error, &error.to_string());
            None
        }
        Err(error) => {
            hooks.log(Level::Critical, &error.to_string());
            return CANNOT_START;
        }
    };
    let code = serve(config, inherited, &mut pid_file, hooks);
    if let Some(pid_file) = pid_file {
        pid_file.remove();
    }
    code
}

/// Takes over from the previous program in this process.
fn take_over(variable: &str) -> io::Result<InheritedState> {
    InheritedState::take_over(variable, InheritedDescriptors::claim()?)
}

/// The locked pid file: the inherited one, if it is the one that the settings name.
fn own_pid_file(
    config: &Config,
    inherited: Option<&mut InheritedState>,
) -> Result<Option<PidFile>, PidFileError> {
    let Some(path) = config.pidfile.as_deref() else {
        return Ok(None);
    };
    let pid = std::process::id();
    let file = inherited.and_then(|inherited| inherited.pid_file.take());
    match file.and_then(|file| PidFile::adopt(path, pid, file)) {
        Some(pid_file) => Ok(Some(pid_file)),
        None => PidFile::claim(path, pid).map(Some),
    }
}

/// `pid_file` is taken once the main loop exists, which then removes it.
fn serve(
    config: &Config,
    mut inherited: Option<InheritedState>,
    pid_file: &mut Option<PidFile>,
    hooks: &mut dyn Hooks,
) -> i32 {
    let wanted = (inherited.as_ref()).map_or(config.workers, |inherited| inherited.workers.wanted);
    let mut hook_process = HookProcess::new(&Arc::new(config.clone()), wanted, Instant::now());
    let early = match hook_process.is_needed() && inherited.is_none() {
        true => match begin_hooks(config, &mut hook_process, pid_file, hooks) {
            Ok(early) => Some(early),
            Err(code) => return code,
        },
        // Workers already serve.
        false => None,
    };
    let resources = match &mut inherited {
        Some(inherited) => {
            let mut listeners = std::mem::take(&mut inherited.listeners);
            (listeners.iter_mut()).for_each(|listener| listener.set_scheme(config));
            GenerationResources::new(config.clone(), inherited.generation, listeners)
        }
        None => match bind_with_retry(config, &[], hooks) {
            Ok(listeners) => GenerationResources::new(config.clone(), 0, listeners),
            Err(failure) => {
                let event = failure.as_gunicorn();
                hook_process.end();
                hooks.log_as(&event, Level::Critical, &failure.to_string());
                return CANNOT_START;
            }
        },
    };
    for listener in &resources.listeners {
        // gunicorn has one line for all of them.
        hooks.log_as(
            &GunicornEvent::InAnotherLine,
            Level::Info,
            &format!(
                "listening at {} (pid {}){}",
                listener.endpoint(),
                std::process::id(),
                listener.access_note()
            ),
        );
    }
    log_for_gunicorn(config, &resources, hooks);
    let admin = match bind_admin(config, inherited.as_mut(), hooks) {
        Ok(admin) => admin,
        Err(code) => {
            release(&resources, None, hook_process);
            return code;
        }
    };
    let board = (inherited.as_mut())
        .and_then(|inherited| inherited.memories.remove(&Memory::Certificates))
        .and_then(|memory| certificates::inherit(memory).ok());
    let certificates = match Certificates::start(config, board, Moment::now(), hooks) {
        Ok(certificates) => certificates,
        Err(problem) => {
            release(&resources, admin, hook_process);
            hooks.log(Level::Critical, &problem);
            return CANNOT_START;
        }
    };
    let fifos = match MasterFifos::create(&config.uwsgi.fifos) {
        Ok(fifos) => fifos,
        // A serving server must not stop because of them.
        Err(problem) if inherited.is_some() => {
            hooks.log(Level::Error, &problem);
            MasterFifos::default()
        }
        Err(problem) => {
            release(&resources, admin, hook_process);
            hooks.log(Level::Critical, &problem);
            return CANNOT_START;
        }
    };
    let parts = (admin, hook_process, fifos);
    let assembled = assemble(resources, parts, certificates, inherited, early, hooks);
    let (mut main_loop, first) = match assembled {
        Ok(assembled) => assembled,
        Err(code) => return code,
    };
    main_loop.pid_file = pid_file.take();
    main_loop.hook_process.when_ready();
    let outcome = main_loop.run(first, hooks);
    finish(main_loop, outcome, hooks)
}

fn log_for_gunicorn(config: &Config, resources: &GenerationResources, hooks: &dyn Hooks) {
    let listeners = resources.listeners.iter();
    hooks.log_for_gunicorn(&GunicornEvent::Listening {
        urls: listeners
            .map(|listener| listener.endpoint().to_string())
            .collect(),
        pid: std::process::id(),
    });
    let class = match (config.gunicorn.worker_class, config.max_threads()) {
        (Some(class @ WorkerClass::Gevent), _) => class.name(),
        (_, 1) => WorkerClass::Sync.name(),
        // In gunicorn, too, a sync worker with threads is a gthread worker.
        _ => WorkerClass::Gthread.name(),
    };
    hooks.log_for_gunicorn(&GunicornEvent::UsingWorker { class });
}

/// What exists early when the hook process is started before the server binds.
struct Early {
    signals: SupervisorSignals,
    lifeline: (OwnedFd, OwnedFd),
}

/// Starts the hook process and waits for `on_starting`. The error is the server's exit code. Does not return in the
/// hook process.
fn begin_hooks(
    config: &Config,
    hook_process: &mut HookProcess,
    pid_file: &mut Option<PidFile>,
    hooks: &mut dyn Hooks,
) -> Result<Early, i32> {
    let early = SupervisorSignals::install(TerminalSignals::of(config)).and_then(|signals| {
        let lifeline = pipe()?;
        Ok(Early { signals, lifeline })
    });
    let early = early.map_err(|error| cannot_install(&error, hooks))?;
    hooks.unblock_signals();
    let supervisor = Some(getpid());
    match hook_process.begin(&early.signals, hooks) {
        Begun::Started => Ok(early),
        Begun::Refused(code) => {
            hook_process.end();
            Err(code)
        }
        Begun::Child(new) => {
            // It may outlive the supervisor by a moment, and must not keep a new one from starting.
            drop(pid_file.take());
            let code = new.replace_signals(supervisor).map(|signals| {
                let (lifeline, _writing_end) = early.lifeline;
                drop(early.signals);
                let resources = ChildResources {
                    supervisor,
                    config: Arc::new(config.clone()),
                    generation: 0,
                    first_age: 0,
                    lifeline,
                    listeners: Vec::new(),
                    scoreboard: None,
                    certificates: None,
                    stacks: None,
                    stats: Vec::new(),
                    reports: None,
                };
                let events = hook_process.take_receiver();
                new.run_hook_process(resources, events, signals, hooks)
            });
            let (Ok(code) | Err(code)) = code;
            hooks.exit_process(code)
        }
    }
}

/// Listens on the admin address, if one is configured. The error is the server's exit code.
fn bind_admin(
    config: &Config,
    inherited: Option<&mut InheritedState>,
    hooks: &dyn Hooks,
) -> Result<Option<AdminProcess>, i32> {
    let is_serving = inherited.is_some();
    let (present, predecessor) = match inherited {
        Some(inherited) => (
            std::mem::take(&mut inherited.admin_listeners),
            inherited.admin,
        ),
        None => (Vec::new(), None),
    };
    let admin = match AdminProcess::bind(config, present, predecessor, Instant::now(), hooks) {
        Ok(admin) => admin,
        // A serving server must not stop because its admin listener fails.
        Err(problem) if is_serving => {
            hooks.log(Level::Error, &format!("no admin listener: {problem}"));
            None
        }
        Err(problem) => {
            hooks.log(Level::Critical, &problem);
            return Err(CANNOT_START);
        }
    };
    for url in admin.iter().flat_map(AdminProcess::urls) {
        hooks.log(Level::Info, &format!("admin listener at {url}"));
    }
    for address in admin.iter().flat_map(AdminProcess::stats_addresses) {
        hooks.log(Level::Info, &format!("uWSGI stats server at {address}"));
    }
    Ok(admin)
}

/// The server cannot start: removes its socket files.
fn release(
    resources: &GenerationResources,
    admin: Option<AdminProcess>,
    mut hook_process: HookProcess,
) {
    hook_process.end();
    resources.remove_files();
    if let Some(mut admin) = admin {
        admin.end();
    }
}

/// The main loop and its first event. The error is the server's exit code.
fn assemble(
    resources: GenerationResources,
    (admin, mut hook_process, fifos): (Option<AdminProcess>, HookProcess, MasterFifos),
    certificates: Certificates,
    mut inherited: Option<InheritedState>,
    early: Option<Early>,
    hooks: &mut dyn Hooks,
) -> Result<(MainLoop, Event), i32> {
    let inherited_memory = inherited
        .as_mut()
        .map(|inherited| std::mem::take(&mut inherited.memories));
    let mut inherited_memory = inherited_memory.unwrap_or_default();
    let scoreboard = inherited_memory.remove(&Memory::Scoreboard);
    let memory = SharedMemory::new(inherited_memory, &resources.config, hooks);
    let terminal = TerminalSignals::of(&resources.config);
    let prepared = match (inherited, early) {
        (Some(inherited), _) => SupervisorSignals::install(terminal).map(|signals| {
            let workers = Some((inherited.workers, inherited.processes));
            (signals, inherited.lifeline, workers)
        }),
        (None, Some(early)) => Ok((early.signals, early.lifeline, None)),
        (None, None) => {
            SupervisorSignals::install(terminal).and_then(|signals| Ok((signals, pipe()?, None)))
        }
    };
    let (signals, lifeline, workers) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            release(&resources, admin, hook_process);
            fifos.remove();
            return Err(cannot_install(&error, hooks));
        }
    };
    hooks.unblock_signals();
    // Children may have exited during the exec; their SIGCHLD went to the previous program, if to any. And a signal that
    // arrived while the server waited for `on_starting` has to wake the main loop once more.
    let _to_itself = kill_process(getpid(), Signal::CHILD);
    let (first, workers) = match workers {
        Some((handover, processes)) => (Event::Resumed(handover), Workers::new(processes)),
        None => (Event::Start, Workers::default()),
    };
    let scoreboard = SharedScoreboard::new(scoreboard, hooks);
    hooks.share_memory(SharedContents {
        store: memory.store.get(),
        broadcast_log: memory.broadcast_log.get(),
        responses: memory.responses.get(),
        purge_log: memory.purge_log.get(),
        rates: memory.rates.get(),
        history: memory.history.get(),
        events: memory.events.get(),
        failures: memory.failures.get(),
        span_log: memory.span_log.get(),
        line_log: memory.line_log.get(),
        scoreboard: scoreboard.get(),
    });
    hook_process.adopt(workers.slots());
    let main_loop = MainLoop::new(Parts {
        signals,
        resources,
        workers,
        scoreboard,
        memory,
        fifos,
        certificates,
        lifeline,
        admin,
        hook_process,
        notifier: Notifier::new(&hooks.service_manager(), Instant::now(), hooks),
    });
    Ok((main_loop, first))
}

/// Ends the supervisor, or runs the child process that this is.
fn finish(mut main_loop: MainLoop, outcome: Outcome, hooks: &mut dyn Hooks) -> i32 {
    let supervisor = main_loop.pid;
    let code = match outcome {
        Outcome::Exit(code) => {
            main_loop.remove_files();
            main_loop.finish_hooks(hooks);
            return code;
        }
        Outcome::Worker(new) => {
            let installed = WorkerSignals::install();
            replace_signals(installed, &main_loop.signals, supervisor, hooks).map(|signals| {
                let resources = main_loop.into_child_resources(new.generation);
                let channels = (new.status, new.control);
                resources.run_worker(new.slot, channels, new.origin, signals, hooks)
            })
        }
        Outcome::ForkServer(new) => {
            // A fork server receives no orders: the supervisor kills it.
            let installed = WorkerSignals::ignoring();
            replace_signals(installed, &main_loop.signals, supervisor, hooks).map(|signals| {
                let resources = main_loop.into_child_resources(new.generation);
                new.run(resources, signals, hooks)
            })
        }
        Outcome::Admin(new) => new.replace_signals(supervisor).map(|signals| {
            let resources = main_loop.into_admin_resources();
            new.run_admin(resources, signals, hooks)
        }),
        Outcome::Optional(duty, new) => new.replace_signals(supervisor).map(|signals| {
            let resources = match duty {
                Duty::Watcher => main_loop.into_watcher_resources(),
                Duty::Acme | Duty::Relay | Duty::Exporter => main_loop.into_optional_resources(),
            };
            new.run_optional(duty, resources, signals, hooks)
        }),
        Outcome::Hooks(new) => new.replace_signals(supervisor).map(|signals| {
            let (resources, events) = main_loop.into_hook_resources();
            new.run_hook_process(resources, events, signals, hooks)
        }),
    };
    let (Ok(code) | Err(code)) = code;
    hooks.exit_process(code)
}
