//! The hook process as the supervisor sees it: a side process that runs gunicorn's hooks of the master.
//!
//! It lives over reloads, as gunicorn's master does. The server loses nothing with it: another one executes the
//! configuration and runs `on_starting` and `when_ready` again. The supervisor waits for it before it binds, because
//! `on_starting` may refuse the start, and at its own end.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::{Config, HookName};
use lockgate_observe::Level;
use rustix::event::{PollFd, PollFlags, poll};

use crate::Hooks;
use crate::channels::control::ControlMessage;
use crate::channels::hook_channel::{HookMessage, HookSender, hook_channel};
use crate::channels::status::StatusMessage;
use crate::child::setup::WorkerOrigin;
use crate::child::side_process::NewSideProcess;
use crate::clock::timespec;
use crate::os::pipe;
use crate::processes::exit_status::ExitStatus;
use crate::processes::hook_events::{HookEvent, Resize, ServerState};
use crate::processes::side_process::SideProcess;
use crate::signals::SupervisorSignals;
use crate::supervisor::Event;

/// The hooks that run in this process.
const HOOKS: [HookName; 8] = [
    HookName::OnStarting,
    HookName::WhenReady,
    HookName::OnReload,
    HookName::NworkersChanged,
    HookName::PreFork,
    HookName::ChildExit,
    HookName::PreExec,
    HookName::OnExit,
];

/// How long an upgrade waits for `pre_exec`.
const PRE_EXEC_TIMEOUT: Duration = Duration::from_secs(10);
/// How long `on_exit` may take when `graceful_timeout` has passed already.
const LEAST_EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a caller that waits looks at the process.
const TICK: Duration = Duration::from_millis(50);
/// The server's exit code when the process has exited before `on_starting` had returned.
const CANNOT_START: i32 = 1;

/// See the module.
pub(crate) struct HookProcess {
    /// `None` while no configuration has had such hooks.
    process: Option<SideProcess>,
    sender: HookSender,
    /// The process's end of the channel, around the fork.
    receiver: Option<OwnedFd>,
    /// The settings whose hooks run.
    config: Arc<Config>,
    /// During a reload: the settings before it, and their number of workers.
    previous: Option<(Arc<Config>, usize)>,
    state: ServerState,
    stage: Stage,
    /// The event that waits for `pre_exec`, and how long.
    held: Option<(Event, Instant)>,
    /// The next reload is the end of an upgrade.
    is_upgraded: bool,
    /// When the process may be killed, once the server stops.
    exit_by: Option<Instant>,
}

/// The hooks that a new process has to run first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// None: they belong to the start of the server, at which there was no process.
    Reload,
    /// `on_starting`.
    Starting,
    /// `on_starting` and `when_ready`.
    Ready,
}

/// How the wait for `on_starting` ends.
pub(crate) enum Begun {
    /// The server may start.
    Started,
    /// The server must exit with this code.
    Refused(i32),
    /// In the new process.
    Child(NewSideProcess),
}

impl HookProcess {
    pub(crate) fn new(config: &Arc<Config>, wanted: usize, now: Instant) -> Self {
        let is_wanted = is_wanted(config);
        Self {
            process: is_wanted.then(|| SideProcess::new("hook process", None, now)),
            sender: HookSender::default(),
            receiver: None,
            config: Arc::clone(config),
            previous: None,
            state: ServerState::new(wanted),
            stage: Stage::Starting,
            held: None,
            is_upgraded: false,
            exit_by: None,
        }
    }

