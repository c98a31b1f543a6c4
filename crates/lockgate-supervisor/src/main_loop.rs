//! The hands of the supervisor: waits for what happens, asks `supervisor` what follows, and does it.
//! Decides nothing about workers and never touches a connection.
//!
//! Order within a turn: what workers have written, then signals, then deaths. So a report is heard before the death
//! of its sender, and a signal to the whole process group before the deaths that it caused.

mod admin;
mod births;
mod deaths;
mod founding;
mod generations;
mod reading;
mod recording;
mod templates;
mod upgrading;

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Instant;

use lockgate_observe::{Level, Page};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::Hooks;
use crate::admin_process::AdminProcess;
use crate::birth::Birth;
use crate::descendants::Descendants;
use crate::mailbox::{Message, Receiver, Sender};
use crate::measures::Measures;
use crate::notify::Notifier;
use crate::oom::OomCounter;
use crate::orders::{Ear, Mouth, Word};
use crate::pid_file::PidFile;
use crate::signals::SupervisorSignals;
use crate::site::Site;
use crate::supervisor::{Action, Event, Order, ReplaceReason, Supervisor};
use crate::template_side::TemplateBirth;
use templates::LeftByTemplate;
use upgrading::Trial;

pub use founding::run;

/// The exit code when the server could not even begin.
const CANNOT_START: i32 = 1;

/// How the loop ends.
pub(crate) enum Outcome {
    /// The server is done.
    Exit(i32),
    /// This is no longer the supervisor.
    Child(Birth),
    /// This is no longer the supervisor, nor a worker.
    Admin(Sender, Ear),
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
    /// What templates have started that have been ended.
    left_by_templates: Vec<LeftByTemplate>,
    pid_file: Option<PidFile>,
    pub(crate) notifier: Option<Notifier>,
}

/// A worker that has not been reaped, by its process id.
pub(crate) struct Child {
    pub(crate) slot: usize,
    pub(crate) mailbox: Receiver,
    pub(crate) orders: Mouth,
    /// The template that has made it.
    pub(crate) template: Option<u32>,
}

impl MainLoop {
    fn turn_until_done(&mut self, hooks: &mut dyn Hooks) -> Outcome {
        let mut events = VecDeque::from_iter(self.first.take());
        loop {
            while let Some(event) = events.pop_front() {
                let actions = self.supervisor.on(event, Instant::now());
                // An answer to an action comes before whatever else is waiting.
                let mut answers = VecDeque::new();
                for action in actions {
                    let are_any_waiting = !(events.is_empty() && answers.is_empty());
                    // What has happened already would be forgotten with this program. The wish comes again with the next.
                    if are_any_waiting && matches!(action, Action::Upgrade { .. }) {
                        continue;
                    }
                    match self.perform(action, hooks) {
                        Done::Answers(events) => answers.extend(events),
                        Done::Leave(outcome) => return outcome,
                    }
                }
                answers.append(&mut events);
                events = answers;
            }
            if let Some((sender, ear)) = self.fork_admin(hooks) {
                return Outcome::Admin(sender, ear);
            }
            self.wait();
            self.hear_templates(&mut events, hooks);
            self.hear_workers(&mut events);
            events.extend(self.hear_admin(hooks));
            events.extend(self.signals.take().into_iter().map(Event::Requested));
            self.reap(&mut events, hooks);
            self.end_template_children(hooks);
            self.end_late_templates(&mut events);
            events.extend(self.end_late_trial());
            self.measure(&mut events, hooks);
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
            Action::Send { pid, order } => self.send(pid, order, hooks),
            Action::Prepare => return Done::Answers(vec![self.prepare(hooks)]),
            Action::Count => return Done::Answers(vec![self.count_responses()]),
            Action::Move => return Done::Answers(self.move_on(hooks)),
            Action::Discard => return Done::Answers(self.discard()),
            Action::TryUpgrade => return Done::Answers(self.try_upgrade(hooks)),
            Action::Upgrade {
                wanted,
                workers,
                children,
            } => return Done::Answers(self.upgrade(wanted, workers, &children, hooks)),
            Action::CloseListeners => return Done::Answers(self.close_listeners()),
            Action::ReopenLogs => {
                hooks.reopen_logs();
                // Lost when the process is being replaced: the next one opens the files again by itself.
                let admin = self.admin.as_ref();
                let _is_told = admin.is_some_and(AdminProcess::reopen_logs);
            }
            Action::Record(fact) => self.record(fact),
            Action::Log { level, message } => hooks.log(level, &message),
            Action::Tell(status) => self.tell(&status, hooks),
            Action::Exit { code } => return Done::Leave(Outcome::Exit(code)),
        }
        Done::Answers(Vec::new())
    }

    fn send(&self, pid: u32, order: Order, hooks: &dyn Hooks) {
        let word = match order {
            Order::Open => Word::Open,
            Order::Retire => Word::Retire,
            Order::GiveWay => Word::GiveWay,
            Order::Drain => Word::Drain,
            Order::Stop => Word::Stop,
            Order::ReopenLogs => Word::ReopenLogs,
            Order::Abort => return self.kill(pid, Signal::ABORT, hooks),
            Order::Kill => return self.kill(pid, Signal::KILL, hooks),
        };
        let is_sent = (self.children.get(&pid)).is_some_and(|child| child.orders.say(word));
        if is_sent {
            return;
        }
        // The worker has just died, or has read no order for so long that its pipe is full of them. A signal is all that
        // is left to tell it to leave; one that cannot begin to serve is of no use either. It serves with old log files,
        // and a full pipe has an earlier order to open them again.
        match word {
            Word::Open | Word::Retire | Word::Drain => send_signal(pid, Signal::TERM),
            Word::Stop => send_signal(pid, Signal::INT),
            Word::GiveWay | Word::ReopenLogs => {}
        }
    }

    /// Ends a worker that will not end by itself, and its children with it.
    fn kill(&self, pid: u32, signal: Signal, hooks: &dyn Hooks) {
        // Once it is dead they are not its children any more.
        let children = Descendants::of(pid);
        send_signal(pid, signal);
        if let (Some(summary), Some(worker)) = (children.end(), self.children.get(&pid)) {
            let message = format!("worker {} (pid {pid}): {summary}", worker.slot);
            hooks.log(Level::Warning, &message);
        }
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
        let templates: Vec<_> = [Some(&self.site), self.next.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|site| site.template.as_ref())
            .collect();
        let mailboxes = mailboxes.chain(templates.iter().filter_map(|one| one.mailbox().poll_fd()));
        watched.extend(mailboxes.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let admin = self.admin.as_ref();
        let admin_mailbox = admin.and_then(AdminProcess::poll_fd);
        watched.extend(admin_mailbox.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let admin_at = admin.and_then(AdminProcess::next);
        let answer_by = templates.iter().filter_map(|one| one.answer_by());
        let tell_at = self.notifier.as_ref().and_then(Notifier::next);
        let others = [
            self.measures.next(),
            admin_at,
            tell_at,
            self.trial_ends_by(),
        ]
        .into_iter()
        .flatten();
        let deadline = self
            .supervisor
            .next_deadline()
            .into_iter()
            .chain(others)
            .chain(answer_by);
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
        Message::Exiting => Event::Exiting { pid },
        Message::BootFailed { code, text } => Event::BootFailed { pid, code, text },
        // Those are for templates and for the admin process to say.
        Message::Born { .. } | Message::NotBorn { .. } | Message::Requested { .. } => return None,
    })
}

fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The number is ours until we have reaped it, so the only failure is a worker that has just died.
        let _dead_already = kill_process(pid, signal);
    }
}
