//! The hands of the supervisor: waits for what happens, asks `supervisor` what follows, and does it.
//! Decides nothing about workers and never touches a connection.
//!
//! Order within a turn: what workers have written, then signals, then deaths. So a report is heard before the death
//! of its sender, and a signal to the whole process group before the deaths that it caused.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use lockgate_config::{BindAddress, Config};
use lockgate_observe::{Level, Page};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, umask, wait,
};

use crate::mailbox::{Message, Receiver, Sender, mailbox};
use crate::os::shared_words;
use crate::pid_file::PidFile;
use crate::signals::{SupervisorSignals, WorkerSignals};
use crate::sockets::{self, Listener};
use crate::supervisor::{Action, Event, Order, Rules, Supervisor};
use crate::worker_side::WorkerPost;
use crate::{Ending, Fork, Hooks};

/// The exit code when the server could not even begin.
const CANNOT_START: i32 = 1;
/// The exit code of a child that could not take over its own signals.
const CHILD_WITHOUT_SIGNALS: i32 = 1;

/// Serves until it is asked to stop: binds, forks, restarts. Gives the exit code of the server.
///
/// 0: stopped on request. 1: could not bind or write its pid file. 3 or 4, as the worker said: no worker could load
/// the application. Must be called on the main thread, and no other thread may exist. In a worker it never returns.
pub fn run(config: &Config, hooks: &mut dyn Hooks) -> i32 {
    if let Some(mask) = config.umask {
        umask(Mode::from_raw_mode(mask));
    }
    let pid_file = match config
        .pidfile
        .as_deref()
        .map(|path| PidFile::claim(path, std::process::id()))
        .transpose()
    {
        Ok(pid_file) => pid_file,
        Err(error) => {
            hooks.log(Level::Critical, &error.to_string());
            return CANNOT_START;
        }
    };
    let code = match sockets::bind(config, hooks.worker_identity()) {
        Ok(listeners) => serve(config, listeners, hooks),
        Err(failure) => {
            hooks.log(Level::Critical, &failure.to_string());
            CANNOT_START
        }
    };
    if let Some(pid_file) = pid_file {
        pid_file.remove();
    }
    code
}

fn serve(config: &Config, listeners: Vec<Listener>, hooks: &mut dyn Hooks) -> i32 {
    for listener in &listeners {
        hooks.log(
            Level::Info,
            &format!(
                "listening at {} (pid {})",
                listener.url(),
                std::process::id()
            ),
        );
    }
    let page = shared_words(Page::WORDS)
        .map(Page::new)
        .inspect_err(|error| {
            let message = format!(
                "no memory could be shared between workers: {error}; connections may pile up on one of them"
            );
            hooks.log(Level::Warning, &message);
        })
        .ok();
    let mut main_loop = match MainLoop::new(config, listeners, page) {
        Ok(main_loop) => main_loop,
        Err((error, listeners)) => {
            listeners.iter().for_each(Listener::remove_file);
            hooks.log(
                Level::Critical,
                &format!("cannot take over signals: {error}"),
            );
            return CANNOT_START;
        }
    };
    match main_loop.turn_until_done(hooks) {
        Outcome::Exit(code) => {
            main_loop.listeners.iter().for_each(Listener::remove_file);
            code
        }
        Outcome::Child(birth) => {
            let code = live_as_worker(main_loop, birth, hooks);
            hooks.exit_process(code)
        }
    }
}

/// How the loop ends.
enum Outcome {
    /// The server is done.
    Exit(i32),
    /// This is no longer the supervisor.
    Child(Birth),
}

/// A new process that has not yet let go of what its parent holds.
struct Birth {
    slot: usize,
    sender: Sender,
}

struct MainLoop {
    supervisor: Supervisor,
    pid: Option<Pid>,
    signals: SupervisorSignals,
    timeout: Option<Duration>,
    /// The sockets of all workers to come.
    listeners: Vec<Listener>,
    /// Whoever reads from the first end learns when no supervisor holds the second any more.
    lifeline: (OwnedFd, OwnedFd),
    /// What the workers tell each other; made before the first of them, so that all see the same memory.
    page: Option<Page>,
    children: HashMap<u32, Child>,
}

