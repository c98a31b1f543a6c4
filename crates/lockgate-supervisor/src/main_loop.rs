//! The supervisor's main loop: waits for events, passes them to the state machine in `supervisor`, and performs the
//! actions that it returns. It never touches a connection.
//!
//! Order within an iteration: messages from workers, then signals, then exits. So a report is handled before the exit
//! of its sender, and a signal to the whole process group before the exits that it caused.

mod child_resources;
mod fork_server_children;
mod forked;
pub(crate) mod generation_resources;
pub(crate) mod generations;
mod preparation;
mod reaping;
pub(crate) mod scoreboard;
mod upgrade;
pub(crate) mod workers;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use lockgate_history::EventKind;
use lockgate_observe::Level;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, getpid};

use crate::certificates::Certificates;
use crate::child::fork_server_process::NewForkServer;
use crate::child::setup::NewWorker;
use crate::child::side_process::NewSideProcess;
use crate::clock::{Moment, timespec};
use crate::handover::memories::{Memories, Memory};
use crate::main_loop::forked::Forked;
use crate::main_loop::generation_resources::GenerationResources;
use crate::main_loop::generations::Generations;
use crate::main_loop::preparation::{Preparation, ReadSettings};
use crate::main_loop::scoreboard::SharedScoreboard;
use crate::main_loop::upgrade::{Outgoing, Trial, failed};
use crate::main_loop::workers::Workers;
use crate::master_fifo::MasterFifos;
use crate::pid_file::PidFile;
use crate::processes::admin_process::AdminProcess;
use crate::processes::fork_server::ForkServer;
use crate::processes::hook_process::HookProcess;
use crate::processes::oom::OomCounter;
use crate::processes::optional_processes::{Duty, OptionalProcesses};
use crate::processes::sampling::Sampler;
use crate::service_manager::notify::Notifier;
use crate::shared_memory::SharedMemory;
use crate::signals::SupervisorSignals;
use crate::supervisor::{Action, Event, Generation, Status, Supervisor, WorkerHandover};
use crate::{Hooks, SettingsFailure};

/// How the loop ends.
pub(crate) enum Outcome {
    /// The server has stopped.
    Exit(i32),
    /// In a forked worker.
    Worker(NewWorker),
    /// In the forked admin process.
    Admin(NewSideProcess),
    /// In a forked process that only some settings need, such as the ACME process.
    Optional(Duty, NewSideProcess),
    /// In the forked hook process.
    Hooks(NewSideProcess),
    /// In a forked fork server.
    ForkServer(NewForkServer),
}

/// The supervisor process: the state machine, and everything that performs its actions.
pub(crate) struct MainLoop {
    supervisor: Supervisor,
    pub(crate) pid: Option<Pid>,
    pub(crate) signals: SupervisorSignals,
    generations: Generations,
    workers: Workers,
    scoreboard: SharedScoreboard,
    memory: SharedMemory,
    certificates: Certificates,
    sampler: Sampler,
    oom: OomCounter,
    /// A pipe: a reader of the first end sees end-of-file when no supervisor holds the second any more.
    lifeline: (OwnedFd, OwnedFd),
    admin: Option<AdminProcess>,
    optional: OptionalProcesses,
    pub(crate) hook_process: HookProcess,
    preparation: Preparation,
    trial: Option<Trial>,
    pub(crate) pid_file: Option<PidFile>,
    fifos: MasterFifos,
    notifier: Option<Notifier>,
}

/// The parts of a main loop.
pub(crate) struct Parts {
    pub(crate) signals: SupervisorSignals,
    pub(crate) resources: GenerationResources,
    pub(crate) workers: Workers,
    pub(crate) scoreboard: SharedScoreboard,
    pub(crate) memory: SharedMemory,
    pub(crate) fifos: MasterFifos,
    pub(crate) certificates: Certificates,
    pub(crate) lifeline: (OwnedFd, OwnedFd),
    pub(crate) admin: Option<AdminProcess>,
    pub(crate) hook_process: HookProcess,
    pub(crate) notifier: Option<Notifier>,
}

/// The result of an action.
enum Done {
    /// Events to handle before any other.
    Answers(Vec<Event>),
    Leave(Outcome),
}

impl MainLoop {
    pub(crate) fn new(parts: Parts) -> Self {
        let rules = parts.resources.rules();
        let measure = parts.resources.config.worker_memory_measure;
        Self {
            supervisor: Supervisor::new(rules),
            pid: Some(getpid()),
            signals: parts.signals,
            generations: Generations::new(parts.resources),
            workers: parts.workers,
            scoreboard: parts.scoreboard,
            memory: parts.memory,
            certificates: parts.certificates,
            sampler: Sampler::new(&rules, measure),
            oom: OomCounter::new(),
            lifeline: parts.lifeline,
            admin: parts.admin,
            optional: OptionalProcesses::default(),
            hook_process: parts.hook_process,
            preparation: Preparation::default(),
            trial: None,
            pid_file: None,
            fifos: parts.fifos,
            notifier: parts.notifier,
        }
    }

