//! A side process as the supervisor sees it: fork, heartbeats, exit. The admin process, the ACME process, the
//! Redis relay, the watcher and the hook process are such.
//!
//! The supervisor forks it like a worker. It holds no state that is not in files: one that dies is replaced, and it is
//! killed without an order to stop.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

use lockgate_observe::Level;
use rustix::process::{WaitOptions, waitpid};

use crate::back_off::BackOff;
use crate::channels::control::{ControlMessage, ControlSender, control_channel};
use crate::channels::status::{StatusMessage, StatusReceiver, status_channel};
use crate::child::side_process::{HEARTBEAT_TIMEOUT, NewSideProcess};
use crate::processes::exit_status::ExitStatus;
use crate::processes::kill::{kill, to_pid};
use crate::{Fork, Hooks};

/// A process that has lived this long clears its failure record.
const HEALTHY: Duration = Duration::from_secs(10);
/// A check that is late by more than this means that the supervisor itself was stopped, frozen or starved.
const SUSPENDED: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct SideProcess {
    /// `admin process`
    name: &'static str,
    running: Option<Running>,
    fork_at: Instant,
    back_off: BackOff,
    /// The process of the previous version: it works until this one does.
    predecessor: Option<u32>,
}

struct Running {
    pid: u32,
    forked_at: Instant,
    last_heard: Instant,
    status: StatusReceiver,
    control: ControlSender,
}

impl SideProcess {
    pub(crate) fn new(name: &'static str, predecessor: Option<u32>, now: Instant) -> Self {
        Self {
            name,
            running: None,
            fork_at: now,
            back_off: BackOff::default(),
            predecessor,
        }
    }

