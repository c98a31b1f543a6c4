//! The fork server as the supervisor sees it: the process that has loaded the application and forks workers (`preload`),
//! and the requests that it has not answered.
//!
//! Invariant: every requested worker is reported as forked or failed, or returned by [`ForkServer::take_pending`].

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::channels::control::{ControlReceiver, ControlSender, control_channel};
use crate::channels::fork_request::ForkRequestSender;
use crate::channels::status::{StatusMessage, StatusReceiver, StatusSender, status_channel};
use crate::child::setup::WorkerOrigin;
use crate::processes::kill::{kill, to_pid};
use crate::processes::worker_process::WorkerProcess;

/// How long a loaded fork server may take to fork a worker when `boot_timeout` is not set. A fork takes milliseconds, but
/// fork hooks of the application or of a library may hang.
const FORK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a killed fork server may take to exit before the workers are ordered to drain; usually some milliseconds.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct ForkServer {
    pid: u32,
    forked_at: Instant,
    /// How long it may take to load, and then to fork a worker (setting: boot_timeout); `None`: no limit is set.
    boot_timeout: Option<Duration>,
    /// While a request is unanswered: the time of the last message, or of the request if that is later.
    waiting_since: Instant,
    is_loaded: bool,
    status: StatusReceiver,
    requests: ForkRequestSender,
    pending: Vec<RequestedWorker>,
}

/// A requested worker.
struct RequestedWorker {
    slot: usize,
    status: StatusReceiver,
    control: ControlSender,
    /// The worker's ends of the pipes, until they are sent to the fork server.
    ends: Option<(StatusSender, ControlReceiver)>,
    origin: WorkerOrigin,
}

/// A message from the fork server.
pub(crate) enum ForkServerEvent {
    /// The application is loaded.
    Loaded,
    /// The application cannot be loaded: no worker will be forked.
    LoadFailed { code: i32, text: String },
    /// A worker was forked.
    Forked { pid: u32, worker: WorkerProcess },
    /// A fork has failed.
    ForkFailed { slot: usize, reason: String },
}