    /// Runs until the server has stopped, or in a forked child. `first` is the first event.
    pub(crate) fn run(&mut self, first: Event, hooks: &mut dyn Hooks) -> Outcome {
        let mut events = VecDeque::from([first]);
        let config = &self.generations.present().config;
        self.optional.start_first(config, Instant::now(), hooks);
        loop {
            if let Some(outcome) = self.handle(&mut events, hooks) {
                return outcome;
            }
            self.scoreboard.count_log(hooks);
            let admin = self.admin.as_mut();
            if let Some(new) = admin.and_then(|admin| admin.fork_if_due(Instant::now(), hooks)) {
                return Outcome::Admin(new);
            }
            if let Some((duty, new)) = self.optional.fork_if_due(Instant::now(), hooks) {
                return Outcome::Optional(duty, new);
            }
            if let Some(new) = self.hook_process.fork_if_due(Instant::now(), hooks) {
                return Outcome::Hooks(new);
            }
            self.wait();
            self.collect_events(&mut events, hooks);
            // Deadlines are checked on every event; without an event, send a tick.
            if events.is_empty() {
                events.push_back(Event::Tick);
            }
        }
    }

    /// Passes events to the state machine and performs its actions.
    fn handle(&mut self, events: &mut VecDeque<Event>, hooks: &mut dyn Hooks) -> Option<Outcome> {
        while let Some(event) = events.pop_front() {
            if let Event::Forked { slot, pid } = event {
                self.hook_process.on_forked(slot, pid);
            }
            let actions = self.supervisor.on(event, Instant::now());
            // The answer to an action is handled before any other event.
            let mut answers = VecDeque::new();
            for action in actions {
                let are_any_waiting = !(events.is_empty() && answers.is_empty());
                // Events that are already waiting would be lost with this program. The next iteration decides again.
                if are_any_waiting && matches!(action, Action::Upgrade(_)) {
                    continue;
                }
                match self.perform(action, hooks) {
                    Done::Answers(events) => answers.extend(events),
                    Done::Leave(outcome) => return Some(outcome),
                }
            }
            answers.append(events);
            *events = answers;
        }
        None
    }

    /// The events since the last call.
    fn collect_events(&mut self, events: &mut VecDeque<Event>, hooks: &mut dyn Hooks) {
        let now = Instant::now();
        events.extend(self.generations.read_fork_servers(&mut self.workers, hooks));
        events.extend(self.workers.read());
        if let Some(admin) = &mut self.admin {
            events.extend(admin.read(now, hooks).into_iter().map(Event::Requested));
        }
        events.extend(self.optional.read(now, hooks).map(Event::Requested));
        events.extend(self.hook_process.read(now, hooks));
        events.extend(self.signals.take().into_iter().map(Event::Requested));
        let commands = self.fifos.read(now, self.scoreboard.get(), hooks);
        events.extend(commands.into_iter().map(Event::Requested));
        self.reap(events, hooks);
        self.generations.kill_unused_children(&self.workers, hooks);
        events.extend(self.generations.kill_late_fork_servers(now));
        let late = self.preparation.check(now, hooks);
        events.extend(late.map(|settings| self.prepare(settings, hooks)));
        let late_trial = self.trial.take_if(|trial| trial.deadline() <= now);
        events.extend(late_trial.map(Trial::time_out));
        let scoreboard = self.scoreboard.get();
        events.extend(self.sampler.take(now, self.workers.slots(), scoreboard));
        if let Some(warning) = self.sampler.take_warning() {
            hooks.log(Level::Warning, &warning);
        }
        self.certificates.on_timer(Moment::now(), hooks);
        if let Some(notifier) = &mut self.notifier {
            notifier.on_timer(self.supervisor.is_alive(), now, hooks);
        }
    }

