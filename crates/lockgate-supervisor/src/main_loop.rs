//! The supervisor's main loop: waits for events, passes them to `supervisor`, and performs the actions it returns. It
//! never touches a connection.
//!
//! Order within an iteration: messages from workers, then signals, then exits. So a report is handled before the exit
//! of its sender, and a signal to the whole process group before the exits that it caused.

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

use lockgate_observe::{Level, Scoreboard};
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

/// The exit code when the server could not start.
const CANNOT_START: i32 = 1;

/// How the loop ends.
pub(crate) enum Outcome {
    /// The server has stopped.
    Exit(i32),
    /// In a forked worker.
    Child(Birth),
    /// In the forked admin process.
    Admin(Sender, Ear),
    /// In a forked template, which will fork several workers.
    Template(TemplateBirth),
}

pub(crate) struct MainLoop {
    pub(crate) supervisor: Supervisor,
    /// The first event.
    first: Option<Event>,
    pub(crate) pid: Option<Pid>,
    pub(crate) signals: SupervisorSignals,
    /// The resources of workers that are forked now.
    pub(crate) site: Site,
    /// The resources of the next generation, during a reload.
    pub(crate) next: Option<Site>,
    /// A pipe: a reader of the first end sees end-of-file when no supervisor holds the second any more.
    pub(crate) lifeline: (OwnedFd, OwnedFd),
    /// The scoreboard; made before the first worker, so that all processes share the same memory.
    pub(crate) scoreboard: Option<Scoreboard>,
    /// The memory of the scoreboard, for the next program in this process.
    scoreboard_memory: Option<OwnedFd>,
    pub(crate) children: HashMap<u32, Child>,
    measures: Measures,
    oom: OomCounter,
    pub(crate) admin: Option<AdminProcess>,
    trial: Option<Trial>,
    /// Processes started by templates that have been ended.
    left_by_templates: Vec<LeftByTemplate>,
    pid_file: Option<PidFile>,
    pub(crate) notifier: Option<Notifier>,
}

/// A worker that has not been reaped, by its pid.
pub(crate) struct Child {
    pub(crate) slot: usize,
    pub(crate) mailbox: Receiver,
    pub(crate) orders: Mouth,
    /// The template that forked it.
    pub(crate) template: Option<u32>,
}

impl MainLoop {
    fn turn_until_done(&mut self, hooks: &mut dyn Hooks) -> Outcome {
        let mut events = VecDeque::from_iter(self.first.take());
        loop {
            while let Some(event) = events.pop_front() {
                let actions = self.supervisor.on(event, Instant::now());
                // The answer to an action is handled before any other event.
                let mut answers = VecDeque::new();
                for action in actions {
                    let are_any_waiting = !(events.is_empty() && answers.is_empty());
                    // Events that are already waiting would be lost with this program. The next iteration decides
                    // again.
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
            // Deadlines are checked on every event; without an event, send a tick.
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
                // May be lost during an upgrade: the next process opens the files anyway.
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
        // The worker has just died, or has read no order for so long that its pipe is full. Then only a signal can make
        // it exit; a worker that cannot be opened is useless as well. With old log files it goes on serving, and a full
        // pipe already contains an order to reopen them.
        match word {
            Word::Open | Word::Retire | Word::Drain => send_signal(pid, Signal::TERM),
            Word::Stop => send_signal(pid, Signal::INT),
            Word::GiveWay | Word::ReopenLogs => {}
        }
    }

    /// Kills a worker that will not exit by itself, together with its children.
    fn kill(&self, pid: u32, signal: Signal, hooks: &dyn Hooks) {
        // Once it is dead they are no longer its children.
        let children = Descendants::of(pid);
        send_signal(pid, signal);
        if let (Some(summary), Some(worker)) = (children.end(), self.children.get(&pid)) {
            let message = format!("worker {} (pid {pid}): {summary}", worker.slot);
            hooks.log(Level::Warning, &message);
        }
    }

    /// Samples the workers' counters and memory when it is due.
    fn measure(&mut self, events: &mut VecDeque<Event>, hooks: &dyn Hooks) {
        let children = self.children.iter().map(|(pid, child)| (*pid, child.slot));
        events.extend(
            self.measures
                .take(Instant::now(), children, self.scoreboard),
        );
        if let Some(warning) = self.measures.take_warning() {
            hooks.log(Level::Warning, &warning);
        }
    }

    /// Sleeps until a descriptor is readable or a deadline passes.
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
        // Every descriptor is read after this, whatever the result: an error only changes the time of waking.
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

/// The result of an action.
enum Done {
    /// Events to handle before any other.
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
        // Only templates and the admin process send these.
        Message::Born { .. } | Message::NotBorn { .. } | Message::Requested { .. } => return None,
    })
}

fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The pid is ours until it is reaped, so the only failure is a worker that has just died.
        let _dead_already = kill_process(pid, signal);
    }
}
