//! Upgrades: the trial of the program on disk in a separate process, then the exec of it in this process.
//!
//! exec(2) does not return, so a program that cannot start would take the server down. The trial proves first that it
//! starts, reads its settings and understands the handover.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Hooks;
use crate::handover::memories::Memories;
use crate::handover::payload::{HandedOverWorker, Handover, HandoverError, format_line};
use crate::handover::{HANDOVER, TRIAL_PREFIX};
use crate::main_loop::generation_resources::GenerationResources;
use crate::main_loop::workers::Workers;
use crate::os::{memory_file, set_close_at_exec};
use crate::processes::admin_process::AdminProcess;
use crate::processes::exit_status::ExitStatus;
use crate::processes::kill::kill;
use crate::sockets::Listener;
use crate::supervisor::{Event, WorkerHandover};

/// How long the trial of the program on disk may take.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(60);
/// At most this many bytes of its error output are logged.
const MOST_ERROR_OUTPUT: u64 = 16 * 1024;

/// The running trial of the program on disk.
pub(super) struct Trial {
    pid: u32,
    deadline: Instant,
    error_output: File,
}

impl Trial {
    /// Starts the program on disk as a trial.
    pub(super) fn start(hooks: &dyn Hooks) -> io::Result<Self> {
        let successor = hooks.successor()?;
        let error_output = File::from(memory_file(c"lockgate-trial")?);
        let environment = successor.environment.iter();
        let mut command = Command::new(&successor.program);
        command
            .args(&successor.arguments)
            .env_clear()
            .envs(environment.map(|(name, value)| (name, value)))
            .env(HANDOVER, format!("{TRIAL_PREFIX}{}", format_line()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(error_output.try_clone()?);
        if let Some(directory) = &successor.directory {
            command.current_dir(directory);
        }
        // It is reaped with all other children.
        let child = command.spawn()?;
        Ok(Self {
            pid: child.id(),
            deadline: Instant::now() + TRIAL_TIMEOUT,
            error_output,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn kill(&self) {
        kill(self.pid);
    }

    /// The trial has exceeded its deadline: kills it.
    pub(super) fn time_out(self) -> Event {
        self.kill();
        failed(format!(
            "the trial of the program on disk was not finished within {} s",
            TRIAL_TIMEOUT.as_secs()
        ))
    }

    /// The result of a trial that has exited.
    pub(super) fn result(mut self, exit_status: ExitStatus) -> Event {
        if exit_status.is_clean() {
            return Event::UpgradeTried;
        }
        let output = self
            .read_error_output()
            .unwrap_or_else(|error| format!("(its error output cannot be read: {error})"));
        failed(format!("the program on disk {exit_status}: {output}"))
    }

    fn read_error_output(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.error_output.rewind()?;
        self.error_output
            .by_ref()
            .take(MOST_ERROR_OUTPUT)
            .read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

/// The event for a failed trial or exec.
pub(super) fn failed(reason: String) -> Event {
    Event::UpgradeFailed { reason }
}

/// Everything that the next program in this process takes over.
pub(super) struct Outgoing<'a> {
    pub(super) handover: &'a WorkerHandover,
    pub(super) workers: &'a Workers,
    pub(super) resources: &'a GenerationResources,
    pub(super) lifeline: (BorrowedFd<'a>, BorrowedFd<'a>),
    pub(super) memories: Memories<BorrowedFd<'a>>,
    pub(super) pid_file: Option<BorrowedFd<'a>>,
    pub(super) admin: Option<&'a AdminProcess>,
}

impl Outgoing<'_> {
    /// Replaces this process with the program on disk. Returns only on failure.
    pub(super) fn exec(&self, hooks: &mut dyn Hooks) -> io::Error {
        let outcome = self
            .payload()
            .and_then(|payload| payload.encode())
            .map_err(|error| io::Error::other(error.to_string()))
            .and_then(|text| self.exec_with(&text, hooks));
        // Processes that workers start must not inherit these.
        for fd in self.descriptors() {
            let _is_open = set_close_at_exec(fd, true);
        }
        let (Ok(error) | Err(error)) = outcome;
        error
    }

    fn payload(&self) -> Result<Handover, HandoverError> {
        let entries = |listeners: &mut dyn Iterator<Item = &Listener>| -> Result<Vec<_>, _> {
            listeners
                .filter_map(|listener| Some((listener, listener.socket()?)))
                .map(|(listener, socket)| listener.describe(socket.as_raw_fd()))
                .collect()
        };
        let workers = self.handover.workers.iter().filter_map(|snapshot| {
            let process = self.workers.get(snapshot.pid)?;
            Some(HandedOverWorker {
                snapshot: *snapshot,
                status: process.status.as_fd().as_raw_fd(),
                control: process.control.as_fd().as_raw_fd(),
            })
        });
        let (reading, writing) = self.lifeline;
        Ok(Handover {
            generation: self.resources.generation,
            workers_setting: self.handover.setting,
            wanted: self.handover.wanted,
            memories: (self.memories.iter())
                .map(|(memory, fd)| (*memory, fd.as_raw_fd()))
                .collect(),
            foreign: Vec::new(),
            pid_file: self.pid_file.map(|file| file.as_raw_fd()),
            lifeline: (reading.as_raw_fd(), writing.as_raw_fd()),
            listeners: entries(&mut self.resources.listeners.iter())?,
            admin_listeners: entries(&mut self.admin_listeners())?,
            admin: self.admin.and_then(AdminProcess::pid),
            workers: workers.collect(),
        })
    }

    /// All descriptors that must stay open across exec.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let listeners = self
            .resources
            .listeners
            .iter()
            .chain(self.admin_listeners());
        let (reading, writing) = self.lifeline;
        let mut fds = vec![reading, writing];
        fds.extend(self.memories.values());
        fds.extend(self.pid_file);
        fds.extend(listeners.filter_map(Listener::socket));
        fds.extend(self.workers.pipes());
        fds
    }

    fn admin_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.admin.into_iter().flat_map(AdminProcess::listeners)
    }

    fn exec_with(&self, text: &str, hooks: &mut dyn Hooks) -> io::Result<io::Error> {
        let successor = hooks.successor()?;
        let mut payload = File::from(memory_file(c"lockgate-handover")?);
        io::Write::write_all(&mut payload, text.as_bytes())?;
        for fd in self.descriptors().into_iter().chain([payload.as_fd()]) {
            set_close_at_exec(fd, false)?;
        }
        // Passed sockets keep the numbers that the service manager gave them.
        let manager = hooks.service_manager();
        manager.close_at_exec(false);
        let number = payload.as_raw_fd().to_string();
        let error = hooks.exec(&successor, (HANDOVER, &number));
        manager.close_at_exec(true);
        Ok(error)
    }
}
