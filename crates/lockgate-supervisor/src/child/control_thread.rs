//! The control thread of a worker: it receives the supervisor's orders from the fork to the exit. It depends neither on
//! the main thread, which may be in a signal handler of the application, nor on the GIL, which a call or an import may
//! hold.
//!
//! Before the worker is ready there are no requests to finish: an order to stop exits the process on this thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::low_level;

use crate::channels::control::{ControlMessage, ControlReceiver, Received};
use crate::child::exit_watch::SharedDeadline;
use crate::child::worker_control::WorkerControl;
use crate::mutex::lock;
use crate::signals::SignalRelay;

/// Enough to write a log line and reopen a file.
const STACK: usize = 256 * 1024;

/// The main thread's handle.
pub(crate) struct ControlThread {
    shared: Arc<Shared>,
    /// Whether the worker may serve; sent once.
    opened: Mutex<Receiver<bool>>,
    /// Passes the running worker to the thread.
    worker: SyncSender<Arc<dyn WorkerControl>>,
}

struct Shared {
    control: ControlReceiver,
    lifeline: Arc<OwnedFd>,
    exit: SharedDeadline,
    relay: SignalRelay,
    is_ready: AtomicBool,
}

impl ControlThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be created.
    pub(crate) fn start(
        (control, lifeline): (ControlReceiver, Arc<OwnedFd>),
        exit: SharedDeadline,
        relay: SignalRelay,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            control,
            lifeline,
            exit,
            relay,
            is_ready: AtomicBool::new(false),
        });
        let ((opening, opened), (worker, workers)) = (sync_channel(1), sync_channel(1));
        let receiver = Arc::clone(&shared);
        thread::Builder::new()
            .name("lockgate-control".to_owned())
            .stack_size(STACK)
            .spawn(move || receiver.run(&opening, &workers))?;
        Ok(Self {
            shared,
            opened: Mutex::new(opened),
            worker,
        })
    }

    /// The worker is ready: from now on an order to stop is passed to it.
    pub(crate) fn set_ready(&self) {
        self.shared.is_ready.store(true, Ordering::SeqCst);
    }

    /// Waits until the worker may serve; false when it has to stop instead.
    pub(crate) fn wait_until_open(&self) -> bool {
        // The thread sends an answer before it ends.
        lock(&self.opened).recv().unwrap_or(false)
    }

    /// Passes orders to this worker from now on, including those that have arrived since it was opened.
    pub(crate) fn attach(&self, worker: Arc<dyn WorkerControl>) {
        // If the thread has ended, the supervisor has exited, which the main thread detects as well.
        let _supervisor_has_exited = self.worker.try_send(worker);
    }

    /// The descriptor on which orders arrive.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.control.as_fd()
    }
}

impl Shared {
    fn run(&self, opening: &SyncSender<bool>, workers: &Receiver<Arc<dyn WorkerControl>>) {
        let opened = self.wait_for_opening();
        // The main thread may have exited.
        let _has_exited = opening.try_send(opened.is_some());
        let Some(Opened { reopens_logs }) = opened else {
            return;
        };
        let Ok(worker) = workers.recv() else {
            return;
        };
        if reopens_logs {
            worker.reopen_logs();
        }
        loop {
            match self.control.receive() {
                Received::Message(ControlMessage::Retire) => {
                    self.exit.request_graceful(Instant::now());
                    worker.retire();
                }
                Received::Message(ControlMessage::GiveWay) => worker.give_way(),
                Received::Message(ControlMessage::Drain) => {
                    self.exit.request_graceful(Instant::now());
                    worker.drain();
                }
                Received::Message(ControlMessage::Stop) => {
                    self.exit.request_quick(Instant::now());
                    worker.stop();
                    // Wakes the exit watchdog, if it runs, to read the new deadline.
                    self.relay.wake();
                }
                Received::Message(ControlMessage::ReopenLogs) => worker.reopen_logs(),
                Received::Message(ControlMessage::Open) => {}
                // The main thread watches the lifeline.
                Received::Closed => return,
                Received::Empty => {
                    let mut watched = [PollFd::from_borrowed_fd(
                        self.control.as_fd(),
                        PollFlags::IN,
                    )];
                    // The result of poll does not matter: the pipe is read again.
                    let _woken = poll(&mut watched, None);
                }
            }
        }
    }

    /// `None`: the worker has to stop, or its supervisor has exited.
    fn wait_for_opening(&self) -> Option<Opened> {
        let mut reopens_logs = false;
        loop {
            match self.control.receive() {
                Received::Message(ControlMessage::Open) => return Some(Opened { reopens_logs }),
                Received::Message(ControlMessage::ReopenLogs) => reopens_logs = true,
                // The worker does not accept connections yet.
                Received::Message(ControlMessage::GiveWay) => {}
                Received::Message(
                    ControlMessage::Retire | ControlMessage::Drain | ControlMessage::Stop,
                )
                | Received::Closed => break,
                Received::Empty => {
                    let mut watched = [self.control.as_fd(), self.lifeline.as_fd()]
                        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
                    // The result of poll does not matter: the pipe is read again.
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

struct Opened {
    /// Log files were rotated during the boot.
    reopens_logs: bool,
}