/// A worker that has not been reaped, by its process id.
struct Child {
    slot: usize,
    mailbox: Receiver,
}

impl MainLoop {
    fn new(
        config: &Config,
        listeners: Vec<Listener>,
        page: Option<Page>,
    ) -> Result<Self, (io::Error, Vec<Listener>)> {
        let held = SupervisorSignals::install()
            .and_then(|signals| Ok((signals, pipe_with(PipeFlags::CLOEXEC)?)));
        let (signals, lifeline) = match held {
            Ok(held) => held,
            Err(error) => return Err((error, listeners)),
        };
        let rules = Rules {
            workers: config.workers,
            timeout: config.timeout,
            graceful_timeout: config.graceful_timeout,
        };
        Ok(Self {
            supervisor: Supervisor::new(rules),
            pid: Some(getpid()),
            signals,
            timeout: config.timeout,
            listeners,
            lifeline,
            page,
            children: HashMap::new(),
        })
    }

    fn turn_until_done(&mut self, hooks: &mut dyn Hooks) -> Outcome {
        let mut events = VecDeque::from([Event::Start]);
        loop {
            while let Some(event) = events.pop_front() {
                let actions = self.supervisor.on(event, Instant::now());
                // An answer to an action comes before whatever else is waiting.
                let mut answers = VecDeque::new();
                for action in actions {
                    match self.perform(action, hooks) {
                        Done::Nothing => {}
                        Done::Answer(event) => answers.push_back(event),
                        Done::Leave(outcome) => return outcome,
                    }
                }
                answers.append(&mut events);
                events = answers;
            }
            self.wait();
            self.hear_workers(&mut events);
            events.extend(self.signals.take().into_iter().map(Event::Requested));
            self.reap(&mut events);
            // Deadlines are kept on every event; without one, time itself is the event.
            if events.is_empty() {
                events.push_back(Event::Tick);
            }
        }
    }

    fn perform(&mut self, action: Action, hooks: &mut dyn Hooks) -> Done {
        match action {
            Action::Fork { slot } => return self.fork(slot, hooks),
            Action::Send { pid, order } => send(pid, order),
            Action::CloseListeners => {
                for listener in &mut self.listeners {
                    listener.close();
                }
            }
            Action::ReopenLogs => hooks.reopen_logs(),
            Action::Log { level, message } => hooks.log(level, &message),
            Action::Exit { code } => return Done::Leave(Outcome::Exit(code)),
        }
        Done::Nothing
    }

    fn fork(&mut self, slot: usize, hooks: &mut dyn Hooks) -> Done {
        let failed = |error: io::Error| {
            Done::Answer(Event::ForkFailed {
                slot,
                reason: error.to_string(),
            })
        };
        let (mailbox, sender) = match mailbox() {
            Ok(ends) => ends,
            Err(error) => return failed(error),
        };
        match hooks.fork() {
            Ok(Fork::Parent(pid)) => {
                self.children.insert(pid, Child { slot, mailbox });
                Done::Answer(Event::Forked { slot, pid })
            }
            Ok(Fork::Child) => Done::Leave(Outcome::Child(Birth { slot, sender })),
            Err(error) => failed(error),
        }
    }

