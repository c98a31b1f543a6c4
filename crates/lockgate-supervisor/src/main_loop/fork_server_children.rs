//! Child processes that the application's import has started in a fork server. Workers may use them, so they are killed
//! after the last worker of that fork server has exited.

use std::collections::HashSet;

use lockgate_observe::Level;

use crate::Hooks;
use crate::main_loop::workers::Workers;
use crate::processes::descendants::Descendants;

/// The child processes of one fork server, which was killed.
pub(super) struct ForkServerChildren {
    fork_server: u32,
    children: Descendants,
    users: HashSet<u32>,
}

impl ForkServerChildren {
    /// Must be called before the fork server is killed: the kernel reparents the children of a process that exits.
    pub(super) fn of(fork_server: u32, workers: &Workers) -> Option<Self> {
        let children = Descendants::of(fork_server);
        (!children.is_empty()).then(|| Self {
            fork_server,
            children,
            users: workers.of_fork_server(fork_server).collect(),
        })
    }

    /// Whether one of these workers may still use them.
    pub(super) fn are_used(&self, workers: &Workers) -> bool {
        self.users.iter().any(|pid| workers.get(*pid).is_some())
    }

    pub(super) fn kill(self, hooks: &dyn Hooks) {
        if let Some(summary) = self.children.kill() {
            let message = format!("the fork server (pid {}): {summary}", self.fork_server);
            hooks.log(Level::Info, &message);
        }
    }
}