    /// The descriptor to poll, besides the time of [`next`](Self::next).
    pub(crate) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref()?.status.poll_fd()
    }

    /// When a process must be forked, or will have been silent for too long.
    pub(crate) fn next(&self) -> Instant {
        let running = self.running.as_ref();
        running.map_or(self.fork_at, |running| {
            running.last_heard + HEARTBEAT_TIMEOUT
        })
    }

    /// Forks a process when one is due. In the new process: its ends of the channels.
    pub(crate) fn fork_if_due(
        &mut self,
        now: Instant,
        hooks: &mut dyn Hooks,
    ) -> Option<NewSideProcess> {
        if self.running.is_some() || now < self.fork_at {
            return None;
        }
        match self.fork(now, hooks) {
            Ok(new) => new,
            Err(error) => {
                self.log_failed_fork(&error, now, hooks);
                None
            }
        }
    }

    /// Something that the fork needs has failed: it is tried again later.
    pub(crate) fn log_failed_fork(&mut self, error: &io::Error, now: Instant, hooks: &dyn Hooks) {
        let wait = self.on_fork_failed(now);
        let name = self.name;
        let message = format!("cannot fork the {name}: {error}; next attempt in {wait:?}");
        hooks.log(Level::Error, &message);
    }

    fn fork(&mut self, now: Instant, hooks: &mut dyn Hooks) -> io::Result<Option<NewSideProcess>> {
        let (status, child_status) = status_channel()?;
        let (child_control, control) = control_channel()?;
        Ok(match hooks.fork()? {
            Fork::Parent(pid) => {
                self.on_forked(pid, (status, control), now);
                None
            }
            Fork::Child => Some(NewSideProcess {
                status: child_status,
                control: child_control,
            }),
        })
    }

    /// Messages since the last call. A process that has been silent for too long is killed; its exit is reaped like any
    /// other.
    pub(crate) fn read(&mut self, now: Instant, hooks: &dyn Hooks) -> Vec<StatusMessage> {
        let messages = self.read_messages(now);
        if let Some(pid) = self.kill_if_silent(now) {
            let message = format!(
                "the {} (pid {pid}) has sent no heartbeat for {} s: killed, to be replaced",
                self.name,
                HEARTBEAT_TIMEOUT.as_secs()
            );
            hooks.log(Level::Error, &message);
        }
        messages
    }

    fn read_messages(&mut self, now: Instant) -> Vec<StatusMessage> {
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        let messages = running.status.read();
        if !messages.is_empty() {
            running.last_heard = now;
        }
        messages
    }

    fn kill_if_silent(&mut self, now: Instant) -> Option<u32> {
        let running = self.running.as_mut()?;
        let late = now.checked_duration_since(running.last_heard + HEARTBEAT_TIMEOUT)?;
        running.last_heard = now;
        if late > SUSPENDED {
            return None;
        }
        kill(running.pid);
        Some(running.pid)
    }

    /// The pid of the running process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Kills the process; it is replaced when it is reaped.
    pub(crate) fn kill(&self) {
        self.pid().into_iter().for_each(kill);
    }

    fn on_forked(&mut self, pid: u32, channels: (StatusReceiver, ControlSender), now: Instant) {
        self.predecessor.take().into_iter().for_each(kill);
        let (status, control) = channels;
        // It may work at once. A send that fails is noticed as the exit of the process.
        let _is_sent = control.send(ControlMessage::Open);
        self.running = Some(Running {
            pid,
            forked_at: now,
            last_heard: now,
            status,
            control,
        });
    }

    /// Sends an order; false when there is no process.
    pub(crate) fn send(&self, order: ControlMessage) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.control.send(order))
    }

    /// Returns the delay until the next attempt.
    fn on_fork_failed(&mut self, now: Instant) -> Duration {
        let wait = self.back_off.after_failure();
        self.fork_at = now + wait;
        wait
    }

    /// Handles the exit of a child; returns whether it was this process.
    pub(crate) fn on_exited(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        now: Instant,
        hooks: &dyn Hooks,
    ) -> bool {
        let Some(wait) = self.restart_delay(pid, now) else {
            return false;
        };
        let message = format!(
            "the {} (pid {pid}) {exit_status}; restarted in {:.1} s",
            self.name,
            wait.as_secs_f64()
        );
        hooks.log(Level::Warning, &message);
        true
    }

    /// If the process that has exited was this one: the delay until the next fork.
    fn restart_delay(&mut self, pid: u32, now: Instant) -> Option<Duration> {
        let forked_at = self
            .running
            .take_if(|running| running.pid == pid)?
            .forked_at;
        if now.saturating_duration_since(forked_at) >= HEALTHY {
            self.back_off.reset();
        }
        let wait = self.back_off.after_service();
        self.fork_at = now + wait;
        Some(wait)
    }

    /// Reaps the process if it has exited, for a caller that waits for it.
    pub(crate) fn reap(&mut self) -> Option<ExitStatus> {
        let pid = to_pid(self.pid()?);
        let (_, status) = waitpid(pid, WaitOptions::NOHANG).ok()??;
        self.running = None;
        ExitStatus::of(status)
    }

    /// Asks the process to end, and waits for it at most this long.
    pub(crate) fn finish(&mut self, within: Duration) {
        if !self.send(ControlMessage::Stop) {
            return;
        }
        let until = Instant::now() + within;
        while self.reap().is_none() && self.running.is_some() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the process.
    pub(crate) fn end(&mut self) {
        self.predecessor.take().into_iter().for_each(kill);
        if let Some(running) = self.running.take() {
            kill(running.pid);
            let _reaped = waitpid(to_pid(running.pid), WaitOptions::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::status::StatusSender;

    fn process(now: Instant) -> SideProcess {
        SideProcess::new("admin process", None, now)
    }

    /// Channels of a process, and its end of the status channel.
    fn channels() -> ((StatusReceiver, ControlSender), StatusSender) {
        let (status, child_status) = status_channel().unwrap();
        let (_, control) = control_channel().unwrap();
        ((status, control), child_status)
    }

    #[test]
    fn a_dead_process_is_replaced_at_once_and_one_that_keeps_dying_after_a_delay() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut process = process(start);
        assert_eq!(process.next(), start);
        process.on_forked(7, channels().0, start);
        assert_eq!(process.next(), start + HEARTBEAT_TIMEOUT);
        assert_eq!(process.restart_delay(8, at(1)), None, "another process");
        assert_eq!(process.restart_delay(7, at(1)), Some(Duration::ZERO));
        let mut last = Duration::ZERO;
        for pid in 9..13 {
            process.on_forked(pid, channels().0, at(1));
            let wait = process.restart_delay(pid, at(1)).unwrap();
            assert!(wait > last, "{wait:?}");
            assert_eq!(process.next(), at(1) + wait);
            last = wait;
        }
        process.on_forked(20, channels().0, at(20));
        assert_eq!(process.restart_delay(20, at(40)), Some(Duration::ZERO));
    }

    #[test]
    fn silence_counts_from_the_last_message_and_not_while_the_supervisor_was_suspended() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        // No process can have this pid: kill fails.
        let pid = i32::MAX as u32;
        let (channels, status) = channels();
        let mut process = process(start);
        process.on_forked(pid, channels, start);
        assert_eq!(process.next(), at(5_000));
        assert_eq!(process.kill_if_silent(at(4_999)), None);
        status.send(&StatusMessage::Heartbeat);
        assert_eq!(process.read_messages(at(4_999)).len(), 1);
        assert_eq!(process.next(), at(9_999));
        assert_eq!(process.kill_if_silent(at(9_998)), None);
        // Checked much too late: this process was suspended as well.
        assert_eq!(process.kill_if_silent(at(20_000)), None);
        assert_eq!(process.next(), at(25_000));
        assert_eq!(process.kill_if_silent(at(25_001)), Some(pid));
    }

    #[test]
    fn a_failed_fork_is_tried_again_later() {
        let start = Instant::now();
        let mut process = process(start);
        let wait = process.on_fork_failed(start);
        assert!(!wait.is_zero());
        assert_eq!(process.next(), start + wait);
    }
}
