//! Signal handling of the supervisor and of workers: handlers set flags and write to a wake-up pipe.
//!
//! No signal mask is touched here and nothing is set to "ignore": both would be inherited by the application's
//! subprocesses, while exec resets a handler. (During an upgrade a mask preserves signals; the host sets it, and clears
//! it before the first fork.)

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockgate_config::Config;
use signal_hook::SigId;
use signal_hook::consts::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::{flag, low_level};

use crate::os::nonblocking_pipe;
use crate::supervisor::Request;

/// The request that each signal makes of the supervisor, mildest first: signals that arrive together are reported in this
/// order.
const REQUESTS: [(i32, Request); 9] = [
    (SIGWINCH, Request::WindowChange),
    (SIGUSR2, Request::Upgrade),
    (SIGUSR1, Request::ReopenLogs),
    (SIGTTIN, Request::MoreWorkers),
    (SIGTTOU, Request::FewerWorkers),
    (SIGHUP, Request::Reload),
    (SIGTERM, Request::Terminate),
    (SIGINT, Request::Interrupt),
    (SIGQUIT, Request::Quit),
];

/// The actions of external signals in a worker: from process groups, service managers and operators. The supervisor sends its
/// orders over a pipe. Signals that a worker ignores are not listed (a closed terminal sends `SIGHUP` to the group, and
/// its default would kill the worker).
const WORKER_SIGNALS: [(i32, SignalAction); 4] = [
    (SIGTERM, SignalAction::Drain),
    (SIGINT, SignalAction::Stop),
    (SIGQUIT, SignalAction::Stop),
    (SIGUSR1, SignalAction::ReopenLogs),
];
const IGNORED_IN_WORKERS: [i32; 5] = [SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH, SIGUSR2];

/// What the signals of a terminal mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TerminalSignals {
    /// Requests of an operator, as for every service.
    Requests,
    /// Job control of a shell, for `lockgate dev`: a background job that reads from its terminal is stopped (SIGTTIN,
    /// SIGTTOU; `lockgate.dev.serving` does the same in workers), and one whose terminal was closed ends (SIGHUP).
    JobControl,
}

impl TerminalSignals {
    pub(crate) fn of(config: &Config) -> Self {
        match config.is_development {
            true => Self::JobControl,
            false => Self::Requests,
        }
    }

    /// What a signal asks for. `lockgate dev` stops at once: an open prompt of a debugger, which `graceful_timeout` spares
    /// at a reload, must not delay the end.
    fn request(self, signal: i32, request: Request) -> Request {
        match (self, signal) {
            (Self::JobControl, SIGTERM) => Request::Interrupt,
            _ => request,
        }
    }

    /// Whether the default disposition is kept.
    fn leaves(self, signal: i32) -> bool {
        self == Self::JobControl && [SIGTTIN, SIGTTOU].contains(&signal)
    }
}

