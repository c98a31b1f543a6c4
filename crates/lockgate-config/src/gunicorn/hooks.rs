//! gunicorn's hooks: functions that its configuration file defines.

/// A hook that is called. `ssl_context` is none: it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookName {
    /// Before the server binds.
    OnStarting,
    /// At a reload.
    OnReload,
    /// After the server has bound, before its first worker.
    WhenReady,
    /// Before a worker is forked.
    PreFork,
    /// In a worker, right after the fork.
    PostFork,
    /// In a worker that has loaded the application.
    PostWorkerInit,
    /// In a worker that stops quickly or is replaced by a reload.
    WorkerInt,
    /// In a worker that is aborted.
    WorkerAbort,
    /// Before an upgrade.
    PreExec,
    /// Before a request.
    PreRequest,
    /// After a request.
    PostRequest,
    /// After a worker has exited, outside of it.
    ChildExit,
    /// In a worker that exits.
    WorkerExit,
    /// After the number of workers has changed.
    NworkersChanged,
    /// When the server exits.
    OnExit,
}

impl HookName {
    /// Every hook, in gunicorn's order.
    pub const ALL: [Self; 15] = [
        Self::OnStarting,
        Self::OnReload,
        Self::WhenReady,
        Self::PreFork,
        Self::PostFork,
        Self::PostWorkerInit,
        Self::WorkerInt,
        Self::WorkerAbort,
        Self::PreExec,
        Self::PreRequest,
        Self::PostRequest,
        Self::ChildExit,
        Self::WorkerExit,
        Self::NworkersChanged,
        Self::OnExit,
    ];

    /// Its name in the configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnStarting => "on_starting",
            Self::OnReload => "on_reload",
            Self::WhenReady => "when_ready",
            Self::PreFork => "pre_fork",
            Self::PostFork => "post_fork",
            Self::PostWorkerInit => "post_worker_init",
            Self::WorkerInt => "worker_int",
            Self::WorkerAbort => "worker_abort",
            Self::PreExec => "pre_exec",
            Self::PreRequest => "pre_request",
            Self::PostRequest => "post_request",
            Self::ChildExit => "child_exit",
            Self::WorkerExit => "worker_exit",
            Self::NworkersChanged => "nworkers_changed",
            Self::OnExit => "on_exit",
        }
    }

    /// Its parameters; the last ones of `post_request` may be left out.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::OnStarting | Self::OnReload | Self::WhenReady | Self::PreExec | Self::OnExit => {
                &["server"]
            }
            Self::PreFork | Self::PostFork | Self::ChildExit | Self::WorkerExit => {
                &["server", "worker"]
            }
            Self::PostWorkerInit | Self::WorkerInt | Self::WorkerAbort => &["worker"],
            Self::PreRequest => &["worker", "req"],
            Self::PostRequest => &["worker", "req", "environ", "resp"],
            Self::NworkersChanged => &["server", "new_value", "old_value"],
        }
    }

    /// The hook with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }

    /// Whether gunicorn calls a function with this number of parameters.
    pub(crate) fn takes(self, count: usize) -> bool {
        let most = self.parameters().len();
        let least = if self == Self::PostRequest { 2 } else { most };
        (least..=most).contains(&count)
    }
}