    /// Sleeps until something happens or a deadline passes.
    fn wait(&self) {
        let mut watched = vec![PollFd::from_borrowed_fd(
            self.signals.wake_fd(),
            PollFlags::IN,
        )];
        let mailboxes = self
            .children
            .values()
            .filter_map(|child| child.mailbox.poll_fd());
        watched.extend(mailboxes.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let longest = self.supervisor.next_deadline().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        // Every descriptor is read after this, whatever the answer: an error changes nothing but the time of waking.
        let _woken = poll(&mut watched, longest.as_ref());
    }

    fn hear_workers(&mut self, events: &mut VecDeque<Event>) {
        for (pid, child) in &mut self.children {
            events.extend(
                child
                    .mailbox
                    .read()
                    .into_iter()
                    .map(|message| told(*pid, message)),
            );
        }
    }

    /// Buries the dead. PID 1 also reaps strangers, whom the supervisor does not know by their numbers.
    fn reap(&mut self, events: &mut VecDeque<Event>) {
        loop {
            // Any child: waitpid(None) would leave out those that have moved to another process group.
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let Some(ending) = ending(status) else {
                        continue;
                    };
                    let pid = pid.as_raw_nonzero().get().unsigned_abs();
                    // It may have written between our last look and its death.
                    if let Some(mut child) = self.children.remove(&pid) {
                        if let Some(page) = self.page {
                            page.clear(child.slot);
                        }
                        events.extend(
                            child
                                .mailbox
                                .read()
                                .into_iter()
                                .map(|message| told(pid, message)),
                        );
                        events.push_back(Event::Exited { pid, ending });
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

enum Done {
    Nothing,
    Answer(Event),
    Leave(Outcome),
}

/// The life of a child, up to its exit code.
fn live_as_worker(main_loop: MainLoop, birth: Birth, hooks: &mut dyn Hooks) -> i32 {
    // The worker's registrations come first: no moment is without a handler that ends a booting process.
    let signals = match WorkerSignals::install() {
        Ok(signals) => signals,
        Err(error) => {
            hooks.log(
                Level::Critical,
                &format!("cannot take over signals: {error}"),
            );
            return CHILD_WITHOUT_SIGNALS;
        }
    };
    // A signal that came before them has only raised the supervisor's flags.
    if main_loop.signals.asks_to_stop() {
        return 0;
    }
    die_with_parent(true);
    // It may have died before that was asked for.
    if getppid() != main_loop.pid {
        return 0;
    }
    let MainLoop {
        supervisor,
        pid,
        signals: inherited,
        timeout,
        listeners,
        lifeline,
        page,
        children,
    } = main_loop;
    let (lifeline, writing_end) = lifeline;
    drop((supervisor, inherited, writing_end, children));
    let listeners: Vec<(BindAddress, OwnedFd)> = listeners
        .into_iter()
        .filter_map(Listener::into_socket)
        .collect();
    hooks.run_worker(WorkerPost {
        slot: birth.slot,
        listeners,
        seat: page.and_then(|page| page.seat(birth.slot)),
        supervisor: pid,
        timeout,
        mailbox: birth.sender,
        lifeline,
        signals,
    })
}

fn told(pid: u32, message: Message) -> Event {
    match message {
        Message::Ready => Event::Ready { pid },
        Message::Heartbeat => Event::Heartbeat { pid },
        Message::Stuck => Event::Stuck { pid },
        Message::BootFailed { code, text } => Event::BootFailed { pid, code, text },
    }
}

fn ending(status: WaitStatus) -> Option<Ending> {
    if let Some(code) = status.exit_status() {
        return Some(Ending::Code(code));
    }
    // The core flag is bit 7 of the status word, on every unix that has one.
    let dumped_core = status.as_raw() & 0x80 != 0;
    Some(Ending::Signal {
        number: status.terminating_signal()?,
        dumped_core,
    })
}

fn send(pid: u32, order: Order) {
    let signal = match order {
        Order::Drain => Signal::TERM,
        Order::Stop => Signal::INT,
        Order::ReopenLogs => Signal::USR1,
        Order::Abort => Signal::ABORT,
        Order::Kill => Signal::KILL,
    };
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The number is ours until we have reaped it, so the only failure is a worker that has just died.
        let _dead_already = kill_process(pid, signal);
    }
}

/// During its boot a worker does not watch its lifeline, so the kernel tells it when the supervisor dies.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(dies: bool) {
    // Without it an orphan lives until it is ready, and then sees the lost lifeline.
    let _unsupported =
        rustix::process::set_parent_process_death_signal(dies.then_some(Signal::TERM));
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_dies: bool) {}