/// How many of the standard streams are terminals; after a hang-up none of those is.
fn terminals() -> usize {
    let streams = [
        io::stdin().is_terminal(),
        io::stdout().is_terminal(),
        io::stderr().is_terminal(),
    ];
    streams
        .into_iter()
        .filter(|is_terminal| *is_terminal)
        .count()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignalAction {
    Drain,
    Stop,
    ReopenLogs,
}

/// The supervisor's handlers. Every disposition is set explicitly, because PID 1 has no useful defaults.
pub(crate) struct SupervisorSignals {
    wake: Wake,
    flags: Vec<(Request, Arc<AtomicBool>)>,
    registrations: Vec<SigId>,
    /// For job control: how many of the standard streams were terminals at the start.
    terminals: usize,
}

impl SupervisorSignals {
    /// Installs the handlers.
    pub(crate) fn install(terminal: TerminalSignals) -> io::Result<Self> {
        let (wake, writer) = Wake::new()?;
        let mut signals = Self {
            wake,
            flags: Vec::new(),
            registrations: Vec::new(),
            terminals: match terminal {
                TerminalSignals::Requests => 0,
                TerminalSignals::JobControl => terminals(),
            },
        };
        let handled = REQUESTS
            .into_iter()
            .filter(|(signal, _)| !terminal.leaves(*signal));
        for (signal, request) in handled {
            let raised = Arc::new(AtomicBool::new(false));
            // Actions run in the order of registration: the flag is set before the pipe wakes the reader.
            signals
                .registrations
                .push(flag::register(signal, Arc::clone(&raised))?);
            signals
                .registrations
                .push(low_level::pipe::register(signal, writer.try_clone()?)?);
            signals
                .flags
                .push((terminal.request(signal, request), raised));
        }
        signals
            .registrations
            .push(low_level::pipe::register(SIGCHLD, writer)?);
        Ok(signals)
    }

    /// Readable when a signal has arrived since the last [`take`](Self::take).
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.reader.as_fd()
    }

    /// Empties the wake-up pipe, for a caller that leaves the requests to [`take`](Self::take).
    pub(crate) fn clear_wake(&self) {
        self.wake.clear();
    }

    /// The requests since the last call. The kernel merges equal pending signals, and so does this.
    pub(crate) fn take(&self) -> Vec<Request> {
        self.wake.clear();
        let raised = self
            .flags
            .iter()
            .filter(|(_, flag)| flag.swap(false, Ordering::SeqCst));
        let requests = raised.map(|(request, _)| *request);
        requests
            .map(|request| match request {
                Request::Reload if self.has_lost_terminal() => Request::Interrupt,
                other => other,
            })
            .collect()
    }

    /// The kernel hangs the terminal up before it sends SIGHUP, and a shell passes the signal on later.
    fn has_lost_terminal(&self) -> bool {
        self.terminals > 0 && terminals() < self.terminals
    }

    /// Whether a stop was requested; for a child that was forked while the signal arrived.
    pub(crate) fn is_stop_requested(&self) -> bool {
        let mut raised = self
            .flags
            .iter()
            .filter(|(_, flag)| flag.load(Ordering::SeqCst));
        raised.any(|(request, _)| {
            request.is_stop() || (*request == Request::Reload && self.has_lost_terminal())
        })
    }
}

/// The handlers stay installed without any action: from now on the signals do nothing.
impl Drop for SupervisorSignals {
    fn drop(&mut self) {
        for registration in self.registrations.drain(..) {
            low_level::unregister(registration);
        }
    }
}

/// The signal handlers of a worker, for its whole life.
pub(crate) struct WorkerSignals {
    wake: Wake,
    relay: SignalRelay,
    registrations: Vec<SigId>,
    descriptors: Vec<RawFd>,
}

/// Performs a signal's action in a worker, for a host that has replaced these handlers by its own.
#[derive(Debug, Clone)]
pub struct SignalRelay {
    drain: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
    /// While true, a signal to stop exits the process in the handler, with code 0.
    is_booting: Arc<AtomicBool>,
    writer: Arc<OwnedFd>,
}

/// The actions that signals have requested of a worker.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raised {
    pub(crate) drain: bool,
    pub(crate) stop: bool,
    pub(crate) reopen: bool,
}

impl SignalRelay {
    fn flag(&self, action: SignalAction) -> &Arc<AtomicBool> {
        match action {
            SignalAction::Drain => &self.drain,
            SignalAction::Stop => &self.stop,
            SignalAction::ReopenLogs => &self.reopen,
        }
    }

