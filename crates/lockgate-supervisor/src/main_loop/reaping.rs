//! Exited children: which part of the server each one belonged to.

use std::collections::VecDeque;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use super::MainLoop;
use crate::Hooks;
use crate::processes::exit_status::ExitStatus;
use crate::supervisor::Event;

impl MainLoop {
    /// Reaps all exited children. As PID 1 it also reaps reparented processes, which have no slot.
    pub(super) fn reap(&mut self, events: &mut VecDeque<Event>, hooks: &mut dyn Hooks) {
        loop {
            // Any child: waitpid(None) would miss those in another process group.
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if let Some(exit_status) = ExitStatus::of(status) {
                        let pid = pid.as_raw_nonzero().get().unsigned_abs();
                        self.memory.on_exit(pid);
                        events.extend(self.on_exited(pid, exit_status, hooks));
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn on_exited(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        hooks: &mut dyn Hooks,
    ) -> Vec<Event> {
        if let Some(admin) = &mut self.admin
            && admin.on_exited(pid, exit_status, Instant::now(), hooks)
        {
            return Vec::new();
        }
        if let Some(request) = (self.optional).on_exited(pid, exit_status, Instant::now(), hooks) {
            return request.map(Event::Requested).into_iter().collect();
        }
        if (self.hook_process).on_exited(pid, exit_status, Instant::now(), hooks) {
            return Vec::new();
        }
        if let Some(trial) = self.trial.take_if(|trial| trial.pid() == pid) {
            let result = trial.result(exit_status);
            let result = self.hook_process.pre_exec(result, Instant::now());
            return result.into_iter().collect();
        }
        if let Some(settings) = self.preparation.on_exited(pid, exit_status, hooks) {
            return vec![self.prepare(settings, hooks)];
        }
        let mut events = Vec::new();
        // It may be a worker that a fork server has reported in a message which was not read yet.
        if self.workers.get(pid).is_none() {
            events.extend(self.generations.read_fork_servers(&mut self.workers, hooks));
        }
        if let Some(failed) = self.generations.reap_fork_server(pid, exit_status, hooks) {
            events.extend(failed);
        } else if let Some(mut worker) = self.workers.remove(pid) {
            let in_flight = self.scoreboard.clear(pid, worker.slot);
            self.hook_process.child_exit(pid);
            // It may have sent messages between the last read and its exit.
            events.extend(worker.read(pid));
            let memory_ran_out = match exit_status.is_kill() {
                true => self.oom.has_risen(),
                false => None,
            };
            events.push(Event::Exited {
                pid,
                exit_status,
                memory_ran_out,
                in_flight,
            });
        }
        events
    }
}
