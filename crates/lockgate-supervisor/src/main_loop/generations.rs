//! The serving generation, and during a reload the next one.

use std::time::Instant;

use lockgate_config::Config;
use lockgate_observe::Level;

use crate::Hooks;
use crate::certificates::Certificates;
use crate::clock::Moment;
use crate::main_loop::fork_server_children::ForkServerChildren;
use crate::main_loop::generation_resources::GenerationResources;
use crate::main_loop::workers::Workers;
use crate::processes::exit_status::ExitStatus;
use crate::processes::fork_server::wait_until_dead;
use crate::supervisor::{Event, Generation, Rules};

/// See the module.
pub(crate) struct Generations {
    /// The resources of workers that are forked now.
    present: GenerationResources,
    /// The resources of the next generation.
    next: Option<GenerationResources>,
    /// Processes started by fork servers that were killed.
    fork_server_children: Vec<ForkServerChildren>,
}

impl Generations {
    pub(crate) fn new(present: GenerationResources) -> Self {
        Self {
            present,
            next: None,
            fork_server_children: Vec::new(),
        }
    }

    pub(super) fn present(&self) -> &GenerationResources {
        &self.present
    }

    pub(super) fn present_mut(&mut self) -> &mut GenerationResources {
        &mut self.present
    }

    pub(super) fn get_mut(&mut self, generation: Generation) -> &mut GenerationResources {
        match (generation, &mut self.next) {
            (Generation::Next, Some(next)) => next,
            _ => &mut self.present,
        }
    }

    pub(super) fn into_resources(self, generation: Generation) -> GenerationResources {
        match generation {
            Generation::Present => self.present,
            Generation::Next => self.next.unwrap_or(self.present),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &GenerationResources> {
        std::iter::once(&self.present).chain(&self.next)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut GenerationResources> {
        std::iter::once(&mut self.present).chain(&mut self.next)
    }

    /// Makes a generation of these settings the next one: reads the certificates again and binds new addresses.
    pub(super) fn prepare(
        &mut self,
        config: Config,
        certificates: &mut Certificates,
        hooks: &dyn Hooks,
    ) -> Result<Rules, String> {
        certificates.prepare(&config, Moment::now(), hooks)?;
        let (next, unchanged) = (self.present.next(config, hooks.worker_identity()))
            .map_err(|failure| failure.to_string())?;
        if !unchanged.is_empty() {
            let names = unchanged.join(", ");
            hooks.log(
                Level::Warning,
                &format!("{names}: changed, but takes effect only after a restart, not a reload"),
            );
        }
        for listener in &next.listeners {
            let mut present = self.present.listeners.iter();
            if !present.any(|kept| kept.is_unchanged(listener)) {
                hooks.log(
                    Level::Info,
                    &format!("listening at {}", listener.endpoint()),
                );
            }
        }
        let rules = next.rules();
        self.next = Some(next);
        Ok(rules)
    }

    /// Makes the prepared generation the present one; returns the pending forks of the previous one as failed. `None`
    /// when none is prepared.
    pub(super) fn switch_over(
        &mut self,
        workers: &Workers,
        hooks: &mut dyn Hooks,
    ) -> Option<Vec<Event>> {
        let next = self.next.take()?;
        hooks.adopt(&next.config, next.generation);
        let previous = std::mem::replace(&mut self.present, next);
        Some(self.release(previous, workers))
    }

    /// Discards the prepared generation; returns its pending forks as failed.
    pub(super) fn discard(&mut self, workers: &Workers) -> Vec<Event> {
        match self.next.take() {
            Some(next) => self.release(next, workers),
            None => Vec::new(),
        }
    }

    fn release(&mut self, mut resources: GenerationResources, workers: &Workers) -> Vec<Event> {
        let failed = kill_fork_server(&mut resources, &mut self.fork_server_children, workers);
        resources.release_all_but(&self.present);
        failed
    }

    /// Server stop: closes the listening sockets in every process other than the workers. Returns pending forks as
    /// failed.
    pub(super) fn close_listeners(&mut self, workers: &Workers) -> Vec<Event> {
        let Self {
            present,
            next,
            fork_server_children,
        } = self;
        let mut failed = Vec::new();
        for resources in std::iter::once(present).chain(next) {
            // The fork server holds the sockets as well.
            let fork_server = resources.fork_server_pid();
            failed.extend(kill_fork_server(resources, fork_server_children, workers));
            fork_server.into_iter().for_each(wait_until_dead);
            for listener in &mut resources.listeners {
                listener.close();
            }
        }
        failed
    }

    /// Handles messages from fork servers.
    pub(super) fn read_fork_servers(
        &mut self,
        workers: &mut Workers,
        hooks: &dyn Hooks,
    ) -> Vec<Event> {
        self.iter_mut()
            .flat_map(|resources| resources.read_fork_server(workers, hooks))
            .collect()
    }

    /// Kills fork servers that have not answered in time: fork hooks of the application or of a library may hang.
    pub(super) fn kill_late_fork_servers(&mut self, now: Instant) -> Vec<Event> {
        self.iter_mut()
            .flat_map(|resources| resources.kill_late_fork_server(now))
            .collect()
    }

    /// If the process that has exited was a fork server: its pending forks, as failed.
    pub(super) fn reap_fork_server(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        hooks: &dyn Hooks,
    ) -> Option<Vec<Event>> {
        self.iter_mut()
            .find_map(|resources| resources.reap_fork_server(pid, exit_status, hooks))
    }

    /// Kills the child processes of earlier fork servers that no worker uses any more.
    pub(super) fn kill_unused_children(&mut self, workers: &Workers, hooks: &dyn Hooks) {
        let unused = self
            .fork_server_children
            .extract_if(.., |children| !children.are_used(workers));
        unused.for_each(|children| children.kill(hooks));
    }

    /// Final cleanup: removes the socket files.
    pub(super) fn remove_files(&self) {
        self.iter().for_each(GenerationResources::remove_files);
    }
}

fn kill_fork_server(
    resources: &mut GenerationResources,
    fork_server_children: &mut Vec<ForkServerChildren>,
    workers: &Workers,
) -> Vec<Event> {
    let children = resources
        .fork_server_pid()
        .and_then(|pid| ForkServerChildren::of(pid, workers));
    fork_server_children.extend(children);
    resources.kill_fork_server()
}
