//! The admin process as the supervisor sees it: its listeners, which are those of the admin address and of uWSGI's stats
//! server, and a side process.

use std::iter;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use lockgate_config::{Bind, BindAddress, Config};

use crate::Hooks;
use crate::channels::control::ControlMessage;
use crate::channels::status::StatusMessage;
use crate::child::side_process::NewSideProcess;
use crate::processes::exit_status::ExitStatus;
use crate::processes::kill::kill;
use crate::processes::side_process::SideProcess;
use crate::sockets::{Listener, bind_with_retry};
use crate::stacks::StackBoard;
use crate::supervisor::Request;

/// See the module.
pub(crate) struct AdminProcess {
    listeners: Vec<Listener>,
    /// The listeners of the stats server.
    stats: Vec<Listener>,
    /// Where workers write thread dumps; `None` where the system has no futexes.
    stacks: Option<StackBoard>,
    process: SideProcess,
}

impl AdminProcess {
    /// Listens on the configured addresses; `None` where none is configured. The error is for the operator. A socket
    /// file gets the owner's user and group.
    ///
    /// Sockets in `present` that are no longer wanted are removed.
    pub(crate) fn bind(
        config: &Config,
        present: Vec<Listener>,
        predecessor: Option<u32>,
        now: Instant,
        hooks: &dyn Hooks,
    ) -> Result<Option<Self>, String> {
        let bind = |address: &Option<BindAddress>, flag: &str| {
            let Some(address) = address else {
                return Ok(Vec::new());
            };
            let config = Config {
                bind: vec![Bind::plain(address.clone())],
                reuse_port: false,
                ..config.clone()
            };
            bind_with_retry(&config, &present, hooks)
                // The error message names the setting for the other sockets.
                .map_err(|failure| failure.to_string().replace("--bind", flag))
        };
        let listeners = bind(&config.admin_bind, "--admin-bind")?;
        let stats = bind(&config.uwsgi.stats, "--uwsgi-stats")?;
        for left in &present {
            if !(listeners.iter().chain(&stats)).any(|kept| kept.is_same(left)) {
                left.remove_file();
            }
        }
        if let Some(open) = listeners.iter().find(|listener| !listener.is_private()) {
            let url = open.endpoint();
            return Err(format!(
                "the admin listener at {url} could be read by other machines: \
                 pass a unix socket or one at a loopback address (setting: admin_bind)"
            ));
        }
        if let Some(open) = stats.iter().find(|listener| !listener.is_private()) {
            let url = open.endpoint();
            return Err(format!(
                "the stats server at {url} could be read by other machines: \
                 use a unix socket or a loopback address (setting: uwsgi_stats)"
            ));
        }
        if listeners.is_empty() && stats.is_empty() {
            predecessor.into_iter().for_each(kill);
            return Ok(None);
        }
        Ok(Some(Self {
            // Only the admin listener shows stacks.
            stacks: match listeners.is_empty() {
                true => None,
                false => StackBoard::new().ok(),
            },
            listeners,
            stats,
            process: SideProcess::new("admin process", predecessor, now),
        }))
    }

    /// The addresses of the admin listener.
    pub(crate) fn urls(&self) -> Vec<String> {
        let endpoints = self.listeners.iter().map(Listener::endpoint);
        endpoints.map(|endpoint| endpoint.to_string()).collect()
    }

    /// The descriptor to poll, besides the time of [`next`](Self::next).
    pub(crate) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.process.poll_fd()
    }

    /// When something is to be done; see [`SideProcess::next`].
    pub(crate) fn next(&self) -> Instant {
        self.process.next()
    }

    /// Forks a process when one is due. In the new process: its ends of the channels.
    pub(crate) fn fork_if_due(
        &mut self,
        now: Instant,
        hooks: &mut dyn Hooks,
    ) -> Option<NewSideProcess> {
        self.process.fork_if_due(now, hooks)
    }

    /// Requests from operators since the last call.
    pub(crate) fn read(&mut self, now: Instant, hooks: &dyn Hooks) -> Vec<Request> {
        repeated(self.process.read(now, hooks))
    }

    /// The pid of the running admin process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// All listeners.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().chain(&self.stats)
    }

    /// The addresses of the stats server.
    pub(crate) fn stats_addresses(&self) -> Vec<String> {
        let endpoints = self.stats.iter().map(Listener::endpoint);
        endpoints
            .map(|endpoint| endpoint.address.to_string())
            .collect()
    }

    /// Makes the process reopen its log file; false when there is no process.
    pub(crate) fn reopen_logs(&self) -> bool {
        self.process.send(ControlMessage::ReopenLogs)
    }

    /// Handles the exit of a child; returns whether it was the admin process.
    pub(crate) fn on_exited(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        now: Instant,
        hooks: &dyn Hooks,
    ) -> bool {
        self.process.on_exited(pid, exit_status, now, hooks)
    }

    /// The parts that the admin process keeps.
    pub(crate) fn into_parts(self) -> (Vec<Listener>, Vec<Listener>, Option<StackBoard>) {
        (self.listeners, self.stats, self.stacks)
    }

    /// The part that a worker keeps.
    pub(crate) fn into_stacks(self) -> Option<StackBoard> {
        self.stacks
    }

    /// Server shutdown: kills the process, then removes its socket file.
    pub(crate) fn end(&mut self) {
        self.process.end();
        self.listeners().for_each(Listener::remove_file);
    }
}

/// Each request as often as the operator says.
fn repeated(messages: Vec<StatusMessage>) -> Vec<Request> {
    let requests = messages.into_iter().filter_map(|message| match message {
        StatusMessage::Requested { request, times } => {
            Some(iter::repeat_n(request, times as usize))
        }
        _ => None,
    });
    requests.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_repeated_as_often_as_the_operator_says() {
        let requested = |request, times| StatusMessage::Requested { request, times };
        let more = Request::MoreWorkers;
        let messages = vec![
            requested(more, 2),
            StatusMessage::Heartbeat,
            requested(Request::Reload, 1),
        ];
        assert_eq!(repeated(messages), [more, more, Request::Reload]);
        assert!(repeated(Vec::new()).is_empty());
    }
}