    fn perform(&mut self, action: Action, hooks: &mut dyn Hooks) -> Done {
        match action {
            Action::Fork { slot, generation } => return self.fork(slot, generation, hooks),
            Action::Send { pid, order } => self.workers.send(pid, order, hooks),
            Action::Prepare => {
                let settings = self.preparation.begin(hooks);
                let prepared = settings.map(|settings| self.prepare(settings, hooks));
                return Done::Answers(prepared.into_iter().collect());
            }
            Action::CountResponses => {
                let counted = self.scoreboard.count_responses(self.workers.slots());
                return Done::Answers(vec![counted]);
            }
            Action::SwitchOver => return Done::Answers(self.switch_over(hooks)),
            Action::Discard => {
                self.preparation.cancel();
                self.hook_process.on_discarded();
                self.certificates.discard(Moment::now(), hooks);
                return Done::Answers(self.generations.discard(&self.workers));
            }
            Action::AnnounceResize { new, old } => self.hook_process.resized(new, old),
            Action::AnnounceReload { workers } => {
                let next = &self.generations.get_mut(Generation::Next).config;
                self.hook_process.on_prepared(next, workers, Instant::now());
            }
            Action::TryUpgrade => match Trial::start(hooks) {
                Ok(trial) => self.trial = Some(trial),
                Err(error) => {
                    let reason = format!("cannot start the program on disk: {error}");
                    return Done::Answers(vec![failed(reason)]);
                }
            },
            Action::Upgrade(handover) => return Done::Answers(self.upgrade(&handover, hooks)),
            Action::CloseListeners => return Done::Answers(self.close_listeners()),
            Action::ReopenLogs => {
                hooks.reopen_logs();
                // May be lost during an upgrade: the next process opens the files anyway.
                let admin = self.admin.as_ref();
                let _is_sent = admin.is_some_and(AdminProcess::reopen_logs);
                self.optional.reopen_logs();
                self.hook_process.reopen_logs();
            }
            Action::Record(event) => self.scoreboard.record(event),
            Action::Log {
                level,
                message,
                gunicorn,
                subject: Some(subject),
            } => hooks.log_event(subject, level, &message, gunicorn.as_ref()),
            Action::Log {
                level,
                message,
                gunicorn: Some(event),
                ..
            } => hooks.log_as(&event, level, &message),
            Action::Log { level, message, .. } => hooks.log(level, &message),
            Action::LogForGunicorn(event) => hooks.log_for_gunicorn(&event),
            Action::ReportStatus(status) => self.report_status(&status, hooks),
            Action::Exit { code } => return Done::Leave(Outcome::Exit(code)),
        }
        Done::Answers(Vec::new())
    }

    /// Forks a worker: directly, or through the fork server where `preload` is set.
    fn fork(&mut self, slot: usize, generation: Generation, hooks: &mut dyn Hooks) -> Done {
        let origin = self.hook_process.pre_fork(slot, Instant::now());
        let resources = self.generations.get_mut(generation);
        resources.first_age.get_or_insert(origin.age);
        let forked = match resources.config.preload {
            true => match resources.request_fork(slot, generation, origin, hooks) {
                Ok(Forked::Parent(events)) => Ok(Done::Answers(events)),
                Ok(Forked::Child(new)) => Ok(Done::Leave(Outcome::ForkServer(new))),
                Err(error) => Err(error),
            },
            false => match self.workers.fork(slot, generation, origin, hooks) {
                Ok(Forked::Parent(events)) => Ok(Done::Answers(events)),
                Ok(Forked::Child(new)) => Ok(Done::Leave(Outcome::Worker(new))),
                Err(error) => Err(error),
            },
        };
        forked.unwrap_or_else(|error: io::Error| {
            Done::Answers(vec![Event::ForkFailed {
                slot,
                reason: error.to_string(),
            }])
        })
    }

    /// Prepares the next generation.
    fn prepare(&mut self, settings: ReadSettings, hooks: &dyn Hooks) -> Event {
        let prepared = settings.and_then(|config| {
            let certificates = &mut self.certificates;
            Ok(self.generations.prepare(config, certificates, hooks)?)
        });
        match prepared {
            Ok(rules) => {
                let config = &self.generations.get_mut(Generation::Next).config;
                let missing = self.memory.missing_for(config).join(", ");
                if !missing.is_empty() {
                    let message = format!(
                        "{missing}: turned on by a reload, which cannot create the shared memory for it: nothing is recorded \
                         until the server is restarted, or upgraded in place (USR2)"
                    );
                    hooks.log(Level::Warning, &message);
                }
                self.optional.watch(config, Instant::now(), hooks);
                Event::Prepared(rules)
            }
            Err(SettingsFailure { reason, report }) => Event::PrepareFailed { reason, report },
        }
    }

    /// The prepared generation becomes the present one.
    fn switch_over(&mut self, hooks: &mut dyn Hooks) -> Vec<Event> {
        let Some(failed) = self.generations.switch_over(&self.workers, hooks) else {
            return Vec::new();
        };
        self.certificates.switch_over(Moment::now(), hooks);
        self.hook_process.on_switched_over();
        let present = self.generations.present();
        self.optional.restart(&present.config, Instant::now());
        self.sampler = Sampler::new(&present.rules(), present.config.worker_memory_measure);
        failed
    }

