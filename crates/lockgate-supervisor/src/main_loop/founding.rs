//! Startup and shutdown of a supervisor: what it takes over or makes, and what it removes at the end.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_observe::{Level, Scoreboard};
use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getpid, kill_process, umask};

use super::{CANNOT_START, MainLoop, Outcome, admin};
use crate::Hooks;
use crate::admin_process::AdminProcess;
use crate::estate::Estate;
use crate::measures::Measures;
use crate::notify::Notifier;
use crate::oom::OomCounter;
use crate::os::{map_words, shared_memory};
use crate::pid_file::{PidFile, PidFileError};
use crate::signals::SupervisorSignals;
use crate::site::Site;
use crate::sockets::bind_patiently;
use crate::supervisor::{Event, Supervisor};

/// Runs the server until it is asked to stop: binds, forks, restarts. Returns the server's exit code.
///
/// 0: stopped on request. 1: could not bind or write its pid file. 3 or 4, as reported by the worker: no worker could
/// load the application. Must be called on the main thread of a single-threaded process. In a worker it never returns.
///
/// `left` is the variable [`HANDOVER`](crate::HANDOVER), if the previous program in this process has set it: its
/// workers are serving and are to be replaced.
pub fn run(config: &Config, hooks: &mut dyn Hooks, left: Option<&str>) -> i32 {
    if let Some(mask) = config.umask {
        umask(Mode::from_raw_mode(mask));
    }
    let mut estate = match left.map(Estate::take_over).transpose() {
        Ok(estate) => estate,
        Err(error) => {
            let message = format!("what the version before has left cannot be taken over: {error}");
            hooks.log(Level::Critical, &message);
            return CANNOT_START;
        }
    };
    let mut pid_file = match own_pid_file(config, estate.as_mut()) {
        Ok(pid_file) => pid_file,
        // Workers are already serving: a missing file must not stop the site.
        Err(error) if estate.is_some() => {
            hooks.log(Level::Error, &error.to_string());
            None
        }
        Err(error) => {
            hooks.log(Level::Critical, &error.to_string());
            return CANNOT_START;
        }
    };
    let code = serve(config, estate, &mut pid_file, hooks);
    if let Some(pid_file) = pid_file {
        pid_file.remove();
    }
    code
}

/// The locked pid file: the inherited one, if it is the one that the settings name.
fn own_pid_file(
    config: &Config,
    estate: Option<&mut Estate>,
) -> Result<Option<PidFile>, PidFileError> {
    let Some(path) = config.pidfile.as_deref() else {
        return Ok(None);
    };
    let pid = std::process::id();
    let left = estate.and_then(|estate| estate.pid_file.take());
    match left.and_then(|left| PidFile::adopt(path, pid, left)) {
        Some(pid_file) => Ok(Some(pid_file)),
        None => PidFile::claim(path, pid).map(Some),
    }
}

/// `pid_file` is taken once the supervisor exists, which then removes it.
fn serve(
    config: &Config,
    mut estate: Option<Estate>,
    pid_file: &mut Option<PidFile>,
    hooks: &mut dyn Hooks,
) -> i32 {
    let site = match &mut estate {
        Some(estate) => {
            let listeners = std::mem::take(&mut estate.listeners);
            Ok(Site::new(config.clone(), estate.generation, listeners))
        }
        None => bind_patiently(config, &[], hooks)
            .map(|listeners| Site::new(config.clone(), 0, listeners)),
    };
    let site = match site {
        Ok(site) => site,
        Err(failure) => {
            hooks.log(Level::Critical, &failure.to_string());
            return CANNOT_START;
        }
    };
    for listener in &site.listeners {
        hooks.log(
            Level::Info,
            &format!(
                "listening at {} (pid {}){}",
                listener.url(),
                std::process::id(),
                listener.access_note()
            ),
        );
    }
    let admin = match admin::bind(&site.config, estate.as_mut(), hooks) {
        Ok(admin) => admin,
        Err(code) => {
            site.remove_files();
            return code;
        }
    };
    let mut main_loop = match MainLoop::new(site, admin, estate, hooks) {
        Ok(main_loop) => main_loop,
        Err(code) => return code,
    };
    main_loop.pid_file = pid_file.take();
    main_loop.notifier = Notifier::new(&hooks.service_manager(), Instant::now(), hooks);
    match main_loop.turn_until_done(hooks) {
        Outcome::Exit(code) => {
            main_loop.remove_files();
            code
        }
        Outcome::Admin(sender, ear) => {
            let code = admin::live(main_loop, sender, ear, hooks);
            hooks.exit_process(code)
        }
        Outcome::Template(birth) => {
            let code = main_loop.become_template(birth, hooks);
            hooks.exit_process(code)
        }
        Outcome::Child(birth) => {
            let code = main_loop.become_worker(birth, hooks);
            hooks.exit_process(code)
        }
    }
}

