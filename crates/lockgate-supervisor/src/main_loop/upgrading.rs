//! Performs an upgrade: tries the program on disk in a process of its own, then replaces this process with exec.
//!
//! exec(2) does not return, so a program that cannot start would take the server down. The trial therefore has to prove
//! first that it starts, reads its settings and understands the handover.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lockgate_observe::Level;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};

use super::MainLoop;
use crate::estate::{HANDOVER, TRY};
use crate::handover::{Handover, HandoverError, Heir, Socket, form_line};
use crate::sockets::Listener;
use crate::supervisor::{Event, Known};
use crate::{Ending, Hooks};

/// How long the trial of the program on disk may take.
const TRIAL: Duration = Duration::from_secs(60);
/// At most this many bytes of its error output are logged.
const MOST_COMPLAINTS: u64 = 16 * 1024;

/// The running trial of the program on disk.
pub(super) struct Trial {
    pid: u32,
    ends_by: Instant,
    complaints: File,
}

impl MainLoop {
    /// Starts the trial of the program on disk.
    pub(super) fn try_upgrade(&mut self, hooks: &dyn Hooks) -> Vec<Event> {
        match begin_trial(hooks) {
            Ok(trial) => {
                self.trial = Some(trial);
                Vec::new()
            }
            Err(error) => vec![failed(format!(
                "the program on disk cannot be started: {error}"
            ))],
        }
    }

    /// The deadline of the trial.
    pub(super) fn trial_ends_by(&self) -> Option<Instant> {
        self.trial.as_ref().map(|trial| trial.ends_by)
    }

    /// Kills a trial that takes too long.
    pub(super) fn end_late_trial(&mut self) -> Option<Event> {
        let now = Instant::now();
        let trial = self.trial.take_if(|trial| trial.ends_by <= now)?;
        trial.end();
        let reason = format!(
            "the program on disk has not shown within {} s that it starts",
            TRIAL.as_secs()
        );
        Some(failed(reason))
    }

