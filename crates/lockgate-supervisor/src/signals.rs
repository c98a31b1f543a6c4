//! Signals as flags and a readable pipe, for the supervisor and for a worker.
//! Decides nothing: what a signal means is told by `supervisor` and `worker_side`.
//!
//! No signal mask is touched here and nothing is set to "ignore": both would be inherited by the application's subprocesses,
//! while a handler is forgotten by `exec`. (From one program of this process to the next a mask is what keeps signals; the
//! host sets it, and lifts it before the first fork.)

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
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

/// What signals from outside do in a worker: from process groups, service managers and operators. The supervisor gives its
/// orders by a pipe. Not here: the quiet ones, which must not end it although their default would (a closed terminal sends
/// `SIGHUP` to the group).
const WISHES: [(i32, Wish); 4] = [
    (SIGTERM, Wish::Drain),
    (SIGINT, Wish::Stop),
    (SIGQUIT, Wish::Stop),
    (SIGUSR1, Wish::ReopenLogs),
];
const QUIET_IN_WORKERS: [i32; 5] = [SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH, SIGUSR2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Drain,
    Stop,
    ReopenLogs,
}

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
        for registration in self.registrations.drain(..) {
            low_level::unregister(registration);
        }
    }
}

/// The signals of a worker, from its first moment to its last.
pub(crate) struct WorkerSignals {
    wake: Wake,
    relay: SignalRelay,
    registrations: Vec<SigId>,
    descriptors: Vec<RawFd>,
}

/// Does what a signal does in a worker, for a host that has installed handlers of its own in place of these.
#[derive(Debug, Clone)]
pub struct SignalRelay {
    drain: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
    /// While true, a signal that asks the worker to go ends the process in the handler, with code 0.
    is_booting: Arc<AtomicBool>,
    writer: Arc<OwnedFd>,
}

/// What signals have asked of a worker.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raised {
    pub(crate) drain: bool,
    pub(crate) stop: bool,
    pub(crate) reopen: bool,
}

impl SignalRelay {
    fn flag(&self, wish: Wish) -> &Arc<AtomicBool> {
        match wish {
            Wish::Drain => &self.drain,
            Wish::Stop => &self.stop,
            Wish::ReopenLogs => &self.reopen,
        }
    }

    /// This signal has arrived.
    pub fn raise(&self, signal: i32) {
        let Some(&(_, wish)) = WISHES.iter().find(|(known, _)| *known == signal) else {
            return;
        };
        if wish != Wish::ReopenLogs && self.is_booting.load(Ordering::SeqCst) {
            low_level::exit(0);
        }
        self.flag(wish).store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Wakes whoever attends to signals.
    pub(crate) fn wake(&self) {
        // A full pipe wakes as well.
        let _is_full = rustix::io::write(&*self.writer, b"X");
    }

    /// Written to, it wakes the main thread of the worker, which then lets its host run handlers of its own.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }
}

impl WorkerSignals {
    /// Takes over the signals of this process; until [`finish_boot`](Self::finish_boot), `SIGTERM`, `SIGINT`
    /// and `SIGQUIT` end it at once.
    pub(crate) fn install() -> io::Result<Self> {
        let mut signals = Self::quiet()?;
        let relay = signals.relay.clone();
        let registrations = &mut signals.registrations;
        for (signal, wish) in WISHES {
            if wish != Wish::ReopenLogs {
                let is_booting = Arc::clone(&relay.is_booting);
                registrations.push(flag::register_conditional_shutdown(signal, 0, is_booting)?);
            }
            let raised = Arc::clone(relay.flag(wish));
            registrations.push(flag::register(signal, raised)?);
            let writer = relay.writer.try_clone()?;
            signals.descriptors.push(writer.as_raw_fd());
            registrations.push(low_level::pipe::register(signal, writer)?);
        }
        let nobody_reads = Arc::new(AtomicBool::new(false));
        for signal in QUIET_IN_WORKERS {
            registrations.push(flag::register(signal, Arc::clone(&nobody_reads))?);
        }
        Ok(signals)
    }

    /// No signal does anything in this process, a child whose supervisor ends it: what the supervisor has registered stays
    /// installed and loses its actions when [`SupervisorSignals`] is dropped.
    pub(crate) fn quiet() -> io::Result<Self> {
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

    /// All that is open for them.
    pub(crate) fn descriptors(&self) -> &[RawFd] {
        &self.descriptors
    }

    pub(crate) fn relay(&self) -> &SignalRelay {
        &self.relay
    }

    /// From now on signals are orders for the serving worker.
    pub(crate) fn finish_boot(&self) {
        self.relay.is_booting.store(false, Ordering::SeqCst);
    }

    /// Readable when a signal has arrived since the last [`take`](Self::take).
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.reader.as_fd()
    }

    /// What has been asked for since the last call.
    pub(crate) fn take(&self) -> Raised {
        self.wake.clear();
        let take = |wish| self.relay.flag(wish).swap(false, Ordering::SeqCst);
        Raised {
            drain: take(Wish::Drain),
            stop: take(Wish::Stop),
            reopen: take(Wish::ReopenLogs),
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
