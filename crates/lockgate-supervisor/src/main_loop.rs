//! The hands of the supervisor: waits for what happens, asks `supervisor` what follows, and does it.
//! Decides nothing about workers and never touches a connection.
//!
//! Order within a turn: what workers have written, then signals, then deaths. So a report is heard before the death
//! of its sender, and a signal to the whole process group before the deaths that it caused.

mod admin;
mod births;
mod recording;
mod upgrading;

use std::collections::{HashMap, VecDeque};
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
use crate::estate::Estate;
use crate::mailbox::{Message, Receiver, Sender};
use crate::measures::Measures;
use crate::notify::Notifier;
use crate::oom::OomCounter;
use crate::orders::{Mouth, Word};
use crate::os::{map_words, shared_memory};
use crate::pid_file::PidFile;
use crate::signals::SupervisorSignals;
use crate::site::Site;
use crate::supervisor::{Action, Event, Order, ReplaceReason, Supervisor};
use crate::template_side::TemplateBirth;
use crate::{Ending, Hooks};
use upgrading::Trial;

/// The exit code when the server could not even begin.
const CANNOT_START: i32 = 1;

/// Serves until it is asked to stop: binds, forks, restarts. Gives the exit code of the server.
///
/// 0: stopped on request. 1: could not bind or write its pid file. 3 or 4, as the worker said: no worker could load
/// the application. Must be called on the main thread, and no other thread may exist. In a worker it never returns.
///
/// `left` is the variable [`HANDOVER`](crate::HANDOVER), where the program before in this process has set it: its workers
/// serve, and are to be replaced.
pub fn run(config: &Config, hooks: &mut dyn Hooks, left: Option<&str>) -> i32 {
    if let Some(mask) = config.umask {
        umask(Mode::from_raw_mode(mask));
    }
    let estate = match left.map(Estate::take_over).transpose() {
        Ok(estate) => estate,
        Err(error) => {
            let message = format!("what the version before has left cannot be taken over: {error}");
            hooks.log(Level::Critical, &message);
            return CANNOT_START;
        }
    };
    let pid_file = match config
        .pidfile
        .as_deref()
        .map(|path| PidFile::claim(path, std::process::id()))
        .transpose()
    {
        Ok(pid_file) => pid_file,
        // Workers serve already: a site that stands must not fall for want of a file.
        Err(error) if estate.is_some() => {
            hooks.log(Level::Error, &error.to_string());
            None
        }
        Err(error) => {
            hooks.log(Level::Critical, &error.to_string());
            return CANNOT_START;
        }
    };
    let code = serve(config, estate, hooks);
    if let Some(pid_file) = pid_file {
        pid_file.remove();
    }
    code
}

fn serve(config: &Config, mut estate: Option<Estate>, hooks: &mut dyn Hooks) -> i32 {
    let site = match &mut estate {
        Some(estate) => {
            let listeners = std::mem::take(&mut estate.listeners);
            Ok(Site::resumed(config.clone(), estate.generation, listeners))
        }
        None => Site::first(config.clone(), hooks.worker_identity()),
    };
    let site = match site {
        Ok(site) => site,
        Err(failure) => {
            hooks.log(Level::Critical, &failure.to_string());
            return CANNOT_START;
        }
    };
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
    let admin = match admin::bind(&site.config, estate.as_mut(), hooks) {
        Ok(admin) => admin,
        Err(code) => {
            site.remove_files();
            return code;
        }
    };
    let mut main_loop = match MainLoop::new(site, admin, estate, hooks) {
        Ok(main_loop) => main_loop,
        Err(code) => return code,
    };
    main_loop.notifier = Notifier::new(&hooks.service_manager(), Instant::now(), hooks);
    match main_loop.turn_until_done(hooks) {
        Outcome::Exit(code) => {
            main_loop.remove_files();
            code
        }
        Outcome::Admin(sender) => {
            let code = admin::live(main_loop, sender, hooks);
            hooks.exit_process(code)
        }
        Outcome::Template(birth) => {
            let code = main_loop.become_template(birth, hooks);
            hooks.exit_process(code)
        }
        Outcome::Child(birth) => {
            let code = main_loop.become_worker(birth, hooks);
            hooks.exit_process(code)
        }
    }
}