impl ForkServer {
    /// A process that was just forked.
    pub(crate) fn new(
        pid: u32,
        (status, requests): (StatusReceiver, ForkRequestSender),
        boot_timeout: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            pid,
            forked_at: now,
            boot_timeout,
            waiting_since: now,
            is_loaded: false,
            status,
            requests,
            pending: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn forked_at(&self) -> Instant {
        self.forked_at
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// Its status channel, to be polled until the [`deadline`](Self::deadline).
    pub(crate) fn status(&self) -> &StatusReceiver {
        &self.status
    }

    /// The deadline for loading the application or for a requested fork, if one applies.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let is_waiting = !self.is_loaded || !self.pending.is_empty();
        let timeout = self.timeout().filter(|_| is_waiting)?;
        Some(self.waiting_since + timeout)
    }

    /// How long the current step may take.
    fn timeout(&self) -> Option<Duration> {
        match self.is_loaded {
            true => Some(self.boot_timeout.unwrap_or(FORK_TIMEOUT)),
            false => self.boot_timeout,
        }
    }

    /// What it has not done in time, for the log.
    pub(crate) fn timeout_message(&self) -> String {
        let what = match self.is_loaded {
            false => "loaded the application",
            true => "forked a worker",
        };
        let seconds = self.timeout().unwrap_or_default().as_secs_f64();
        let setting = match self.boot_timeout {
            Some(_) => "setting: boot_timeout",
            None => "does a hook of os.register_at_fork hang?",
        };
        let pid = self.pid;
        format!("the fork server (pid {pid}) has not {what} within {seconds:.2} s ({setting})")
    }

    /// Requests a worker for this slot, forked now or when the application is loaded.
    ///
    /// # Errors
    /// When no pipes can be created, or the fork server has exited.
    pub(crate) fn request_worker(
        &mut self,
        slot: usize,
        origin: WorkerOrigin,
        now: Instant,
    ) -> io::Result<()> {
        let (status, worker_status) = status_channel()?;
        let (worker_control, control) = control_channel()?;
        let mut worker = RequestedWorker {
            slot,
            status,
            control,
            ends: Some((worker_status, worker_control)),
            origin,
        };
        if self.is_loaded {
            worker.send_request(&self.requests)?;
            if self.pending.is_empty() {
                self.waiting_since = now;
            }
        }
        self.pending.push(worker);
        Ok(())
    }

    /// The messages since the last call.
    pub(crate) fn read(&mut self, now: Instant) -> Vec<ForkServerEvent> {
        let messages = self.status.read();
        if !messages.is_empty() {
            self.waiting_since = now;
        }
        messages
            .into_iter()
            .flat_map(|message| self.on_message(message))
            .collect()
    }

    fn on_message(&mut self, message: StatusMessage) -> Vec<ForkServerEvent> {
        match message {
            StatusMessage::Ready => {
                self.is_loaded = true;
                let mut events = vec![ForkServerEvent::Loaded];
                for worker in &mut self.pending {
                    if let Err(error) = worker.send_request(&self.requests) {
                        events.push(ForkServerEvent::ForkFailed {
                            slot: worker.slot,
                            reason: error.to_string(),
                        });
                    }
                }
                self.pending.retain(|worker| worker.ends.is_none());
                events
            }
            StatusMessage::BootFailed { code, text } => {
                vec![ForkServerEvent::LoadFailed { code, text }]
            }
            StatusMessage::Forked { slot, pid } => {
                let worker = self.take_requested(slot).map(|worker| WorkerProcess {
                    slot,
                    status: worker.status,
                    control: worker.control,
                    fork_server: Some(self.pid),
                });
                let event = worker.map(|worker| ForkServerEvent::Forked { pid, worker });
                event.into_iter().collect()
            }
            // A failure may be reported twice, by the intermediate process and by the fork server; it counts once.
            StatusMessage::ForkFailed { slot, text: reason } => {
                let worker = self.take_requested(slot);
                let event = worker.map(|_| ForkServerEvent::ForkFailed { slot, reason });
                event.into_iter().collect()
            }
            StatusMessage::Serving
            | StatusMessage::Heartbeat
            | StatusMessage::Stuck
            | StatusMessage::StuckThread
            | StatusMessage::Retiring
            | StatusMessage::Exiting
            | StatusMessage::Requested { .. } => Vec::new(),
        }
    }

    fn take_requested(&mut self, slot: usize) -> Option<RequestedWorker> {
        let place = self
            .pending
            .iter()
            .position(|worker| worker.slot == slot && worker.ends.is_none())?;
        Some(self.pending.swap_remove(place))
    }

    /// Removes the requests that were not answered, and returns their slots.
    pub(crate) fn take_pending(&mut self) -> Vec<usize> {
        self.pending.drain(..).map(|worker| worker.slot).collect()
    }

    /// Kills the process, which holds no state.
    pub(crate) fn kill(&self) {
        kill(self.pid);
    }
}

/// Waits until a killed process has closed its descriptors. Its listening sockets must not stay open after the draining
/// workers have closed theirs: the kernel would reset connections that arrive in between.
pub(crate) fn wait_until_dead(pid: u32) {
    let Some(pid) = to_pid(pid) else {
        return;
    };
    let give_up_at = Instant::now() + EXIT_TIMEOUT;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // It is reaped later with all other children.
    while let Ok(None) = waitid(WaitId::Pid(pid), options) {
        if Instant::now() >= give_up_at {
            return;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

impl RequestedWorker {
    /// Sends the worker's pipe ends to the fork server.
    fn send_request(&mut self, requests: &ForkRequestSender) -> io::Result<()> {
        if let Some((status, control)) = &self.ends {
            requests.send(self.slot, (status, control), &self.origin)?;
            self.ends = None;
            self.origin.pre_fork = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::fork_request::{ForkRequestReceiver, fork_request_channel};

    /// A fork server with pid 77 that was forked at `now`, and the channels of its process.
    fn fork_server(
        boot_timeout: Option<Duration>,
        now: Instant,
    ) -> (ForkServer, StatusSender, ForkRequestReceiver) {
        let (status, child_status) = status_channel().unwrap();
        let (requests, child_requests) = fork_request_channel().unwrap();
        let fork_server = ForkServer::new(77, (status, requests), boot_timeout, now);
        (fork_server, child_status, child_requests)
    }

    #[test]
    fn workers_are_requested_once_the_application_is_loaded_and_reported_once() {
        let now = Instant::now();
        let (mut fork_server, status, requests) = fork_server(Some(Duration::from_secs(5)), now);
        fork_server
            .request_worker(4, WorkerOrigin::default(), now)
            .unwrap();
        assert!(requests.next().unwrap().is_none());
        assert_eq!(fork_server.deadline(), Some(now + Duration::from_secs(5)));
        status.send(&StatusMessage::Forked { slot: 4, pid: 1 });
        assert!(fork_server.read(now).is_empty(), "no request was sent yet");
        status.send(&StatusMessage::Ready);
        assert!(matches!(
            fork_server.read(now).as_slice(),
            [ForkServerEvent::Loaded]
        ));
        assert!(fork_server.is_loaded());
        let later = now + Duration::from_secs(60);
        fork_server
            .request_worker(9, WorkerOrigin::default(), later)
            .unwrap();
        // The last answer restarts the timeout, so the request that was made first is not late yet.
        assert_eq!(fork_server.deadline(), Some(now + Duration::from_secs(5)));
        let slots = [(); 2].map(|()| requests.next().unwrap().unwrap().slot);
        assert_eq!(slots, [4, 9]);
        for _ in 0..2 {
            status.send(&StatusMessage::ForkFailed {
                slot: 9,
                text: "no memory".to_owned(),
            });
        }
        status.send(&StatusMessage::Forked { slot: 4, pid: 123 });
        assert!(matches!(
            fork_server.read(now).as_slice(),
            [
                ForkServerEvent::ForkFailed { slot: 9, .. },
                ForkServerEvent::Forked {
                    pid: 123,
                    worker: WorkerProcess { slot: 4, .. }
                }
            ]
        ));
        assert!(fork_server.take_pending().is_empty());
    }

    #[test]
    fn without_a_boot_timeout_loading_has_no_limit_and_a_fork_has_one() {
        let now = Instant::now();
        let (mut fork_server, status, _requests) = fork_server(None, now);
        fork_server
            .request_worker(4, WorkerOrigin::default(), now)
            .unwrap();
        assert_eq!(fork_server.deadline(), None);
        status.send(&StatusMessage::Ready);
        let loaded = now + Duration::from_secs(3600);
        fork_server.read(loaded);
        assert_eq!(fork_server.deadline(), Some(loaded + FORK_TIMEOUT));
        let message = fork_server.timeout_message();
        assert!(
            message.contains("not forked a worker within 10.00 s"),
            "{message}"
        );
        status.send(&StatusMessage::Forked { slot: 4, pid: 123 });
        fork_server.read(loaded);
        assert_eq!(fork_server.deadline(), None, "no request is pending");
    }

    #[test]
    fn requests_to_a_fork_server_that_has_exited_fail() {
        let now = Instant::now();
        let (mut fork_server, status, requests) = fork_server(None, now);
        fork_server
            .request_worker(1, WorkerOrigin::default(), now)
            .unwrap();
        fork_server
            .request_worker(2, WorkerOrigin::default(), now)
            .unwrap();
        drop(requests);
        status.send(&StatusMessage::Ready);
        let events = fork_server.read(now);
        assert_eq!(events.len(), 3, "loaded, and two failed requests");
        assert!(fork_server.take_pending().is_empty());
        assert!(
            fork_server
                .request_worker(3, WorkerOrigin::default(), now)
                .is_err()
        );
        assert!(fork_server.take_pending().is_empty());
    }
}
