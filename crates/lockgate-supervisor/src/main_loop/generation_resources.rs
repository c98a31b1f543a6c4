//! The resources of a generation of workers: its settings, its listening sockets and its fork server. During a reload
//! there are two.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_observe::Level;

use crate::channels::fork_request::fork_request_channel;
use crate::channels::status::status_channel;
use crate::child::fork_server_process::NewForkServer;
use crate::child::setup::WorkerOrigin;
use crate::main_loop::forked::Forked;
use crate::main_loop::workers::Workers;
use crate::os::become_subreaper;
use crate::processes::exit_status::ExitStatus;
use crate::processes::fork_server::{ForkServer, ForkServerEvent};
use crate::sockets::{self, BindFailure, Listener};
use crate::supervisor::{Event, Generation, Rules};
use crate::{Fork, Hooks};

/// The exit code of a fork server that dies while loading the application without reporting a reason.
const UNEXPLAINED: i32 = 3;

/// See the module.
pub(crate) struct GenerationResources {
    /// The number of reloads so far.
    pub(crate) generation: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) listeners: Vec<Listener>,
    /// The number of the fork of its first worker, once that is forked.
    pub(crate) first_age: Option<u64>,
    /// The process that forks its workers, once one is needed; only with `preload`.
    fork_server: Option<ForkServer>,
}

impl GenerationResources {
    /// The first generation, or the one that workers of the previous version serve.
    pub(crate) fn new(config: Config, generation: u64, listeners: Vec<Listener>) -> Self {
        Self {
            generation,
            config: Arc::new(config),
            listeners,
            first_age: None,
            fork_server: None,
        }
    }

    /// The next generation, with new settings: unchanged addresses keep their sockets, so that no queued connection is
    /// lost. Also returns the names of settings that have changed but cannot take effect.
    pub(crate) fn next(
        &self,
        mut config: Config,
        owner: Option<(u32, u32)>,
    ) -> Result<(Self, Vec<&'static str>), BindFailure> {
        let unchanged = keep_fixed_settings(&self.config, &mut config);
        let listeners = sockets::bind(&config, owner, &self.listeners)?;
        let config = Arc::new(config);
        let generation = self.generation + 1;
        let next = Self {
            generation,
            config,
            listeners,
            first_age: None,
            fork_server: None,
        };
        Ok((next, unchanged))
    }

    /// Releases everything that `other` does not use.
    pub(crate) fn release_all_but(self, other: &Self) {
        for listener in &self.listeners {
            if !other.listeners.iter().any(|kept| kept.is_same(listener)) {
                listener.remove_file();
            }
        }
    }

    /// Final cleanup: removes the socket files.
    pub(crate) fn remove_files(&self) {
        self.listeners.iter().for_each(Listener::remove_file);
    }

    /// The settings that decisions depend on.
    pub(crate) fn rules(&self) -> Rules {
        let config = &self.config;
        Rules {
            workers: config.workers,
            timeout: config.timeout,
            graceful_timeout: config.graceful_timeout,
            drain_delay: config.drain_delay,
            boot_timeout: config.boot_timeout,
            canary_period: config.canary_period,
            canary_max_error_increase: config.canary_max_error_increase,
            max_requests: config.max_requests,
            max_requests_jitter: config.max_requests_jitter,
            max_worker_age: config.max_worker_age,
            max_worker_memory: config.max_worker_memory,
            max_worker_memory_hard: config.max_worker_memory_hard,
        }
    }

    /// The pid of its fork server.
    pub(super) fn fork_server_pid(&self) -> Option<u32> {
        self.fork_server.as_ref().map(ForkServer::pid)
    }

    pub(super) fn fork_server(&self) -> Option<&ForkServer> {
        self.fork_server.as_ref()
    }

    /// Requests a worker from the fork server, which is forked first if there is none.
    pub(super) fn request_fork(
        &mut self,
        slot: usize,
        generation: Generation,
        origin: WorkerOrigin,
        hooks: &mut dyn Hooks,
    ) -> io::Result<Forked<NewForkServer>> {
        let fork_server = match &mut self.fork_server {
            Some(fork_server) => fork_server,
            None => {
                become_subreaper()?;
                let (status, child_status) = status_channel()?;
                let (requests, child_requests) = fork_request_channel()?;
                let pid = match hooks.fork()? {
                    Fork::Parent(pid) => pid,
                    Fork::Child => {
                        return Ok(Forked::Child(NewForkServer {
                            generation,
                            status: child_status,
                            requests: child_requests,
                        }));
                    }
                };
                let boot_timeout = self.config.boot_timeout;
                let channels = (status, requests);
                let fork_server = ForkServer::new(pid, channels, boot_timeout, Instant::now());
                self.fork_server.insert(fork_server)
            }
        };
        fork_server.request_worker(slot, origin, Instant::now())?;
        Ok(Forked::Parent(Vec::new()))
    }

    /// Handles messages from the fork server.
    pub(super) fn read_fork_server(
        &mut self,
        workers: &mut Workers,
        hooks: &dyn Hooks,
    ) -> Vec<Event> {
        let Some(fork_server) = &mut self.fork_server else {
            return Vec::new();
        };
        let pid = fork_server.pid();
        let mut events = Vec::new();
        let mut failure = None;
        for event in fork_server.read(Instant::now()) {
            match event {
                ForkServerEvent::Loaded => {
                    let seconds = fork_server.forked_at().elapsed().as_secs_f64();
                    let message = format!(
                        "the fork server (pid {pid}) has loaded the application in {seconds:.2} s"
                    );
                    hooks.log(Level::Info, &message);
                }
                ForkServerEvent::Forked { pid, worker } => {
                    events.push(Event::Forked {
                        slot: worker.slot,
                        pid,
                    });
                    workers.insert(pid, worker);
                }
                ForkServerEvent::ForkFailed { slot, reason } => {
                    events.push(Event::ForkFailed { slot, reason });
                }
                ForkServerEvent::LoadFailed { code, text } => failure = Some((code, text)),
            }
        }
        if let Some((code, text)) = failure {
            events.extend(load_failed(fork_server, code, &text));
            // It exits by itself.
            self.fork_server = None;
        }
        events
    }

