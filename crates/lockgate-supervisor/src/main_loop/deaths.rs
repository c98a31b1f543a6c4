//! The hands that bury: every child that has died, whoever made it. Judges no death.

use std::collections::VecDeque;

use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};

use super::{MainLoop, told};
use crate::supervisor::Event;
use crate::{Ending, Hooks};

impl MainLoop {
    /// Buries the dead. PID 1 also reaps strangers, whom the supervisor does not know by their numbers.
    pub(super) fn reap(&mut self, events: &mut VecDeque<Event>, hooks: &dyn Hooks) {
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
    // The core flag is bit 7 of the status word, on every unix that has one.
    let dumped_core = status.as_raw() & 0x80 != 0;
    Some(Ending::Signal {
        number: status.terminating_signal()?,
        dumped_core,
    })
}
