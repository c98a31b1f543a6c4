//! The admin process as the supervisor sees it: socket, fork, heartbeats, exit.
//!
//! The supervisor forks it like a worker. It holds no state: when it dies it is replaced, and it is killed without a
//! request to stop, after the last worker.

use std::iter;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use lockgate_config::Config;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::Hooks;
use crate::back_off::BackOff;
use crate::mailbox::{Message, Receiver};
use crate::orders::{Mouth, Word};
use crate::sockets::{Listener, bind_patiently};
use crate::stacks::StackBoard;
use crate::supervisor::Request;

/// An admin process that has lived this long clears its failure record.
const HEALTHY: Duration = Duration::from_secs(10);
/// Longest time without a heartbeat; one is sent every second.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// If the supervisor checks later than planned by more than this, it was itself stopped, frozen or starved.
const ABSENCE: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct AdminProcess {
    listeners: Vec<Listener>,
    /// Where workers report their threads; `None` where the system cannot do that.
    stacks: Option<StackBoard>,
    alive: Option<Living>,
    fork_at: Instant,
    back_off: BackOff,
    /// The admin process of the previous version: it answers until this one does.
    predecessor: Option<u32>,
}

struct Living {
    pid: u32,
    born: Instant,
    last_heard: Instant,
    mailbox: Receiver,
    orders: Mouth,
}

impl AdminProcess {
    /// Listens on the configured admin address; `None` where none is configured. The error is for the operator. A
    /// socket file gets the owner's user and group.
    ///
    /// Sockets in `present` that are no longer wanted are removed.
    pub(crate) fn bind(
        config: &Config,
        present: Vec<Listener>,
        predecessor: Option<u32>,
        now: Instant,
        hooks: &dyn Hooks,
    ) -> Result<Option<Self>, String> {
        let Some(address) = &config.admin_bind else {
            predecessor.into_iter().for_each(kill);
            present.iter().for_each(Listener::remove_file);
            return Ok(None);
        };
        let config = Config {
            bind: vec![address.clone()],
            reuse_port: false,
            ..config.clone()
        };
        let listeners = bind_patiently(&config, &present, hooks)
            // The error message names the setting for the other sockets.
            .map_err(|failure| failure.to_string().replace("--bind", "--admin-bind"))?;
        for left in &present {
            if !listeners.iter().any(|kept| kept.is_same(left)) {
                left.remove_file();
            }
        }
        if let Some(open) = listeners.iter().find(|listener| !listener.is_private()) {
            let url = open.url();
            return Err(format!(
                "operators are not answered at {url}, where others could read what clients ask for: \
                 pass a unix socket or one at a loopback address (setting: admin_bind)"
            ));
        }
        Ok(Some(Self {
            listeners,
            stacks: StackBoard::new().ok(),
            alive: None,
            fork_at: now,
            back_off: BackOff::default(),
            predecessor,
        }))
    }