    /// Handles this signal.
    pub fn raise(&self, signal: i32) {
        let Some(&(_, action)) = WORKER_SIGNALS.iter().find(|(known, _)| *known == signal) else {
            return;
        };
        if action != SignalAction::ReopenLogs && self.is_booting.load(Ordering::SeqCst) {
            low_level::exit(0);
        }
        self.flag(action).store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Wakes the thread that handles signals.
    pub(crate) fn wake(&self) {
        // A full pipe wakes the reader as well.
        let _is_full = rustix::io::write(&*self.writer, b"X");
    }

    /// A write to it wakes the worker's main thread, which then lets the host run its own handlers.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }
}

impl WorkerSignals {
    /// Installs the handlers; until [`finish_boot`](Self::finish_boot), `SIGTERM`, `SIGINT` and `SIGQUIT` exit the
    /// process at once.
    pub(crate) fn install() -> io::Result<Self> {
        let mut signals = Self::ignoring()?;
        let relay = signals.relay.clone();
        let registrations = &mut signals.registrations;
        for (signal, action) in WORKER_SIGNALS {
            if action != SignalAction::ReopenLogs {
                let is_booting = Arc::clone(&relay.is_booting);
                registrations.push(flag::register_conditional_shutdown(signal, 0, is_booting)?);
            }
            let raised = Arc::clone(relay.flag(action));
            registrations.push(flag::register(signal, raised)?);
            let writer = relay.writer.try_clone()?;
            signals.descriptors.push(writer.as_raw_fd());
            registrations.push(low_level::pipe::register(signal, writer)?);
        }
        let unread = Arc::new(AtomicBool::new(false));
        for signal in IGNORED_IN_WORKERS {
            registrations.push(flag::register(signal, Arc::clone(&unread))?);
        }
        Ok(signals)
    }

    /// For a child that only the supervisor stops: all handled signals do nothing. The supervisor's handlers stay
    /// installed, and lose their actions when [`SupervisorSignals`] is dropped.
    pub(crate) fn ignoring() -> io::Result<Self> {
        let (wake, writer) = Wake::new()?;
        let relay = SignalRelay {
            drain: Arc::default(),
            stop: Arc::default(),
            reopen: Arc::default(),
            is_booting: Arc::new(AtomicBool::new(true)),
            writer: Arc::new(writer),
        };
        Ok(Self {
            descriptors: vec![wake.reader.as_raw_fd(), relay.writer.as_raw_fd()],
            wake,
            relay,
            registrations: Vec::new(),
        })
    }

    /// All descriptors that they use.
    pub(crate) fn descriptors(&self) -> &[RawFd] {
        &self.descriptors
    }

    pub(crate) fn relay(&self) -> &SignalRelay {
        &self.relay
    }

    /// From now on signals are requests to the serving worker.
    pub(crate) fn finish_boot(&self) {
        self.relay.is_booting.store(false, Ordering::SeqCst);
    }

    /// Readable when a signal has arrived since the last [`take`](Self::take).
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.reader.as_fd()
    }

    /// The requests since the last call.
    pub(crate) fn take(&self) -> Raised {
        self.wake.clear();
        let take = |action| self.relay.flag(action).swap(false, Ordering::SeqCst);
        Raised {
            drain: take(SignalAction::Drain),
            stop: take(SignalAction::Stop),
            reopen: take(SignalAction::ReopenLogs),
        }
    }
}

/// The reading end of a pipe that handlers write to.
struct Wake {
    reader: OwnedFd,
}

impl Wake {
    fn new() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = nonblocking_pipe()?;
        Ok((Self { reader }, writer))
    }

    /// Empties the pipe. Must be called before the flags are read: a signal in between then wakes the reader once more.
    fn clear(&self) {
        let mut bytes = [0_u8; 64];
        loop {
            match rustix::io::read(&self.reader, &mut bytes) {
                Ok(count) if count == bytes.len() => {}
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigterm_stops_a_development_server_at_once() {
        let rows = [
            (
                TerminalSignals::Requests,
                SIGTERM,
                Request::Terminate,
                Request::Terminate,
            ),
            (
                TerminalSignals::JobControl,
                SIGTERM,
                Request::Terminate,
                Request::Interrupt,
            ),
            (
                TerminalSignals::JobControl,
                SIGHUP,
                Request::Reload,
                Request::Reload,
            ),
        ];
        for (terminal, signal, usual, expected) in rows {
            assert_eq!(terminal.request(signal, usual), expected, "{terminal:?}");
        }
    }
}
