//! A template's end of the bargain: it loads the application once, and makes a worker of itself whenever it is asked to.
//! Knows neither the application nor how a process is made; both come through [`Hooks`].
//!
//! A worker is born twice. The template makes a process that makes the worker and goes, so that the kernel gives the worker
//! to the supervisor (prctl(2), PR_SET_CHILD_SUBREAPER), who learns of its end as of any other child's.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lockgate_observe::Level;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, getppid, waitpid};
use signal_hook::low_level::exit;

use crate::birth::{CHILD_WITHOUT_SIGNALS, Inheritance, die_with_parent};
use crate::exit_watch::{ExitWatch, ORPHAN_LIFE, end_in_any_case};
use crate::mailbox::{Message, Sender};
use crate::main_loop::MainLoop;
use crate::requests::{Asked, WorkerWanted};
use crate::signals::WorkerSignals;
use crate::supervisor::Generation;
use crate::{Fork, Hooks};

/// How long the kernel may take to give a worker to the supervisor, which is a matter of microseconds.
const ADOPTION: Duration = Duration::from_secs(5);

/// A new process that has not yet let go of what its parent holds.
pub(crate) struct TemplateBirth {
    pub(crate) generation: Generation,
    pub(crate) mailbox: Sender,
    pub(crate) asked: Asked,
}

/// Which process goes on.
enum Turn {
    /// The template.
    Template,
    /// The worker that it has made.
    Worker(WorkerWanted),
    /// The template, whose supervisor has gone.
    Alone,
}

impl MainLoop {
    /// The life of a template, or of the worker that it becomes, up to the exit code.
    pub(crate) fn become_template(self, birth: TemplateBirth, hooks: &mut dyn Hooks) -> i32 {
        // Orders are not for a template: the supervisor ends it.
        let signals = match self.take_over_signals(WorkerSignals::quiet(), hooks) {
            Ok(signals) => signals,
            Err(code) => return code,
        };
        let inheritance = self.let_go(birth.generation);
        let supervisor = inheritance.supervisor;
        let mut descriptors = signals.descriptors().to_vec();
        let pipes = [
            birth.mailbox.as_fd(),
            birth.asked.poll_fd(),
            inheritance.lifeline.as_fd(),
        ];
        descriptors.extend(pipes.map(|fd| fd.as_raw_fd()));
        hooks.note_descriptors(descriptors);
        // Another user's process is not told of its parent's death unless it asks again.
        let note_new_identity = || {
            die_with_parent(true);
            getppid() == supervisor
        };
        let loaded = hooks.preload(
            &inheritance.config,
            inheritance.generation,
            &inheritance.listeners,
            &note_new_identity,
        );
        if let Err(failure) = loaded {
            birth.mailbox.send(&Message::BootFailed {
                code: failure.code,
                text: failure.text,
            });
            let name = format!("the template (pid {})", std::process::id());
            let watch = ExitWatch {
                lifeline: Some(Arc::new(inheritance.lifeline)),
                ..ExitWatch::alone(name, failure.code)
            };
            hooks.finish(watch);
            return failure.code;
        }
        // The application may have become yet another one.
        if !note_new_identity() {
            return 0;
        }
        birth.mailbox.send(&Message::Ready);
        loop {
            match birth.turn(&inheritance, hooks) {
                Turn::Template => {}
                Turn::Alone => {
                    end_in_any_case(ORPHAN_LIFE);
                    return 0;
                }
                Turn::Worker(wanted) => {
                    drop((birth, signals));
                    return live_as_worker(inheritance, wanted, hooks);
                }
            }
        }
    }
}

impl TemplateBirth {
    fn turn(&self, inheritance: &Inheritance, hooks: &mut dyn Hooks) -> Turn {
        let mut watched = [self.asked.poll_fd(), inheritance.lifeline.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // Interrupted or not, the descriptors say what there is.
        let _woken = poll(&mut watched, None);
        let [_, lifeline] = &watched;
        if !lifeline.revents().is_empty() {
            return Turn::Alone;
        }
        match self.asked.next() {
            Ok(Some(wanted)) => self.make(wanted, hooks),
            Ok(None) => Turn::Template,
            Err(_) => Turn::Alone,
        }
    }

    fn make(&self, wanted: WorkerWanted, hooks: &mut dyn Hooks) -> Turn {
        let slot = wanted.slot;
        let failed = |text: String| self.mailbox.send(&Message::NotBorn { slot, text });
        match hooks.fork() {
            Ok(Fork::Child) => match hooks.fork() {
                Ok(Fork::Child) => return Turn::Worker(wanted),
                Ok(Fork::Parent(pid)) => {
                    self.mailbox.send(&Message::Born { slot, pid });
                    // Nothing of the application's is to run here: no exit handlers, no flushed buffers.
                    exit(0)
                }
                Err(error) => {
                    failed(error.to_string());
                    exit(0)
                }
            },
            Ok(Fork::Parent(pid)) => {
                if !has_left_cleanly(pid) {
                    failed("the process that was to make it has died".to_owned());
                }
            }
            Err(error) => failed(error.to_string()),
        }
        Turn::Template
    }
}

/// Waits for a child, and says whether it did what it was made for.
fn has_left_cleanly(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    loop {
        match waitpid(pid, WaitOptions::empty()) {
            Err(Errno::INTR) | Ok(None) => {}
            Ok(Some((_, status))) => return status.exit_status() == Some(0),
            Err(_) => return false,
        }
    }
}

/// The life of a worker that a template has made.
fn live_as_worker(inheritance: Inheritance, wanted: WorkerWanted, hooks: &mut dyn Hooks) -> i32 {
    let signals = match WorkerSignals::install() {
        Ok(signals) => signals,
        Err(error) => {
            hooks.log(
                Level::Critical,
                &format!("cannot take over signals: {error}"),
            );
            return CHILD_WITHOUT_SIGNALS;
        }
    };
    let give_up_at = Instant::now() + ADOPTION;
    while getppid() != inheritance.supervisor {
        if Instant::now() >= give_up_at {
            return 0;
        }
        thread::sleep(Duration::from_micros(100));
    }
    // Not before: the process that made this one is not the parent whose death counts.
    die_with_parent(true);
    if getppid() != inheritance.supervisor {
        return 0;
    }
    let WorkerWanted { slot, mailbox, ear } = wanted;
    inheritance.live(slot, mailbox, ear, signals, hooks)
}
