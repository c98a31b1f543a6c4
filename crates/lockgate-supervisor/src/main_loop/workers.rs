//! The worker processes: forking, orders, messages, reaping.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;

use lockgate_observe::Level;
use rustix::process::Signal;

use crate::channels::control::{ControlMessage, control_channel};
use crate::channels::status::status_channel;
use crate::child::setup::{NewWorker, WorkerOrigin};
use crate::main_loop::forked::Forked;
use crate::processes::descendants::Descendants;
use crate::processes::kill::send_signal;
use crate::processes::worker_process::WorkerProcess;
use crate::supervisor::{Event, Generation, Order};
use crate::{Fork, Hooks};

/// The workers that have not been reaped, by pid.
#[derive(Default)]
pub(crate) struct Workers {
    processes: HashMap<u32, WorkerProcess>,
}

impl Workers {
    pub(crate) fn new(processes: HashMap<u32, WorkerProcess>) -> Self {
        Self { processes }
    }

    /// Forks a worker from the supervisor.
    pub(super) fn fork(
        &mut self,
        slot: usize,
        generation: Generation,
        origin: WorkerOrigin,
        hooks: &mut dyn Hooks,
    ) -> io::Result<Forked<NewWorker>> {
        let (status, child_status) = status_channel()?;
        let (child_control, control) = control_channel()?;
        Ok(match hooks.fork()? {
            Fork::Parent(pid) => {
                let process = WorkerProcess {
                    slot,
                    status,
                    control,
                    fork_server: None,
                };
                self.insert(pid, process);
                Forked::Parent(vec![Event::Forked { slot, pid }])
            }
            Fork::Child => Forked::Child(NewWorker {
                slot,
                generation,
                status: child_status,
                control: child_control,
                origin,
            }),
        })
    }

    pub(super) fn insert(&mut self, pid: u32, process: WorkerProcess) {
        self.processes.insert(pid, process);
    }

    pub(super) fn remove(&mut self, pid: u32) -> Option<WorkerProcess> {
        self.processes.remove(&pid)
    }

    pub(super) fn get(&self, pid: u32) -> Option<&WorkerProcess> {
        self.processes.get(&pid)
    }

    /// The pids and slots of all workers.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, usize)> {
        let processes = self.processes.iter();
        processes.map(|(pid, process)| (*pid, process.slot))
    }

    /// The pids of the workers that this fork server has forked.
    pub(super) fn of_fork_server(&self, fork_server: u32) -> impl Iterator<Item = u32> {
        let processes = self.processes.iter();
        processes
            .filter(move |(_, process)| process.fork_server == Some(fork_server))
            .map(|(pid, _)| *pid)
    }

    /// The descriptors to poll.
    pub(super) fn poll_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let processes = self.processes.values();
        processes.filter_map(|process| process.status.poll_fd())
    }

    /// The pipes to hand over to the next program in this process.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let processes = self.processes.values();
        processes.flat_map(|process| [process.status.as_fd(), process.control.as_fd()])
    }

    /// The messages of all workers since the last call.
    pub(super) fn read(&mut self) -> Vec<Event> {
        let processes = self.processes.iter_mut();
        processes
            .flat_map(|(pid, process)| process.read(*pid))
            .collect()
    }

    /// Sends an order.
    pub(super) fn send(&self, pid: u32, order: Order, hooks: &dyn Hooks) {
        let message = match order {
            Order::Open => ControlMessage::Open,
            Order::Retire => ControlMessage::Retire,
            Order::GiveWay => ControlMessage::GiveWay,
            Order::Drain => ControlMessage::Drain,
            Order::Stop => ControlMessage::Stop,
            Order::ReopenLogs => ControlMessage::ReopenLogs,
            Order::Abort => return self.kill_tree(pid, Signal::ABORT, hooks),
            Order::Kill => return self.kill_tree(pid, Signal::KILL, hooks),
        };
        let process = self.get(pid);
        if process.is_some_and(|process| process.control.send(message)) {
            return;
        }
        // The worker has just exited, or has left 64 KiB of orders unread that its pipe is full. Then only a signal can
        // make it exit; a worker that cannot be opened is useless as well. With old log files it continues to serve, and
        // a full pipe already contains an order to reopen them.
        match message {
            ControlMessage::Open | ControlMessage::Retire | ControlMessage::Drain => {
                send_signal(pid, Signal::TERM)
            }
            ControlMessage::Stop => send_signal(pid, Signal::INT),
            ControlMessage::GiveWay | ControlMessage::ReopenLogs => {}
        }
    }

    /// Sends a fatal signal to a worker, and kills its child processes.
    fn kill_tree(&self, pid: u32, signal: Signal, hooks: &dyn Hooks) {
        // Before the signal: the kernel reparents the children of a process that exits.
        let descendants = Descendants::of(pid);
        send_signal(pid, signal);
        if let (Some(summary), Some(process)) = (descendants.kill(), self.get(pid)) {
            let message = format!("worker {} (pid {pid}): {summary}", process.slot);
            hooks.log(Level::Warning, &message);
        }
    }
}