    /// Kills the trial: the server stops.
    pub(super) fn end_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            trial.end();
        }
    }

    /// Whether the dead child was the trial, and its result.
    pub(super) fn bury_trial(&mut self, pid: u32, ending: Ending) -> Option<Event> {
        let mut trial = self.trial.take_if(|trial| trial.pid == pid)?;
        if ending.is_clean() {
            return Some(Event::UpgradeTried);
        }
        let complaints = trial
            .complaints()
            .unwrap_or_else(|error| format!("(its complaints cannot be read: {error})"));
        Some(failed(format!(
            "the program on disk {ending}: {complaints}"
        )))
    }

    /// Replaces this process with the program on disk. Returns only when that fails or has to wait.
    pub(super) fn upgrade(
        &mut self,
        wanted: usize,
        workers: usize,
        known: &[Known],
        hooks: &mut dyn Hooks,
    ) -> Vec<Event> {
        if let Err(error) = hooks.block_signals() {
            return vec![failed(format!("signals cannot be held back: {error}"))];
        }
        // Signals received so far would be lost with this program.
        let raised = self.signals.take();
        if !raised.is_empty() {
            hooks.unblock_signals();
            return raised.into_iter().map(Event::Requested).collect();
        }
        let message = "upgrade: this process goes on with the program on disk";
        hooks.log(Level::Info, message);
        // The template holds the old application; the new version forks one of its own.
        self.site.end_template();
        let outcome = self
            .describe(wanted, workers, known)
            .map_err(io::Error::other)
            .and_then(|left| self.leave_behind(&left, hooks));
        let (Ok(error) | Err(error)) = outcome;
        // Processes that workers start must not inherit these.
        for fd in self.left_open() {
            let _is_open = fcntl_setfd(fd, FdFlags::CLOEXEC);
        }
        hooks.unblock_signals();
        vec![failed(error.to_string())]
    }

    /// The handover for the program on disk.
    fn describe(&self, wanted: usize, workers: usize, known: &[Known]) -> Result<Handover, String> {
        let described = |listeners: &[Listener]| -> Result<Vec<Socket>, HandoverError> {
            listeners
                .iter()
                .filter_map(|listener| Some((listener, listener.socket()?)))
                .map(|(listener, socket)| listener.describe(socket.as_raw_fd()))
                .collect()
        };
        let (reading, writing) = &self.lifeline;
        let admin = self.admin.as_ref();
        let describe = || -> Result<Handover, HandoverError> {
            Ok(Handover {
                generation: self.site.generation,
                workers,
                wanted,
                scoreboard: self.scoreboard_memory.as_ref().map(AsRawFd::as_raw_fd),
                pid_file: (self.pid_file.as_ref()).map(|file| file.as_fd().as_raw_fd()),
                lifeline: (reading.as_raw_fd(), writing.as_raw_fd()),
                listeners: described(&self.site.listeners)?,
                admin_listeners: described(admin.map_or(&[], |admin| admin.listeners()))?,
                admin: admin.and_then(|admin| admin.pid()),
                children: known
                    .iter()
                    .filter_map(|known| Some((known, self.children.get(&known.pid)?)))
                    .map(|(known, child)| Heir {
                        known: *known,
                        mailbox: child.mailbox.as_fd().as_raw_fd(),
                        orders: child.orders.as_fd().as_raw_fd(),
                    })
                    .collect(),
            })
        };
        describe().map_err(|error| error.to_string())
    }

    /// All descriptors that must stay open across exec.
    fn left_open(&self) -> Vec<BorrowedFd<'_>> {
        let admin = self
            .admin
            .as_ref()
            .map_or(&[][..], |admin| admin.listeners());
        let listeners = self.site.listeners.iter().chain(admin);
        let (reading, writing) = &self.lifeline;
        let mut fds = vec![reading.as_fd(), writing.as_fd()];
        fds.extend(self.scoreboard_memory.as_ref().map(AsFd::as_fd));
        fds.extend(self.pid_file.as_ref().map(AsFd::as_fd));
        fds.extend(listeners.filter_map(Listener::socket));
        for child in self.children.values() {
            fds.extend([child.mailbox.as_fd(), child.orders.as_fd()]);
        }
        fds
    }

    fn leave_behind(&self, left: &Handover, hooks: &mut dyn Hooks) -> io::Result<io::Error> {
        let text = left
            .encode()
            .map_err(|error| io::Error::other(error.to_string()))?;
        let successor = hooks.successor()?;
        let mut will = File::from(memfd_create("lockgate-handover", MemfdFlags::CLOEXEC)?);
        io::Write::write_all(&mut will, text.as_bytes())?;
        for fd in self.left_open().into_iter().chain([will.as_fd()]) {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        // Passed sockets keep the numbers that the service manager gave them.
        let manager = hooks.service_manager();
        manager.close_at_exec(false);
        let number = will.as_raw_fd().to_string();
        let error = hooks.exec(&successor, (HANDOVER, &number));
        manager.close_at_exec(true);
        Ok(error)
    }
}

fn failed(reason: String) -> Event {
    Event::UpgradeFailed { reason }
}

fn begin_trial(hooks: &dyn Hooks) -> io::Result<Trial> {
    let successor = hooks.successor()?;
    let complaints = File::from(memfd_create("lockgate-trial", MemfdFlags::CLOEXEC)?);
    let mut command = Command::new(&successor.program);
    command
        .args(&successor.arguments)
        .env_clear()
        .envs(
            successor
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .env(HANDOVER, format!("{TRY}{}", form_line()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints.try_clone()?);
    if let Some(directory) = &successor.directory {
        command.current_dir(directory);
    }
    // It is reaped with all other children.
    let child = command.spawn()?;
    Ok(Trial {
        pid: child.id(),
        ends_by: Instant::now() + TRIAL,
        complaints,
    })
}

impl Trial {
    fn complaints(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.complaints.rewind()?;
        self.complaints
            .by_ref()
            .take(MOST_COMPLAINTS)
            .read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    fn end(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It has not been reaped, so the pid is still its own.
            let _dead_already = kill_process(pid, Signal::KILL);
        }
    }
}