/// The scoreboard; optional: without it workers still serve.
fn new_scoreboard(hooks: &dyn Hooks) -> Option<(Scoreboard, OwnedFd)> {
    let made = shared_memory(Scoreboard::WORDS).and_then(|memory| {
        Ok((
            Scoreboard::new(map_words(&memory, Scoreboard::WORDS)?),
            memory,
        ))
    });
    match made {
        Ok((scoreboard, memory)) => {
            scoreboard.record_start(std::process::id(), admin::monotonic_nanos());
            Some((scoreboard, memory))
        }
        Err(error) => {
            let message = format!(
                "no memory could be shared between workers: {error}; connections may pile up on one of them"
            );
            hooks.log(Level::Warning, &message);
            None
        }
    }
}

impl MainLoop {
    /// The error is the server's exit code.
    fn new(
        site: Site,
        mut admin: Option<AdminProcess>,
        estate: Option<Estate>,
        hooks: &mut dyn Hooks,
    ) -> Result<Self, i32> {
        let held = SupervisorSignals::install().and_then(|signals| match estate {
            Some(estate) => Ok((
                signals,
                estate.lifeline,
                estate.scoreboard,
                Some((estate.inherited, estate.children)),
            )),
            None => Ok((signals, pipe_with(PipeFlags::CLOEXEC)?, None, None)),
        });
        let (signals, lifeline, scoreboard, heirs) = match held {
            Ok(held) => held,
            Err(error) => {
                site.remove_files();
                if let Some(admin) = &mut admin {
                    admin.end();
                }
                let message = format!("cannot take over signals: {error}");
                hooks.log(Level::Critical, &message);
                return Err(CANNOT_START);
            }
        };
        hooks.unblock_signals();
        let (first, children) = match heirs {
            Some((inherited, children)) => {
                // Children may have exited during the exec; their SIGCHLD went to the previous program, if to any.
                let _to_itself = kill_process(getpid(), Signal::CHILD);
                (Event::Resumed(inherited), children)
            }
            None => (Event::Start, HashMap::new()),
        };
        let (scoreboard, scoreboard_memory) = scoreboard.or_else(|| new_scoreboard(hooks)).unzip();
        let rules = site.rules();
        Ok(Self {
            supervisor: Supervisor::new(rules),
            first: Some(first),
            pid: Some(getpid()),
            signals,
            measures: Measures::new(&rules, site.config.worker_memory_measure),
            oom: OomCounter::new(),
            site,
            next: None,
            lifeline,
            scoreboard,
            scoreboard_memory,
            children,
            admin,
            trial: None,
            left_by_templates: Vec::new(),
            pid_file: None,
            notifier: None,
        })
    }

    /// Final cleanup: removes the socket files and the pid file, and ends the admin process.
    fn remove_files(&mut self) {
        for site in [Some(&self.site), self.next.as_ref()].into_iter().flatten() {
            site.remove_files();
        }
        if let Some(admin) = &mut self.admin {
            admin.end();
        }
        if let Some(pid_file) = &self.pid_file {
            pid_file.remove();
        }
    }
}