    /// Starts the process and waits for `on_starting`; a request to stop ends the wait.
    pub(crate) fn begin(&mut self, signals: &SupervisorSignals, hooks: &mut dyn Hooks) -> Begun {
        if self.process.is_none() {
            return Begun::Started;
        }
        if let Some(new) = self.fork_if_due(Instant::now(), hooks) {
            return Begun::Child(new);
        }
        self.send(HookEvent::Answer);
        loop {
            self.sender.flush();
            let Some(process) = &mut self.process else {
                return Begun::Started;
            };
            for message in process.read(Instant::now(), hooks) {
                match message {
                    StatusMessage::Ready => return Begun::Started,
                    StatusMessage::BootFailed { code, text } => {
                        hooks.log(Level::Critical, &format!("the start was refused: {text}"));
                        return Begun::Refused(code);
                    }
                    _ => {}
                }
            }
            if signals.is_stop_requested() {
                return Begun::Refused(0);
            }
            let exited = process.reap();
            if let Some(exit_status) = exited {
                let message = format!(
                    "stopping: the hook process {exit_status} before on_starting had returned"
                );
                hooks.log(Level::Critical, &message);
                return Begun::Refused(CANNOT_START);
            }
            if process.pid().is_none() {
                return Begun::Refused(CANNOT_START);
            }
            self.wait(signals, TICK);
        }
    }