    /// The addresses of the admin listener.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::url).collect()
    }

    /// The descriptor to poll, besides the time of [`next`](Self::next).
    pub(crate) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.alive.as_ref()?.mailbox.poll_fd()
    }

    /// When a process must be forked, or has been silent for too long.
    pub(crate) fn next(&self) -> Option<Instant> {
        let silent_at = self.alive.as_ref().map(|alive| alive.last_heard + SILENCE);
        silent_at.or(Some(self.fork_at))
    }

    /// Requests from operators since the last call.
    pub(crate) fn hear(&mut self, now: Instant) -> Vec<Request> {
        let Some(alive) = &mut self.alive else {
            return Vec::new();
        };
        let messages = alive.mailbox.read();
        if !messages.is_empty() {
            alive.last_heard = now;
        }
        let requests = messages.into_iter().filter_map(|message| match message {
            Message::Requested { request, times } => Some(iter::repeat_n(request, times as usize)),
            _ => None,
        });
        requests.flatten().collect()
    }

    /// Kills the process if it has been silent for too long, and returns its pid. Its exit is reaped like any other.
    pub(crate) fn end_silent(&mut self, now: Instant) -> Option<u32> {
        let alive = self.alive.as_mut()?;
        let late = now.checked_duration_since(alive.last_heard + SILENCE)?;
        alive.last_heard = now;
        if late > ABSENCE {
            return None;
        }
        kill(alive.pid);
        Some(alive.pid)
    }

    /// When a process must be forked; `None` while there is one.
    pub(crate) fn fork_at(&self) -> Option<Instant> {
        self.alive.is_none().then_some(self.fork_at)
    }

    /// The pid of the running admin process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.alive.as_ref().map(|alive| alive.pid)
    }

    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    pub(crate) fn note_forked(&mut self, pid: u32, mailbox: Receiver, orders: Mouth, now: Instant) {
        self.predecessor.take().into_iter().for_each(kill);
        // Nothing has to happen before it answers.
        orders.say(Word::Open);
        self.alive = Some(Living {
            pid,
            born: now,
            last_heard: now,
            mailbox,
            orders,
        });
    }

    /// Makes the process reopen its log file; false when there is no process.
    pub(crate) fn reopen_logs(&self) -> bool {
        let alive = self.alive.as_ref();
        alive.is_some_and(|alive| alive.orders.say(Word::ReopenLogs))
    }

    /// The fork failed. Returns the delay until the next attempt.
    pub(crate) fn note_failed(&mut self, now: Instant) -> Duration {
        let wait = self.back_off.after_failure();
        self.fork_at = now + wait;
        wait
    }

    /// Handles the exit of a child. If it was this process: the delay until the next fork.
    pub(crate) fn bury(&mut self, pid: u32, now: Instant) -> Option<Duration> {
        let born = self.alive.take_if(|alive| alive.pid == pid)?.born;
        if now.saturating_duration_since(born) >= HEALTHY {
            self.back_off.reset();
        }
        let wait = self.back_off.after_service();
        self.fork_at = now + wait;
        Some(wait)
    }

    /// The parts that the admin process keeps.
    pub(crate) fn into_parts(self) -> (Vec<Listener>, Option<StackBoard>) {
        (self.listeners, self.stacks)
    }

    /// The part that a worker keeps.
    pub(crate) fn into_stacks(self) -> Option<StackBoard> {
        self.stacks
    }

    /// Server shutdown: kills the process, then removes its socket file.
    pub(crate) fn end(&mut self) {
        self.predecessor.take().into_iter().for_each(kill);
        let pid = self
            .alive
            .take()
            .and_then(|alive| Pid::from_raw(i32::try_from(alive.pid).ok()?));
        if let Some(pid) = pid {
            // It has not been reaped, so the pid is still its own; SIGKILL cannot be caught.
            let _dead_already = kill_process(pid, Signal::KILL);
            let _reaped = waitpid(Some(pid), WaitOptions::empty());
        }
        self.listeners.iter().for_each(Listener::remove_file);
    }
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It has not been reaped, so the pid is still its own; it holds no state.
        let _dead_already = kill_process(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::mailbox;
    use crate::orders::orders;

    fn process(now: Instant) -> AdminProcess {
        AdminProcess {
            listeners: Vec::new(),
            stacks: None,
            alive: None,
            fork_at: now,
            back_off: BackOff::default(),
            predecessor: None,
        }
    }

    #[test]
    fn one_that_dies_is_replaced_at_once_and_one_that_keeps_dying_ever_more_slowly() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut process = process(start);
        assert_eq!(process.fork_at(), Some(start));
        let mouth = || orders().unwrap().1;
        process.note_forked(7, silent(), mouth(), start);
        assert_eq!(process.fork_at(), None);
        assert_eq!(process.bury(8, at(1)), None, "somebody else");
        assert_eq!(process.bury(7, at(1)), Some(Duration::ZERO));
        let mut last = Duration::ZERO;
        for pid in 9..13 {
            process.note_forked(pid, silent(), mouth(), at(1));
            let wait = process.bury(pid, at(1)).unwrap();
            assert!(wait > last, "{wait:?}");
            assert_eq!(process.fork_at(), Some(at(1) + wait));
            last = wait;
        }
        process.note_forked(20, silent(), mouth(), at(20));
        assert_eq!(process.bury(20, at(40)), Some(Duration::ZERO));
    }

    fn silent() -> Receiver {
        mailbox().unwrap().0
    }

    #[test]
    fn silence_counts_from_the_last_sign_of_life_and_not_while_the_supervisor_was_away() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        // No process can have this pid: kill fails.
        let pid = i32::MAX as u32;
        let (receiver, sender) = mailbox().unwrap();
        let mut process = process(start);
        process.note_forked(pid, receiver, orders().unwrap().1, start);
        assert_eq!(process.next(), Some(at(5_000)));
        assert_eq!(process.end_silent(at(4_999)), None);
        sender.send(&Message::Heartbeat);
        assert!(process.hear(at(4_999)).is_empty());
        assert_eq!(process.next(), Some(at(9_999)));
        assert_eq!(process.end_silent(at(9_998)), None);
        // Checked much too late: this process was stopped as well.
        assert_eq!(process.end_silent(at(20_000)), None);
        assert_eq!(process.next(), Some(at(25_000)));
        assert_eq!(process.end_silent(at(25_001)), Some(pid));
    }

    #[test]
    fn what_operators_ask_for_is_asked_as_often_as_they_say() {
        let start = Instant::now();
        let (receiver, sender) = mailbox().unwrap();
        let mut process = process(start);
        process.note_forked(i32::MAX as u32, receiver, orders().unwrap().1, start);
        for (request, times) in [(Request::MoreWorkers, 2), (Request::Reload, 1)] {
            sender.send(&Message::Requested { request, times });
        }
        let asked = process.hear(start);
        let more = Request::MoreWorkers;
        assert_eq!(asked, [more, more, Request::Reload]);
    }

    #[test]
    fn a_failed_fork_is_tried_again_later() {
        let start = Instant::now();
        let mut process = process(start);
        let wait = process.note_failed(start);
        assert!(!wait.is_zero());
        assert_eq!(process.fork_at(), Some(start + wait));
    }
}
