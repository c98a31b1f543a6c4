//! What a forked process takes over of the main loop: it closes everything that it does not need.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::MainLoop;
use crate::child::setup::ChildResources;
use crate::processes::admin_process::AdminProcess;
use crate::sockets::Listener;
use crate::supervisor::Generation;

impl MainLoop {
    /// In a forked worker or fork server: closes everything that it does not need.
    pub(crate) fn into_child_resources(self, generation: Generation) -> ChildResources {
        let (lifeline, _writing_end) = self.lifeline;
        let certificates = self.certificates.board_of(generation);
        let resources = self.generations.into_resources(generation);
        ChildResources {
            supervisor: self.pid,
            config: resources.config,
            generation: resources.generation,
            first_age: resources.first_age.unwrap_or_default(),
            lifeline,
            listeners: (resources.listeners.into_iter())
                .filter_map(Listener::into_socket)
                .collect(),
            scoreboard: self.scoreboard.get(),
            certificates,
            stacks: self.admin.and_then(AdminProcess::into_stacks),
            stats: Vec::new(),
            reports: self.optional.into_report_writer(),
        }
    }

    /// In the forked admin process: closes everything that it does not need, also the pid file, because it may outlive
    /// the supervisor by a moment and must not keep a new one from starting.
    pub(crate) fn into_admin_resources(self) -> ChildResources {
        let (lifeline, _writing_end) = self.lifeline;
        let parts = self.admin.map(AdminProcess::into_parts);
        let (listeners, stats, stacks) = parts.unwrap_or_default();
        let sockets = |listeners: Vec<Listener>| {
            (listeners.into_iter())
                .filter_map(Listener::into_socket)
                .collect()
        };
        let present = self.generations.present();
        ChildResources {
            supervisor: self.pid,
            config: present.config.clone(),
            generation: present.generation,
            first_age: 0,
            lifeline,
            listeners: sockets(listeners),
            scoreboard: self.scoreboard.get(),
            certificates: Some(self.certificates.board()),
            stacks,
            stats: sockets(stats),
            reports: None,
        }
    }

    /// In the forked hook process: closes everything that it does not need. Also returns its end of the channel.
    pub(crate) fn into_hook_resources(mut self) -> (ChildResources, Option<OwnedFd>) {
        let events = self.hook_process.take_receiver();
        (self.into_optional_resources(), events)
    }

    /// In a forked process that only some settings need: closes everything that it does not need itself.
    pub(crate) fn into_optional_resources(self) -> ChildResources {
        let resources = Self {
            admin: None,
            ..self
        };
        ChildResources {
            certificates: None,
            ..resources.into_admin_resources()
        }
    }

    /// The same in the forked watcher, whose settings may be those of the next generation.
    pub(crate) fn into_watcher_resources(mut self) -> ChildResources {
        let (reports, watched) = self.optional.take_watched().unzip();
        let resources = self.into_optional_resources();
        ChildResources {
            config: watched.unwrap_or_else(|| Arc::clone(&resources.config)),
            reports,
            ..resources
        }
    }
}