    /// Kills the fork server if it has not loaded the application, or not forked a worker, in time.
    pub(super) fn kill_late_fork_server(&mut self, now: Instant) -> Vec<Event> {
        let is_late =
            |fork_server: &mut ForkServer| fork_server.deadline().is_some_and(|at| at <= now);
        let Some(mut fork_server) = self.fork_server.take_if(is_late) else {
            return Vec::new();
        };
        fork_server.kill();
        let text = fork_server.timeout_message();
        load_failed(&mut fork_server, UNEXPLAINED, &text)
    }

    /// If the process that has exited was the fork server: its pending forks, as failed.
    pub(super) fn reap_fork_server(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        hooks: &dyn Hooks,
    ) -> Option<Vec<Event>> {
        let mut fork_server = self
            .fork_server
            .take_if(|fork_server| fork_server.pid() == pid)?;
        if !fork_server.is_loaded() {
            let text = format!(
                "the fork server (pid {pid}) {exit_status} before it had loaded the application"
            );
            return Some(load_failed(&mut fork_server, UNEXPLAINED, &text));
        }
        let message =
            format!("the fork server (pid {pid}) {exit_status}; the next fork starts another one");
        hooks.log(Level::Warning, &message);
        Some(fork_failed(&mut fork_server))
    }

    /// Kills the fork server; returns its pending forks, as failed.
    pub(super) fn kill_fork_server(&mut self) -> Vec<Event> {
        let Some(mut fork_server) = self.fork_server.take() else {
            return Vec::new();
        };
        fork_server.kill();
        fork_failed(&mut fork_server)
    }
}

fn load_failed(fork_server: &mut ForkServer, code: i32, text: &str) -> Vec<Event> {
    let slots = fork_server.take_pending().into_iter();
    slots
        .map(|slot| Event::LoadFailed {
            slot,
            code,
            text: text.to_owned(),
        })
        .collect()
}

fn fork_failed(fork_server: &mut ForkServer) -> Vec<Event> {
    let slots = fork_server.take_pending().into_iter();
    slots
        .map(|slot| Event::ForkFailed {
            slot,
            reason: "the fork server has exited".to_owned(),
        })
        .collect()
}

/// Restores the settings that belong to the supervisor or to open sockets; returns the names of those that differ.
fn keep_fixed_settings(present: &Config, next: &mut Config) -> Vec<&'static str> {
    let mut names = Vec::new();
    macro_rules! fixed {
        ($($name:literal $($field:ident).+),*) => {
            $(if next.$($field).+ != present.$($field).+ {
                next.$($field).+ = present.$($field).+.clone();
                names.push($name);
            })*
        };
    }
    fixed!("backlog" backlog, "reuse_port" reuse_port, "umask" umask, "user" user, "group" group,
           "pid" pidfile, "name" proc_name, "uwsgi_module" uwsgi.module, "uwsgi_cache" uwsgi.caches,
           "uwsgi_locks" uwsgi.locks, "master_fifo" uwsgi.fifos, "uwsgi_stats" uwsgi.stats,
           "push" push.is_enabled, "push_memory" push.memory);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::{AppSpec, Bind, BindAddress};
    use std::path::Path;

    fn config(bind: Vec<BindAddress>) -> Config {
        let app = AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        };
        Config {
            bind: bind.into_iter().map(Bind::from).collect(),
            ..Config::with_defaults(app)
        }
    }

    fn unix(path: &Path) -> BindAddress {
        BindAddress::Unix(path.to_owned())
    }

    fn first(config: Config) -> GenerationResources {
        let listeners = sockets::bind(&config, None, &[]).unwrap();
        GenerationResources::new(config, 0, listeners)
    }

    #[test]
    fn unchanged_addresses_keep_their_files_and_others_are_created_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let exist = || [&a, &b, &c].map(|path| path.exists());
        let first = first(config(vec![unix(&a), unix(&b)]));
        let (next, _) = first.next(config(vec![unix(&b), unix(&c)]), None).unwrap();
        assert_eq!(exist(), [true, true, true]);
        let (discarded, _) = first.next(config(vec![unix(&b)]), None).unwrap();
        discarded.release_all_but(&first);
        assert_eq!(exist(), [true, true, true]);
        first.release_all_but(&next);
        assert_eq!(exist(), [false, true, true]);
        next.remove_files();
        assert_eq!(exist(), [false, false, false]);
    }

    #[test]
    fn an_address_that_cannot_be_bound_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let first = first(config(vec![unix(&a)]));
        let missing = folder.path().join("missing/c");
        let wanted = config(vec![unix(&a), unix(&b), unix(&missing)]);
        assert!(first.next(wanted, None).is_err());
        assert!(a.exists() && !b.exists());
    }

    #[test]
    fn settings_of_the_supervisor_are_kept_and_named() {
        let first = first(config(Vec::new()));
        let mut other = config(Vec::new());
        other.pidfile = Some("/run/other.pid".into());
        other.backlog = 7;
        other.workers = 5;
        let (next, unchanged) = first.next(other, None).unwrap();
        assert_eq!(unchanged, ["backlog", "pid"]);
        assert_eq!(
            (next.config.pidfile.clone(), next.rules().workers),
            (None, 5)
        );
    }
}
