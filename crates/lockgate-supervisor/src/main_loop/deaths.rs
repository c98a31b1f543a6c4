//! Reaps exited children.

use std::collections::VecDeque;

use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};

use super::{MainLoop, told};
use crate::supervisor::Event;
use crate::{Ending, Hooks};

impl MainLoop {
    /// Reaps all exited children. PID 1 also reaps reparented processes, which the supervisor does not know.
    pub(super) fn reap(&mut self, events: &mut VecDeque<Event>, hooks: &dyn Hooks) {
        loop {
            // Any child: waitpid(None) would miss those in another process group.
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
                    // A worker that its template has reported but whose message has not been read yet.
                    if !self.children.contains_key(&pid) {
                        self.hear_templates(events, hooks);
                    }
                    if self.bury_template(pid, ending, events, hooks) {
                        continue;
                    }
                    // It may have written between the last read and its death.
                    if let Some(mut child) = self.children.remove(&pid) {
                        let unfinished = self.take_off_page(pid, child.slot);
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

fn ending(status: WaitStatus) -> Option<Ending> {
    if let Some(code) = status.exit_status() {
        return Some(Ending::Code(code));
    }
    // The core flag is bit 7 of the status word on every unix that has one.
    let dumped_core = status.as_raw() & 0x80 != 0;
    Some(Ending::Signal {
        number: status.terminating_signal()?,
        dumped_core,
    })
}