    /// Sleeps until there is something to do, or for this time.
    fn wait(&self, signals: &SupervisorSignals, longest: Duration) {
        let reads = [Some(signals.wake_fd()), self.poll_fd()];
        let reads = reads.into_iter().flatten().map(|fd| (fd, PollFlags::IN));
        let writes = self.write_fd().map(|fd| (fd, PollFlags::OUT));
        let mut watched: Vec<PollFd<'_>> = (reads.chain(writes))
            .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags))
            .collect();
        // The result does not matter: everything is looked at again.
        let _woken = poll(&mut watched, Some(&timespec(longest)));
        signals.clear_wake();
    }

    /// The server accepts connections; no worker was forked yet.
    pub(crate) fn when_ready(&mut self) {
        self.stage = Stage::Ready;
        // A process that is not forked yet begins with this hook.
        if self.is_running() {
            self.run(HookName::WhenReady, HookEvent::Hook(HookName::WhenReady));
        }
    }

    /// Workers of the previous program in this process. The reload that replaces them is the end of the upgrade, and for
    /// hooks the start of a server.
    pub(crate) fn adopt(&mut self, workers: impl Iterator<Item = (u32, usize)>) {
        for (pid, slot) in workers {
            self.state.on_forked(slot, pid);
            self.is_upgraded = true;
        }
    }

    /// A worker is about to be forked: runs `pre_fork`, for which the worker waits.
    pub(crate) fn pre_fork(&mut self, slot: usize, now: Instant) -> WorkerOrigin {
        let worker = self.state.on_forking(slot);
        let mut origin = WorkerOrigin {
            age: worker.age,
            pre_fork: None,
        };
        // A worker does not wait for a process that is restarted later.
        let is_there = (self.process.as_ref())
            .is_some_and(|process| process.pid().is_some() || process.next() <= now);
        if is_there
            && self.has(HookName::PreFork)
            && let Ok((reader, writer)) = pipe()
        {
            origin.pre_fork = Some(reader);
            self.sender.send(HookMessage {
                text: (self.state).encode(HookEvent::Worker(HookName::PreFork, worker)),
                pipe: Some(writer),
            });
        }
        origin
    }

    fn is_running(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.pid().is_some())
    }

    /// Whether the configuration has hooks that run in this process.
    pub(crate) fn is_needed(&self) -> bool {
        self.process.is_some()
    }

    /// A worker was forked.
    pub(crate) fn on_forked(&mut self, slot: usize, pid: u32) {
        self.state.on_forked(slot, pid);
    }

    /// A worker has exited.
    pub(crate) fn child_exit(&mut self, pid: u32) {
        if let Some(worker) = self.state.on_exited(pid) {
            let event = HookEvent::Worker(HookName::ChildExit, worker);
            self.run(HookName::ChildExit, event);
        }
    }

    /// The number of wanted workers has changed.
    pub(crate) fn resized(&mut self, new: usize, old: usize) {
        self.state.wanted = new;
        let old = Some(old);
        let event = HookEvent::Resized(Resize { new, old });
        self.run(HookName::NworkersChanged, event);
    }

    /// The settings of a reload are prepared; its workers are about to be forked.
    pub(crate) fn on_prepared(&mut self, config: &Arc<Config>, workers: usize, now: Instant) {
        let old = self.state.wanted;
        if std::mem::take(&mut self.is_upgraded) {
            self.state.wanted = workers;
            return;
        }
        let previous = std::mem::replace(&mut self.config, Arc::clone(config));
        self.previous = Some((previous, old));
        if self.process.is_none() && is_wanted(config) {
            self.process = Some(SideProcess::new("hook process", None, now));
            self.stage = Stage::Reload;
        } else {
            self.send(HookEvent::Reload(config));
        }
        self.resized(workers, old);
        self.run(HookName::OnReload, HookEvent::Hook(HookName::OnReload));
    }

    /// The new workers have taken over.
    pub(crate) fn on_switched_over(&mut self) {
        if self.previous.take().is_some() {
            self.send(HookEvent::Commit);
        }
    }

    /// The reload has failed.
    pub(crate) fn on_discarded(&mut self) {
        if let Some((config, wanted)) = self.previous.take() {
            self.state.wanted = wanted;
            self.send(HookEvent::Restore(&config));
            self.config = config;
        }
    }

    /// Runs `pre_exec` before an upgrade. Returns the event, or keeps it until the hook has returned.
    pub(crate) fn pre_exec(&mut self, event: Event, now: Instant) -> Option<Event> {
        if event != Event::UpgradeTried || !self.is_running() || !self.has(HookName::PreExec) {
            return Some(event);
        }
        self.send(HookEvent::Hook(HookName::PreExec));
        self.send(HookEvent::Answer);
        self.held = Some((event, now + PRE_EXEC_TIMEOUT));
        None
    }

    /// Forks a process when one is due. In the new process: its ends of the channels.
    pub(crate) fn fork_if_due(
        &mut self,
        now: Instant,
        hooks: &mut dyn Hooks,
    ) -> Option<NewSideProcess> {
        let process = self.process.as_mut()?;
        if process.pid().is_some() || now < process.next() {
            return None;
        }
        let socket = match hook_channel() {
            Ok((socket, receiver)) => {
                self.receiver = Some(receiver);
                socket
            }
            Err(error) => {
                process.log_failed_fork(&error, now, hooks);
                return None;
            }
        };
        if let Some(new) = process.fork_if_due(now, hooks) {
            return Some(new);
        }
        self.receiver = None;
        if process.pid().is_some() {
            let first = self.first_events().into_iter();
            let first = first.map(|event| HookMessage {
                text: self.state.encode(event),
                pipe: None,
            });
            let first = first.collect();
            self.sender.connect(socket, first);
        }
        None
    }

    /// The events that a new process gets first.
    fn first_events(&self) -> Vec<HookEvent<'_>> {
        let resize = Resize {
            new: self.state.wanted,
            old: None,
        };
        let hooks = [
            (Stage::Starting, HookName::NworkersChanged),
            (Stage::Starting, HookName::OnStarting),
            (Stage::Ready, HookName::WhenReady),
        ];
        let due = hooks
            .into_iter()
            .filter(|(stage, hook)| *stage <= self.stage && self.has(*hook));
        let events = due.map(|(_, hook)| match hook {
            HookName::NworkersChanged => HookEvent::Resized(resize),
            hook => HookEvent::Hook(hook),
        });
        std::iter::once(HookEvent::Start(&self.config))
            .chain(events)
            .collect()
    }

    /// Whether the configuration has this hook.
    fn has(&self, hook: HookName) -> bool {
        self.config.gunicorn.hooks.contains(&hook)
    }

    /// Sends the event of a hook that the configuration has.
    fn run(&mut self, hook: HookName, event: HookEvent<'_>) {
        if self.has(hook) {
            self.send(event);
        }
    }

    fn send(&mut self, event: HookEvent<'_>) {
        if self.process.is_some() {
            let text = self.state.encode(event);
            self.sender.send(HookMessage { text, pipe: None });
        }
    }

    /// The descriptor to poll for reading, besides the time of [`next`](Self::next).
    pub(crate) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref()?.poll_fd()
    }

    /// The descriptor to poll for writing, if events wait.
    pub(crate) fn write_fd(&self) -> Option<BorrowedFd<'_>> {
        self.sender.write_fd()
    }

    /// When something is to be done.
    pub(crate) fn next(&self) -> Option<Instant> {
        let process = self.process.as_ref().map(SideProcess::next);
        let held = self.held.as_ref().map(|(_, until)| *until);
        process.into_iter().chain(held).min()
    }

    /// Reads its messages and sends events that wait; returns the event that has waited for `pre_exec`.
    pub(crate) fn read(&mut self, now: Instant, hooks: &dyn Hooks) -> Option<Event> {
        let process = self.process.as_mut()?;
        let mut is_answered = process.pid().is_none();
        for message in process.read(now, hooks) {
            match message {
                StatusMessage::Ready => is_answered = true,
                StatusMessage::BootFailed { text, .. } => {
                    hooks.log(
                        Level::Error,
                        &format!("the server goes on without these hooks: {text}"),
                    );
                }
                _ => {}
            }
        }
        self.sender.flush();
        let dropped = self.sender.take_dropped();
        if dropped > 0 {
            let message =
                format!("the hook process did not read its events: {dropped} hooks were not run");
            hooks.log(Level::Warning, &message);
        }
        let held = self
            .held
            .take_if(|(_, until)| is_answered || *until <= now)?;
        Some(held.0)
    }

    /// Makes the process reopen its log file.
    pub(crate) fn reopen_logs(&self) {
        let process = self.process.as_ref();
        // A process that has just exited is replaced by one that opens the file.
        let _is_sent = process.is_some_and(|process| process.send(ControlMessage::ReopenLogs));
    }

    /// Handles the exit of a child; returns whether it was the hook process.
    pub(crate) fn on_exited(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        now: Instant,
        hooks: &dyn Hooks,
    ) -> bool {
        let process = self.process.as_mut();
        let is_own = process.is_some_and(|process| process.on_exited(pid, exit_status, now, hooks));
        if is_own {
            self.sender.disconnect();
        }
        is_own
    }

    /// In the new process: its end of the channel.
    pub(crate) fn take_receiver(&mut self) -> Option<OwnedFd> {
        self.receiver.take()
    }

    /// The server begins to stop.
    pub(crate) fn on_stopping(&mut self, now: Instant) {
        self.held = None;
        self.exit_by = Some(now + self.config.graceful_timeout);
    }

    /// Runs `on_exit`, waits for the exit of the process, and kills it at the end of `graceful_timeout` or at another
    /// request to stop.
    pub(crate) fn finish(&mut self, signals: &SupervisorSignals, hooks: &dyn Hooks) {
        // The request that has stopped the server.
        let _handled = signals.take();
        let now = Instant::now();
        let deadline = self.exit_by.unwrap_or(now).max(now + LEAST_EXIT_TIMEOUT);
        if self.is_running() {
            self.send(HookEvent::Exit);
            self.wait_for_exit(deadline, signals, hooks);
        }
        self.end();
    }

    fn wait_for_exit(&mut self, deadline: Instant, signals: &SupervisorSignals, hooks: &dyn Hooks) {
        while let Some(process) = &mut self.process {
            if process.reap().is_some() {
                return;
            }
            let _heartbeats = process.read(Instant::now(), hooks);
            let is_late = Instant::now() >= deadline;
            if is_late || signals.is_stop_requested() {
                let reason = match is_late {
                    true => "on_exit has not returned in time",
                    false => "another request to stop",
                };
                let message = format!("killing the hook process: {reason}");
                return hooks.log(Level::Warning, &message);
            }
            self.sender.flush();
            self.wait(signals, TICK);
        }
    }

    /// Kills the process.
    pub(crate) fn end(&mut self) {
        self.sender.disconnect();
        if let Some(process) = &mut self.process {
            process.end();
        }
    }
}

/// Whether these settings have hooks that run in the hook process.
fn is_wanted(config: &Config) -> bool {
    HOOKS
        .iter()
        .any(|hook| config.gunicorn.hooks.contains(hook))
}