    /// Server stop: closes the listening sockets in every process other than the workers.
    fn close_listeners(&mut self) -> Vec<Event> {
        if let Some(trial) = self.trial.take() {
            trial.kill();
        }
        self.preparation.cancel();
        self.hook_process.on_stopping(Instant::now());
        if let Some(pid_file) = &self.pid_file {
            pid_file.release();
        }
        self.optional.end(Duty::Acme);
        self.generations.close_listeners(&self.workers)
    }

    /// Reports the status to the service manager and to readiness checks.
    fn report_status(&mut self, status: &Status, hooks: &dyn Hooks) {
        match status {
            Status::Stopping { .. } => self.scoreboard.set_draining(),
            Status::Ready { .. } | Status::Serving { .. } => {
                let config = &self.generations.present().config;
                self.optional.start(Duty::Acme, config, Instant::now());
            }
            _ => {}
        }
        if let Some(notifier) = &mut self.notifier {
            notifier.report(status, Instant::now(), hooks);
        }
    }

    /// Replaces this process with the program on disk. Returns only when that fails or has to wait.
    fn upgrade(&mut self, handover: &WorkerHandover, hooks: &mut dyn Hooks) -> Vec<Event> {
        if let Err(error) = hooks.block_signals() {
            return vec![failed(format!("cannot block signals: {error}"))];
        }
        // Signals received so far would be lost with this program.
        let raised = self.signals.take();
        if !raised.is_empty() {
            hooks.unblock_signals();
            return raised.into_iter().map(Event::Requested).collect();
        }
        hooks.log_event(
            EventKind::Upgrade.into(),
            Level::Info,
            "upgrade: replacing the program of this process (exec)",
            None,
        );
        // It holds the old application; the new version forks another one. No fork is pending during an upgrade.
        let _none = self.generations.present_mut().kill_fork_server();
        // The new version starts its own.
        self.optional.end_all();
        self.hook_process.end();
        let (reading, writing) = &self.lifeline;
        let mut memories: Memories<_> = self.memory.memories().collect();
        memories.insert(Memory::Certificates, self.certificates.memory());
        memories.extend((self.scoreboard.memory()).map(|memory| (Memory::Scoreboard, memory)));
        let outgoing = Outgoing {
            handover,
            workers: &self.workers,
            resources: self.generations.present(),
            lifeline: (reading.as_fd(), writing.as_fd()),
            memories,
            pid_file: self.pid_file.as_ref().map(AsFd::as_fd),
            admin: self.admin.as_ref(),
        };
        let error = outgoing.exec(hooks);
        hooks.unblock_signals();
        vec![failed(error.to_string())]
    }

    /// Sleeps until a descriptor is readable or a deadline passes.
    fn wait(&self) {
        let fork_servers: Vec<&ForkServer> = self
            .generations
            .iter()
            .filter_map(GenerationResources::fork_server)
            .collect();
        let admin = self.admin.as_ref();
        let fds = std::iter::once(self.signals.wake_fd())
            .chain(self.workers.poll_fds())
            .chain(fork_servers.iter().filter_map(|one| one.status().poll_fd()))
            .chain(admin.and_then(AdminProcess::poll_fd))
            .chain(self.optional.poll_fds())
            .chain(self.fifos.poll_fds())
            .chain(self.preparation.poll_fd())
            .chain(self.hook_process.poll_fd());
        let mut watched: Vec<PollFd<'_>> = fds
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let writable = self.hook_process.write_fd();
        watched.extend(writable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        let deadlines = [
            self.supervisor.next_deadline(),
            self.sampler.next(),
            self.certificates.next(),
            admin.map(AdminProcess::next),
            self.optional.next(),
            self.fifos.next(),
            self.hook_process.next(),
            self.notifier.as_ref().and_then(Notifier::next),
            self.trial.as_ref().map(Trial::deadline),
            self.preparation.deadline(),
        ];
        let deadline = (deadlines.into_iter())
            .chain(fork_servers.iter().map(|one| one.deadline()))
            .flatten()
            .min();
        let timeout =
            deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        // The result does not matter: every descriptor is read afterwards.
        let _woken = poll(&mut watched, timeout.as_ref());
    }

    /// After the final cleanup: runs the last hook.
    pub(crate) fn finish_hooks(&mut self, hooks: &dyn Hooks) {
        self.hook_process.finish(&self.signals, hooks);
    }

    /// Final cleanup: removes the socket files and the pid file, and ends the admin process.
    pub(crate) fn remove_files(&mut self) {
        self.generations.remove_files();
        self.fifos.remove();
        if let Some(admin) = &mut self.admin {
            admin.end();
        }
        self.optional.finish_exporter();
        self.optional.end_all();
        if let Some(pid_file) = &self.pid_file {
            pid_file.remove();
        }
    }
}
