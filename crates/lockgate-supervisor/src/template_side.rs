//! The template process itself (fork server): it loads the application once and forks workers on request. Both go
//! through [`Hooks`].
//!
//! A worker is forked twice. The template forks an intermediate process that forks the worker and exits, so that the
//! kernel reparents the worker to the supervisor (prctl(2), PR_SET_CHILD_SUBREAPER), which reaps it like any child.

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

/// How long the kernel may take to reparent a worker to the supervisor; usually microseconds.
const ADOPTION: Duration = Duration::from_secs(5);

/// A new process that still holds everything of its parent.
pub(crate) struct TemplateBirth {
    pub(crate) generation: Generation,
    pub(crate) mailbox: Sender,
    pub(crate) asked: Asked,
}

/// Which process continues.
enum Turn {
    /// The template.
    Template,
    /// The worker that it has forked.
    Worker(WorkerWanted),
    /// The template, after its supervisor has died.
    Alone,
}

impl MainLoop {
    /// Runs a template, or the worker that it becomes; returns the exit code.
    pub(crate) fn become_template(self, birth: TemplateBirth, hooks: &mut dyn Hooks) -> i32 {
        // A template receives no orders: the supervisor kills it.
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
        // The kernel clears the parent-death signal when a process changes its user, so it has to be set again.
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
        // The application may have changed the user again.
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
        // Whatever poll returns, the descriptors are read.
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
                    // No code of the application may run here: no exit handlers, no flushed buffers.
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

/// Waits for a child; returns whether it has succeeded.
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

/// Runs a worker that a template has forked.
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
    // Not earlier: the process that forked this one is not the parent whose death counts.
    die_with_parent(true);
    if getppid() != inheritance.supervisor {
        return 0;
    }
    let WorkerWanted { slot, mailbox, ear } = wanted;
    inheritance.live(slot, mailbox, ear, signals, hooks)
}