/// Memory that all workers share, which is only of use: without it they serve.
fn new_page(hooks: &dyn Hooks) -> Option<(Page, OwnedFd)> {
    let made = shared_memory(Page::WORDS)
        .and_then(|memory| Ok((Page::new(map_words(&memory, Page::WORDS)?), memory)));
    match made {
        Ok((page, memory)) => {
            page.found(std::process::id(), admin::monotonic_nanos());
            Some((page, memory))
        }
        Err(error) => {
            let message = format!(
                "no memory could be shared between workers: {error}; connections may pile up on one of them"
            );
            hooks.log(Level::Warning, &message);
            None
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
    /// This is no longer the supervisor, and will be several workers.
    Template(TemplateBirth),
}

pub(crate) struct MainLoop {
    pub(crate) supervisor: Supervisor,
    /// What it is told first.
    first: Option<Event>,
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
    /// What is behind the page, for the next program of this process.
    page_memory: Option<OwnedFd>,
    pub(crate) children: HashMap<u32, Child>,
    measures: Measures,
    oom: OomCounter,
    pub(crate) admin: Option<AdminProcess>,
    trial: Option<Trial>,
    pub(crate) notifier: Option<Notifier>,
}

/// A worker that has not been reaped, by its process id.
pub(crate) struct Child {
    pub(crate) slot: usize,
    pub(crate) mailbox: Receiver,
    pub(crate) orders: Mouth,
}

impl MainLoop {
    /// The error is the exit code of the server.
    fn new(
        site: Site,
        mut admin: Option<AdminProcess>,
        estate: Option<Estate>,
        hooks: &mut dyn Hooks,
    ) -> Result<Self, i32> {
        let held = SupervisorSignals::install().and_then(|signals| match estate {
            Some(estate) => Ok((
                signals,
                estate.lifeline,
                estate.page,
                Some((estate.inherited, estate.children)),
            )),
            None => Ok((signals, pipe_with(PipeFlags::CLOEXEC)?, None, None)),
        });
        let (signals, lifeline, page, heirs) = match held {
            Ok(held) => held,
            Err(error) => {
                site.remove_files();
                if let Some(admin) = &mut admin {
                    admin.end();
                }
                let message = format!("cannot take over signals: {error}");
                hooks.log(Level::Critical, &message);
                return Err(CANNOT_START);
            }
        };
        let (first, children) = match heirs {
            Some((inherited, children)) => {
                hooks.unblock_signals();
                // Of children that have died on the way the program before was told, if anybody.
                let _to_itself = kill_process(getpid(), Signal::CHILD);
                (Event::Resumed(inherited), children)
            }
            None => (Event::Start, HashMap::new()),
        };
        let (page, page_memory) = page.or_else(|| new_page(hooks)).unzip();
        let rules = site.rules();
        Ok(Self {
            supervisor: Supervisor::new(rules),
            first: Some(first),
            pid: Some(getpid()),
            signals,
            measures: Measures::new(&rules),
            oom: OomCounter::new(),
            site,
            next: None,
            lifeline,
            page,
            page_memory,
            children,
            admin,
            trial: None,
            notifier: None,
        })
    }

    /// Takes the socket files out of the file system, and ends whoever answers operators: the supervisor's last moment.
    fn remove_files(&mut self) {
        for site in [Some(&self.site), self.next.as_ref()].into_iter().flatten() {
            site.remove_files();
        }
        if let Some(admin) = &mut self.admin {
            admin.end();
        }
    }

    fn turn_until_done(&mut self, hooks: &mut dyn Hooks) -> Outcome {
        let mut events = VecDeque::from_iter(self.first.take());
        loop {
            while let Some(event) = events.pop_front() {
                let actions = self.supervisor.on(event, Instant::now());
                // An answer to an action comes before whatever else is waiting.
                let mut answers = VecDeque::new();
                for action in actions {
                    match self.perform(action, hooks) {
                        Done::Answers(events) => answers.extend(events),
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
            self.hear_templates(&mut events, hooks);
            self.hear_workers(&mut events);
            events.extend(self.signals.take().into_iter().map(Event::Requested));
            self.reap(&mut events, hooks);
            self.end_late_templates(&mut events);
            events.extend(self.end_late_trial());
            self.measure(&mut events);
            self.attend_notifier(hooks);
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
            Action::Prepare => return Done::Answers(vec![self.prepare(hooks)]),
            Action::Move => {
                if let Some(next) = self.next.take() {
                    self.measures = Measures::new(&next.rules());
                    hooks.adopt(&next.config, next.generation);
                    let mut left = std::mem::replace(&mut self.site, next);
                    let given_up = left.end_template();
                    left.leave_to(&self.site);
                    return Done::Answers(given_up);
                }
            }
            Action::Discard => {
                if let Some(mut next) = self.next.take() {
                    let given_up = next.end_template();
                    next.leave_to(&self.site);
                    return Done::Answers(given_up);
                }
            }
            Action::TryUpgrade => return Done::Answers(self.try_upgrade(hooks)),
            Action::Upgrade {
                wanted,
                workers,
                leaving,
            } => return Done::Answers(self.upgrade(wanted, workers, &leaving, hooks)),
            Action::CloseListeners => {
                self.end_trial();
                let mut given_up = Vec::new();
                for site in [Some(&mut self.site), self.next.as_mut()]
                    .into_iter()
                    .flatten()
                {
                    // It has the sockets as well.
                    given_up.extend(site.end_template());
                    for listener in &mut site.listeners {
                        listener.close();
                    }
                }
                return Done::Answers(given_up);
            }
            Action::ReopenLogs => hooks.reopen_logs(),
            Action::Record(fact) => self.record(fact),
            Action::Log { level, message } => hooks.log(level, &message),
            Action::Tell(status) => self.tell(&status, hooks),
            Action::Exit { code } => return Done::Leave(Outcome::Exit(code)),
        }
        Done::Answers(Vec::new())
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
    fn measure(&mut self, events: &mut VecDeque<Event>) {
        let children = self.children.iter().map(|(pid, child)| (*pid, child.slot));
        events.extend(self.measures.take(Instant::now(), children, self.page));
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
        let templates: Vec<_> = [Some(&self.site), self.next.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|site| site.template.as_ref())
            .collect();
        let mailboxes = mailboxes.chain(templates.iter().filter_map(|one| one.mailbox().poll_fd()));
        watched.extend(mailboxes.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let fork_at = self.admin.as_ref().and_then(AdminProcess::fork_at);
        let load_by = templates.iter().filter_map(|one| one.load_by());
        let tell_at = self.notifier.as_ref().and_then(Notifier::next);
        let others = [self.measures.next(), fork_at, tell_at, self.trial_ends_by()]
            .into_iter()
            .flatten();
        let deadline = self
            .supervisor
            .next_deadline()
            .into_iter()
            .chain(others)
            .chain(load_by);
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
                    .filter_map(|message| told(*pid, message)),
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
                    if let Some(event) = self.bury_trial(pid, ending) {
                        events.push_back(event);
                        continue;
                    }
                    // A worker that its template has told of and nobody has heard of yet.
                    if !self.children.contains_key(&pid) {
                        self.hear_templates(events, hooks);
                    }
                    if self.bury_template(pid, ending, events, hooks) {
                        continue;
                    }
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
                                .filter_map(|message| told(pid, message)),
                        );
                        let memory_ran_out = match ending.is_kill() {
                            true => self.oom.has_risen(),
                            false => None,
                        };
                        events.push_back(Event::Exited {
                            pid,
                            ending,
                            memory_ran_out,
                        });
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

/// What an action has led to.
enum Done {
    /// This, to be told before anything else.
    Answers(Vec<Event>),
    Leave(Outcome),
}

fn told(pid: u32, message: Message) -> Option<Event> {
    Some(match message {
        Message::Ready => Event::Ready { pid },
        Message::Heartbeat => Event::Heartbeat { pid },
        Message::Serving => Event::Serving { pid },
        Message::Stuck => Event::Stuck { pid },
        Message::StuckThread => Event::ReplaceWanted {
            pid,
            reason: ReplaceReason::StuckThread,
        },
        Message::BootFailed { code, text } => Event::BootFailed { pid, code, text },
        // Those are for templates to say.
        Message::Born { .. } | Message::NotBorn { .. } => return None,
    })
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
