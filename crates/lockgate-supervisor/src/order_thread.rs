//! The order thread of a worker: it receives orders from the first moment of the worker to its last. It depends neither
//! on the main thread, which may be in a signal handler of the application, nor on the GIL, which a call or an import
//! may hold.
//!
//! Until the worker has reported that it is ready there is nothing to finish: an order to leave exits the process here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::low_level;

use crate::exit_watch::SharedDeadline;
use crate::orders::{Ear, Heard, Word};
use crate::signals::SignalRelay;
use crate::worker_side::Attended;

/// Enough to write a log line and reopen a file.
const STACK: usize = 256 * 1024;

/// The main thread's handle.
pub(crate) struct OrderThread {
    shared: Arc<Shared>,
    /// Whether the worker may serve; answered once.
    opened: Mutex<Receiver<bool>>,
    /// Passes the worker that receives the orders.
    worker: SyncSender<Arc<dyn Attended>>,
}

struct Shared {
    ear: Ear,
    lifeline: Arc<OwnedFd>,
    exit: SharedDeadline,
    relay: SignalRelay,
    is_ready: AtomicBool,
}

impl OrderThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be created.
    pub(crate) fn start(
        (ear, lifeline): (Ear, Arc<OwnedFd>),
        exit: SharedDeadline,
        relay: SignalRelay,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            ear,
            lifeline,
            exit,
            relay,
            is_ready: AtomicBool::new(false),
        });
        let ((opening, opened), (worker, workers)) = (sync_channel(1), sync_channel(1));
        let listener = Arc::clone(&shared);
        thread::Builder::new()
            .name("lockgate-orders".to_owned())
            .stack_size(STACK)
            .spawn(move || listener.listen(&opening, &workers))?;
        Ok(Self {
            shared,
            opened: Mutex::new(opened),
            worker,
        })
    }

    /// The worker has reported that it is ready: from now on it handles an order to leave itself.
    pub(crate) fn note_ready(&self) {
        self.shared.is_ready.store(true, Ordering::SeqCst);
    }

    /// Waits until the worker may serve; false when it has to leave instead.
    pub(crate) fn wait_until_open(&self) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread answers before it ends.
        opened.recv().unwrap_or(false)
    }

    /// Orders go to this worker from now on, including those that arrived since it was opened.
    pub(crate) fn hand_over(&self, worker: Arc<dyn Attended>) {
        // If the thread has ended, the supervisor has died, which the main thread sees as well.
        let _supervisor_has_gone = self.worker.try_send(worker);
    }

    /// The descriptor on which orders arrive.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.ear.as_fd()
    }
}

impl Shared {
    fn listen(&self, opening: &SyncSender<bool>, workers: &Receiver<Arc<dyn Attended>>) {
        let beginning = self.wait_for_opening();
        // The main thread may have exited.
        let _is_gone = opening.try_send(beginning.is_some());
        let Some(Beginning { reopens_logs }) = beginning else {
            return;
        };
        let Ok(worker) = workers.recv() else {
            return;
        };
        if reopens_logs {
            worker.reopen_logs();
        }
        loop {
            match self.ear.hear() {
                Heard::Word(Word::Retire) => {
                    self.exit.ask(Instant::now());
                    worker.retire();
                }
                Heard::Word(Word::GiveWay) => worker.give_way(),
                Heard::Word(Word::Drain) => {
                    self.exit.ask(Instant::now());
                    worker.drain();
                }
                Heard::Word(Word::Stop) => {
                    self.exit.hurry(Instant::now());
                    worker.stop();
                    // Wakes the exit watchdog, if there is one already, to read the new deadline.
                    self.relay.wake();
                }
                Heard::Word(Word::ReopenLogs) => worker.reopen_logs(),
                Heard::Word(Word::Open) => {}
                // The main thread watches the lifeline.
                Heard::Nobody => return,
                Heard::Silence => {
                    let mut watched = [PollFd::from_borrowed_fd(self.ear.as_fd(), PollFlags::IN)];
                    // Whatever poll returns, the pipe is read again.
                    let _woken = poll(&mut watched, None);
                }
            }
        }
    }

    /// `None`: the worker has to leave, or its supervisor has died.
    fn wait_for_opening(&self) -> Option<Beginning> {
        let mut reopens_logs = false;
        loop {
            match self.ear.hear() {
                Heard::Word(Word::Open) => return Some(Beginning { reopens_logs }),
                Heard::Word(Word::ReopenLogs) => reopens_logs = true,
                // It accepts nothing yet.
                Heard::Word(Word::GiveWay) => {}
                Heard::Word(Word::Retire | Word::Drain | Word::Stop) | Heard::Nobody => break,
                Heard::Silence => {
                    let mut watched = [self.ear.as_fd(), self.lifeline.as_fd()]
                        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
                    // Whatever poll returns, the pipe is read again.
                    let _woken = poll(&mut watched, None);
                    let [_, lifeline] = &watched;
                    if !lifeline.revents().is_empty() {
                        break;
                    }
                }
            }
        }
        if !self.is_ready.load(Ordering::SeqCst) {
            low_level::exit(0);
        }
        None
    }
}

struct Beginning {
    /// Log files were rotated during the boot.
    reopens_logs: bool,
}
