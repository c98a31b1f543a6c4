//! Signals as flags and a readable pipe, for the supervisor and for a worker.
//! Decides nothing: what a signal means is told by `supervisor` and `worker_side`.
//!
//! No signal mask is touched here and nothing is set to "ignore": both would be inherited by the application's subprocesses,
//! while a handler is forgotten by `exec`. (From one program of this process to the next a mask is what keeps signals; the
//! host sets it, and lifts it before the first fork.)

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::SigId;
use signal_hook::consts::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::{flag, low_level};

use crate::supervisor::Request;

/// What each signal asks of the supervisor, the mildest first: two that arrive together are told in this order.
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

/// Signals that must not end a worker although their default would (a closed terminal sends `SIGHUP` to the group).
const QUIET_IN_WORKERS: [i32; 5] = [SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH, SIGUSR2];

/// The supervisor's registrations. Every disposition is set explicitly, because PID 1 has no useful defaults.
pub(crate) struct SupervisorSignals {
    wake: Wake,
    flags: Vec<(Request, Arc<AtomicBool>)>,
    registrations: Vec<SigId>,
}

impl SupervisorSignals {
    /// Takes over the signals of this process.
    pub(crate) fn install() -> io::Result<Self> {
        let (wake, writer) = Wake::new()?;
        let mut signals = Self {
            wake,
            flags: Vec::new(),
            registrations: Vec::new(),
        };
        for (signal, request) in REQUESTS {
            let raised = Arc::new(AtomicBool::new(false));
            // Actions run in the order of registration: the flag is up before the pipe wakes anyone.
            signals
                .registrations
                .push(flag::register(signal, Arc::clone(&raised))?);
            signals
                .registrations
                .push(low_level::pipe::register(signal, writer.try_clone()?)?);
            signals.flags.push((request, raised));
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

    /// What has been asked for since the last call. The kernel merges equal signals, and so does this.
    pub(crate) fn take(&self) -> Vec<Request> {
        self.wake.clear();
        let raised = self
            .flags
            .iter()
            .filter(|(_, flag)| flag.swap(false, Ordering::SeqCst));
        raised.map(|(request, _)| *request).collect()
    }

    /// Whether the server has been asked to stop; for a child that was forked while the signal came in.
    pub(crate) fn asks_to_stop(&self) -> bool {
        let mut raised = self
            .flags
            .iter()
            .filter(|(_, flag)| flag.load(Ordering::SeqCst));
        raised.any(|(request, _)| request.asks_to_stop())
    }
}

/// The handlers stay installed without any action: the signals do nothing from here on.
impl Drop for SupervisorSignals {
    fn drop(&mut self) {
        unregister(&mut self.registrations);
    }
}

fn unregister(registrations: &mut Vec<SigId>) {
    for registration in registrations.drain(..) {
        low_level::unregister(registration);
    }
}

/// The signals of a worker, from its first moment to its last.
pub(crate) struct WorkerSignals {
    wake: Wake,
    drain: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
    /// While true, a signal that asks the worker to go ends the process in the handler, with code 0.
    is_booting: Arc<AtomicBool>,
    registrations: Vec<SigId>,
}

/// What signals have asked of a worker.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raised {
    pub(crate) drain: bool,
    pub(crate) stop: bool,
    pub(crate) reopen: bool,
}

impl WorkerSignals {
    /// Takes over the signals of this process; until [`finish_boot`](Self::finish_boot), `SIGTERM`, `SIGINT`
    /// and `SIGQUIT` end it at once: an import that takes a minute must not hold up a stop.
    pub(crate) fn install() -> io::Result<Self> {
        let (wake, writer) = Wake::new()?;
        let mut registrations = Vec::new();
        let signals = Self {
            wake,
            drain: Arc::default(),
            stop: Arc::default(),
            reopen: Arc::default(),
            is_booting: Arc::new(AtomicBool::new(true)),
            registrations: Vec::new(),
        };
        let flags = [
            (SIGTERM, &signals.drain),
            (SIGINT, &signals.stop),
            (SIGQUIT, &signals.stop),
            (SIGUSR1, &signals.reopen),
        ];
        for (signal, raised) in flags {
            if signal != SIGUSR1 {
                let is_booting = Arc::clone(&signals.is_booting);
                registrations.push(flag::register_conditional_shutdown(signal, 0, is_booting)?);
            }
            registrations.push(flag::register(signal, Arc::clone(raised))?);
            registrations.push(low_level::pipe::register(signal, writer.try_clone()?)?);
        }
        let nobody_reads = Arc::new(AtomicBool::new(false));
        for signal in QUIET_IN_WORKERS {
            registrations.push(flag::register(signal, Arc::clone(&nobody_reads))?);
        }
        Ok(Self {
            registrations,
            ..signals
        })
    }

    /// Gives up what a template has registered, in a worker that it has made and that has taken over its own signals.
    pub(crate) fn release(mut self) {
        unregister(&mut self.registrations);
    }

    /// From now on signals are orders for the serving worker.
    pub(crate) fn finish_boot(&self) {
        self.is_booting.store(false, Ordering::SeqCst);
    }

    /// Readable when a signal has arrived since the last [`take`](Self::take).
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.reader.as_fd()
    }

    /// What has been asked for since the last call.
    pub(crate) fn take(&self) -> Raised {
        self.wake.clear();
        Raised {
            drain: self.drain.swap(false, Ordering::SeqCst),
            stop: self.stop.swap(false, Ordering::SeqCst),
            reopen: self.reopen.swap(false, Ordering::SeqCst),
        }
    }
}

/// The reading end of a pipe that handlers write to.
struct Wake {
    reader: OwnedFd,
}

impl Wake {
    fn new() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok((Self { reader }, writer))
    }

    /// Empties the pipe. To be called before the flags are read: a signal in between then wakes once more.
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
