//! The hands of the supervisor: waits for what happens, asks `supervisor` what follows, and does it.
//! Decides nothing about workers and never touches a connection.
//!
//! Order within a turn: what workers have written, then signals, then deaths. So a report is heard before the death
//! of its sender, and a signal to the whole process group before the deaths that it caused.

mod admin;
mod reading;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_observe::{Level, Page};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, umask, wait};

use crate::admin_process::AdminProcess;
use crate::birth::Birth;
use crate::mailbox::{Message, Receiver, Sender, mailbox};
use crate::measures::Measures;
use crate::oom::OomCounter;
use crate::orders::{Mouth, Word, orders};
use crate::os::shared_words;
use crate::pid_file::PidFile;
use crate::signals::SupervisorSignals;
use crate::site::Site;
use crate::supervisor::{Action, Event, Generation, Order, ReplaceReason, Supervisor};
use crate::{Ending, Fork, Hooks};

/// The exit code when the server could not even begin.
const CANNOT_START: i32 = 1;

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
    let code = match Site::first(config.clone(), hooks.worker_identity()) {
        Ok(site) => serve(site, hooks),
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

fn serve(site: Site, hooks: &mut dyn Hooks) -> i32 {
    for listener in &site.listeners {
        hooks.log(
            Level::Info,
            &format!(
                "listening at {} (pid {})",
                listener.url(),
                std::process::id()
            ),
        );
    }
    let admin = match admin::bind(&site.config, hooks) {
        Ok(admin) => admin,
        Err(code) => {
            site.remove_files();
            return code;
        }
    };
    let page = shared_words(Page::WORDS)
        .map(Page::new)
        .inspect(|page| page.found(std::process::id(), admin::monotonic_nanos()))
        .inspect_err(|error| {
            let message = format!(
                "no memory could be shared between workers: {error}; connections may pile up on one of them"
            );
            hooks.log(Level::Warning, &message);
        })
        .ok();
    let mut main_loop = match MainLoop::new(site, page) {
        Ok(main_loop) => main_loop,
        Err((error, site)) => {
            site.remove_files();
            if let Some(mut admin) = admin {
                admin.end();
            }
            hooks.log(
                Level::Critical,
                &format!("cannot take over signals: {error}"),
            );
            return CANNOT_START;
        }
    };
    main_loop.admin = admin;
    match main_loop.turn_until_done(hooks) {
        Outcome::Exit(code) => {
            main_loop.site.remove_files();
            if let Some(next) = main_loop.next {
                next.remove_files();
            }
            if let Some(admin) = &mut main_loop.admin {
                admin.end();
            }
            code
        }
        Outcome::Admin(sender) => {
            let code = admin::live(main_loop, sender, hooks);
            hooks.exit_process(code)
        }
        Outcome::Child(birth) => {
            let code = main_loop.become_worker(birth, hooks);
            hooks.exit_process(code)
        }
    }
}

/// How the loop ends.
pub(crate) enum Outcome {
    /// The server is done.
    Exit(i32),
    /// This is no longer the supervisor.
    Child(Birth),
    /// This is no longer the supervisor, nor a worker.
    Admin(Sender),
}

pub(crate) struct MainLoop {
    pub(crate) supervisor: Supervisor,
    pub(crate) pid: Option<Pid>,
    pub(crate) signals: SupervisorSignals,
    /// What workers that are made now get.
    pub(crate) site: Site,
    /// What those of the next generation get, while a reload goes on.
    pub(crate) next: Option<Site>,
    /// Whoever reads from the first end learns when no supervisor holds the second any more.
    pub(crate) lifeline: (OwnedFd, OwnedFd),
    /// What the workers tell each other; made before the first of them, so that all see the same memory.
    pub(crate) page: Option<Page>,
    pub(crate) children: HashMap<u32, Child>,
    measures: Measures,
    oom: OomCounter,
    pub(crate) admin: Option<AdminProcess>,
}

/// A worker that has not been reaped, by its process id.
pub(crate) struct Child {
    slot: usize,
    mailbox: Receiver,
    orders: Mouth,
}

impl MainLoop {
    fn new(site: Site, page: Option<Page>) -> Result<Self, (io::Error, Site)> {
        let held = SupervisorSignals::install()
            .and_then(|signals| Ok((signals, pipe_with(PipeFlags::CLOEXEC)?)));
        let (signals, lifeline) = match held {
            Ok(held) => held,
            Err(error) => return Err((error, site)),
        };
        let rules = site.rules();
        Ok(Self {
            supervisor: Supervisor::new(rules),
            pid: Some(getpid()),
            signals,
            measures: Measures::new(&rules, site.config.worker_memory_measure),
            oom: OomCounter::new(),
            site,
            next: None,
            lifeline,
            page,
            children: HashMap::new(),
            admin: None,
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
            if let Some(sender) = self.fork_admin(hooks) {
                return Outcome::Admin(sender);
            }
            self.wait();
            self.hear_workers(&mut events);
            events.extend(self.signals.take().into_iter().map(Event::Requested));
            self.reap(&mut events, hooks);
            self.measure(&mut events, hooks);
            // Deadlines are kept on every event; without one, time itself is the event.
            if events.is_empty() {
                events.push_back(Event::Tick);
            }
        }
    }

    fn perform(&mut self, action: Action, hooks: &mut dyn Hooks) -> Done {
        match action {
            Action::Fork { slot, generation } => return self.fork(slot, generation, hooks),
            Action::Send { pid, order } => self.send(pid, order),
            Action::Prepare => return Done::Answer(self.prepare(hooks)),
            Action::Count => return Done::Answer(self.count_responses()),
            Action::Move => {
                if let Some(next) = self.next.take() {
                    self.measures = Measures::new(&next.rules(), next.config.worker_memory_measure);
                    hooks.adopt(&next.config, next.generation);
                    std::mem::replace(&mut self.site, next).leave_to(&self.site);
                }
            }
            Action::Discard => {
                if let Some(next) = self.next.take() {
                    next.leave_to(&self.site);
                }
            }
            Action::CloseListeners => {
                let sites = [Some(&mut self.site), self.next.as_mut()];
                for site in sites.into_iter().flatten() {
                    for listener in &mut site.listeners {
                        listener.close();
                    }
                }
            }
            Action::ReopenLogs => hooks.reopen_logs(),
            Action::Log { level, message } => hooks.log(level, &message),
            Action::Exit { code } => return Done::Leave(Outcome::Exit(code)),
        }
        Done::Nothing
    }

    fn fork(&mut self, slot: usize, generation: Generation, hooks: &mut dyn Hooks) -> Done {
        let failed = |error: io::Error| {
            Done::Answer(Event::ForkFailed {
                slot,
                reason: error.to_string(),
            })
        };
        let ((mailbox, sender), (ear, mouth)) =
            match mailbox().and_then(|ends| Ok((ends, orders()?))) {
                Ok(ends) => ends,
                Err(error) => return failed(error),
            };
        match hooks.fork() {
            Ok(Fork::Parent(pid)) => {
                let child = Child {
                    slot,
                    mailbox,
                    orders: mouth,
                };
                self.children.insert(pid, child);
                Done::Answer(Event::Forked { slot, pid })
            }
            Ok(Fork::Child) => Done::Leave(Outcome::Child(Birth {
                slot,
                generation,
                sender,
                ear,
            })),
            Err(error) => failed(error),
        }
    }

    /// Reads the settings again and binds what is new.
    fn prepare(&mut self, hooks: &mut dyn Hooks) -> Event {
        let config = match hooks.read_settings() {
            Ok(config) => config,
            Err(reason) => return Event::NotPrepared { reason },
        };
        match self.site.next(config, hooks.worker_identity()) {
            Ok((next, unchanged)) => {
                if !unchanged.is_empty() {
                    let names = unchanged.join(", ");
                    hooks.log(
                        Level::Warning,
                        &format!(
                            "{names}: what has changed counts after a restart, not after a reload"
                        ),
                    );
                }
                for listener in &next.listeners {
                    if !self
                        .site
                        .listeners
                        .iter()
                        .any(|kept| kept.is_same(listener))
                    {
                        hooks.log(Level::Info, &format!("listening at {}", listener.url()));
                    }
                }
                let rules = next.rules();
                self.next = Some(next);
                Event::Prepared(rules)
            }
            Err(failure) => Event::NotPrepared {
                reason: failure.to_string(),
            },
        }
    }

    fn send(&self, pid: u32, order: Order) {
        let spoken = match order {
            Order::Open => Some(Word::Open),
            Order::Retire => Some(Word::Retire),
            _ => None,
        };
        if let Some(word) = spoken {
            let is_heard = self
                .children
                .get(&pid)
                .is_some_and(|child| child.orders.say(word));
            // A worker that does not listen must not stay for ever; one that cannot begin to serve is of no use.
            if is_heard {
                return;
            }
        }
        send_signal(pid, order);
    }

    /// Looks at what the workers have counted and hold, when it is time to.
    fn measure(&mut self, events: &mut VecDeque<Event>, hooks: &dyn Hooks) {
        let children = self.children.iter().map(|(pid, child)| (*pid, child.slot));
        events.extend(self.measures.take(Instant::now(), children, self.page));
        if let Some(warning) = self.measures.take_warning() {
            hooks.log(Level::Warning, &warning);
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
        let fork_at = self.admin.as_ref().and_then(AdminProcess::fork_at);
        let others = [self.measures.next(), fork_at].into_iter().flatten();
        let deadline = self.supervisor.next_deadline().into_iter().chain(others);
        let longest = deadline.min().map(|deadline| {
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
    fn reap(&mut self, events: &mut VecDeque<Event>, hooks: &dyn Hooks) {
        loop {
            // Any child: waitpid(None) would leave out those that have moved to another process group.
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let Some(ending) = ending(status) else {
                        continue;
                    };
                    let pid = pid.as_raw_nonzero().get().unsigned_abs();
                    if self.bury_admin(pid, ending, hooks) {
                        continue;
                    }
                    // It may have written between our last look and its death.
                    if let Some(mut child) = self.children.remove(&pid) {
                        let unfinished = self.take_off_page(pid, child.slot);
                        events.extend(
                            child
                                .mailbox
                                .read()
                                .into_iter()
                                .map(|message| told(pid, message)),
                        );
                        let memory_ran_out = match ending.is_kill() {
                            true => self.oom.has_risen(),
                            false => None,
                        };
                        events.push_back(Event::Exited {
                            pid,
                            ending,
                            memory_ran_out,
                            unfinished,
                        });
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

fn told(pid: u32, message: Message) -> Event {
    match message {
        Message::Ready => Event::Ready { pid },
        Message::Heartbeat => Event::Heartbeat { pid },
        Message::Serving => Event::Serving { pid },
        Message::Stuck => Event::Stuck { pid },
        Message::StuckThread => Event::ReplaceWanted {
            pid,
            reason: ReplaceReason::StuckThread,
        },
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

fn send_signal(pid: u32, order: Order) {
    let signal = match order {
        Order::Drain | Order::Open | Order::Retire => Signal::TERM,
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
