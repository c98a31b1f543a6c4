//! The worker as a whole: what its threads share, how it starts, drains and stops. Knows no Python, no supervisor.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use lockgate_config::{BindAddress, Config, Threads};
use lockgate_http::Limits;
use lockgate_observe::{AccessFormat, Level};

use crate::access_log::AccessLog;
use crate::app::App;
use crate::connection::{Connection, Next};
use crate::crew::{Crew, Post};
use crate::lane::{Job, Lane, Returned, Turn};
use crate::log::ErrorLog;
use crate::outbox::Flushed;
use crate::poller::Waker;
use crate::reply::Reply;
use crate::request::{Client, Request};

/// `threads = auto`: threads are only started for calls that are proven to wait, so the bound may be generous.
const AUTO_THREADS: usize = 128;

/// How a worker was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopMode {
    Serve,
    /// Finish what was accepted, then end.
    Drain,
    /// End now.
    Stop,
}

/// What all threads of a worker see.
pub(crate) struct Shared {
    pub config: Arc<Config>,
    pub limits: Limits,
    pub server_header: Option<Vec<u8>>,
    pub app: Arc<dyn App>,
    pub crew: Crew,
    pub access_log: Option<Arc<AccessLog>>,
    pub error_log: Arc<ErrorLog>,
    lane: Mutex<Lane>,
    returns: Mutex<Vec<Returned>>,
    has_returns: AtomicBool,
    is_polling: AtomicBool,
    waker: Waker,
    finished: Waker,
    is_finished: AtomicBool,
    stop: AtomicU8,
    watched: Mutex<(u64, Instant)>,
}

impl Shared {
    /// Whether responses may leave a connection open.
    pub fn keeps_connections(&self) -> bool {
        self.stop_mode() == StopMode::Serve && !self.config.keep_alive.is_zero()
    }

    pub fn stop_mode(&self) -> StopMode {
        match self.stop.load(Ordering::Relaxed) {
            0 => StopMode::Serve,
            1 => StopMode::Drain,
            _ => StopMode::Stop,
        }
    }

    /// Takes a connection whose response is complete from the crew thread that ran it.
    pub fn hand_in(self: &Arc<Self>, connection: Box<Connection>) {
        if self.crew.is_still_leading()
            && let Some(mut lane) = self.try_lane()
        {
            return lane.leave_unflushed(connection);
        }
        // The call has outlived its turn: nobody waits for it any more but its client.
        let mut connection = Some(connection);
        self.app.detached(&mut || {
            if let Some(connection) = connection.take() {
                self.finish_here(connection);
            }
        });
    }

    /// Drops a connection that a crew thread owns.
    pub fn discard(&self, connection: Box<Connection>) {
        let token = connection.slot.token();
        drop(connection);
        // Only bookkeeping: nobody needs to wake up for it, unless the end of the worker hangs on it.
        self.push_return(Returned::Closed(token), self.stop_mode() != StopMode::Serve);
    }

    /// Sends a response from the thread that made it, and leaves the connection where the lane finds it.
    fn finish_here(&self, mut connection: Box<Connection>) {
        match connection.flush() {
            Ok(Flushed::Blocked) => return self.push_return(Returned::Connection(connection), true),
            Ok(Flushed::All) => {}
            Err(_) => {
                connection.lose(Instant::now());
                return self.discard(connection);
            }
        }
        match connection.end_response(Instant::now()) {
            Next::Wait if !connection.has_input() && self.stop_mode() == StopMode::Serve => {}
            Next::Close => return self.discard(connection),
            _ => return self.push_return(Returned::Connection(connection), true),
        }
        let slot = Arc::clone(&connection.slot);
        let mut state = slot.lock();
        let needs_lane = state.pending.readable
            || state.pending.read_closed
            || state.pending.hung_up
            || state.armed.is_none_or(|armed| connection.deadline < armed);
        if needs_lane {
            drop(state);
            return self.push_return(Returned::Connection(connection), true);
        }
        state.pending = Default::default();
        state.connection = Some(connection);
    }

    fn push_return(&self, returned: Returned, wakes: bool) {
        self.returns.lock().unwrap_or_else(PoisonError::into_inner).push(returned);
        self.has_returns.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if wakes && self.is_polling.load(Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    pub fn pop_return(&self) -> Option<Returned> {
        if !self.has_returns.load(Ordering::Acquire) {
            return None;
        }
        let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        let returned = returns.pop();
        if returns.is_empty() {
            self.has_returns.store(false, Ordering::SeqCst);
        }
        returned
    }

    pub fn has_returns(&self) -> bool {
        self.has_returns.load(Ordering::SeqCst)
    }

    pub fn note_polling(&self, is_polling: bool) {
        self.is_polling.store(is_polling, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn try_lane(&self) -> Option<MutexGuard<'_, Lane>> {
        match self.lane.try_lock() {
            Ok(lane) => Some(lane),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => {
                self.report_fatal("a thread panicked while it led the lane; its connections cannot be trusted");
                None
            }
        }
    }

    /// A crew thread's life: a request, another, and between them whatever the crew needs. Runs attached.
    fn serve(self: &Arc<Self>) {
        let mut reply = Reply::default();
        let mut spare = None;
        loop {
            let mut next = None;
            self.app.detached(&mut || next = self.next_job(&mut spare));
            if self.crew.note_attached() {
                self.waker.wake();
            }
            let Some(mut job) = next else { return };
            loop {
                if self.crew.take_spawn_order() {
                    self.spawn_thread();
                }
                spare = Some(self.run(job, &mut reply));
                match self.continue_turn(&mut spare) {
                    Some(following) => job = following,
                    None => break,
                }
            }
        }
    }

    fn spawn_thread(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        if let Err(error) = self.app.spawn("lockgate-crew".to_owned(), Box::new(move || shared.serve())) {
            self.crew.strike_off();
            self.error_log.write(Level::Warning, &format!("cannot start another thread: {error}"));
        }
    }

    /// Calls the application, whatever it does.
    fn run(&self, mut job: Job, reply: &mut Reply) -> Box<Request> {
        reply.open(job.channel);
        let call = catch_unwind(AssertUnwindSafe(|| self.app.call(&mut job.request, reply)));
        if call.is_err() {
            self.error_log.write(Level::Critical, "a bug in the server: a request's thread panicked; the request gets 500");
        }
        if !reply.is_over() {
            reply.fail(500, "Internal Server Error");
        }
        job.request.clear();
        job.request
    }

    /// After a call, attached: the next request of the same turn, if the lane is still ours.
    fn continue_turn(&self, spare: &mut Option<Box<Request>>) -> Option<Job> {
        if !self.crew.is_still_leading() {
            // The lane is led by somebody else. A request that was kept for lack of threads runs here and now,
            // without giving the interpreter away in between.
            let job = self.crew.take_back();
            if job.is_some() {
                self.crew.begin_kept_call();
            }
            return job;
        }
        let mut lane = self.try_lane()?;
        if let Some(request) = spare.take() {
            lane.reuse(request);
        }
        if lane.must_flush(Instant::now()) || self.stop_mode() == StopMode::Stop || !self.crew.has_standby() {
            return None;
        }
        let job = self.crew.take_back().or_else(|| lane.take_ready())?;
        self.crew.begin_call(false);
        Some(job)
    }

    /// Outside the interpreter: leads, stands by or sleeps until there is a request for this thread. `None`: over.
    fn next_job(self: &Arc<Self>, spare: &mut Option<Box<Request>>) -> Option<Job> {
        loop {
            if self.crew.is_over() {
                return None;
            }
            if let Some(lane) = self.try_lane() {
                return self.lead(lane, spare);
            }
            match self.crew.report() {
                Post::Run(job) => {
                    self.crew.begin_kept_call();
                    return Some(job);
                }
                Post::StandBy => {}
                Post::Park if self.crew.wait_parked() => {}
                Post::Park => return None,
            }
            while self.crew.stand_by() {
                if let Some(lane) = self.try_lane() {
                    self.crew.leave_standby();
                    return self.lead(lane, spare);
                }
            }
        }
    }

    fn lead(self: &Arc<Self>, mut lane: MutexGuard<'_, Lane>, spare: &mut Option<Box<Request>>) -> Option<Job> {
        self.crew.note_led();
        if let Some(request) = spare.take() {
            lane.reuse(request);
        }
        loop {
            if lane.turn(self) == Turn::Over {
                self.end();
                return None;
            }
            let kept = if self.crew.can_take_back() { self.crew.take_back() } else { None };
            let Some(job) = kept.or_else(|| lane.take_ready()) else { continue };
            if self.crew.may_call() {
                self.crew.begin_call(true);
                return Some(job);
            }
            if let Some(job) = self.crew.put_back(job) {
                self.crew.begin_call(true);
                return Some(job);
            }
        }
    }

    fn end(&self) {
        self.crew.dismiss();
        if let Some(log) = &self.access_log {
            log.close();
        }
        self.is_finished.store(true, Ordering::SeqCst);
        self.finished.wake();
    }

    pub fn report_refusal(&self, client: &Client, refusal: &str) {
        let who = if client.host.is_empty() { "a client on a unix socket" } else { &client.host };
        self.error_log.write(Level::Debug, &format!("refused a request of {who}: {refusal}"));
    }

    pub fn report_spool_failure(&self, error: &io::Error) {
        let directory = self.config.spool_dir.as_deref().map_or_else(std::env::temp_dir, ToOwned::to_owned);
        let message = format!("cannot keep a request body in {}: {error}; the request is refused", directory.display());
        self.error_log.write(Level::Error, &message);
    }

    pub fn report_short_file(&self) {
        self.error_log.write(Level::Error, "a file became shorter while it was sent; the connection is closed");
    }

    pub fn report_accept_failure(&self, error: &io::Error) {
        let message = format!("cannot accept a connection: {error}; trying again in 0.1 s (see `ulimit -n`)");
        self.error_log.write(Level::Error, &message);
    }

    /// The worker cannot go on: it says why and ends; the supervisor starts another.
    pub fn report_fatal(&self, message: &str) {
        if !self.crew.is_over() {
            self.error_log.write(Level::Critical, message);
            self.stop.store(2, Ordering::SeqCst);
            self.end();
        }
    }
}

/// Starts workers.
pub struct Worker;

impl Worker {
    /// Takes over the listeners and starts the crew; the calling thread is free for other things.
    ///
    /// # Errors
    /// When the system refuses a descriptor or a thread, or the access log cannot be opened.
    pub fn start(
        config: Arc<Config>,
        listeners: Vec<(BindAddress, OwnedFd)>,
        app: Arc<dyn App>,
        error_log: Arc<ErrorLog>,
    ) -> io::Result<Handle> {
        let access_log = match &config.access_log {
            None => None,
            Some(target) => {
                let format = AccessFormat::parse(&config.access_log_format)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
                Some(AccessLog::start(format, target, Arc::clone(&error_log))?)
            }
        };
        let waker = Waker::new()?;
        let shared = Arc::new(Shared {
            limits: limits_of(&config),
            server_header: config.server_header.clone().map(String::into_bytes),
            crew: Crew::new(most_calls(&config)),
            lane: Mutex::new(Lane::new(listeners, &waker)?),
            app,
            access_log,
            error_log,
            returns: Mutex::default(),
            has_returns: AtomicBool::new(false),
            is_polling: AtomicBool::new(false),
            waker,
            finished: Waker::new()?,
            is_finished: AtomicBool::new(false),
            stop: AtomicU8::new(0),
            watched: Mutex::new((0, Instant::now())),
            config,
        });
        for _ in 0..shared.crew.first_threads() {
            shared.crew.enlist();
            let member = Arc::clone(&shared);
            shared.app.spawn("lockgate-crew".to_owned(), Box::new(move || member.serve()))?;
        }
        Ok(Handle { shared })
    }
}

/// A running worker, for the thread that looks after it.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Accepts nothing new, finishes what is there, then ends.
    pub fn drain(&self) {
        let _ = self.shared.stop.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
        self.shared.waker.wake();
    }

    /// Ends at once; running calls are left behind for the process to end.
    pub fn stop(&self) {
        self.shared.stop.store(2, Ordering::SeqCst);
        self.shared.waker.wake();
        // With every thread in a call nobody leads; those calls are what the caller does not want to wait for.
        if self.shared.try_lane().is_some() {
            self.shared.end();
        }
    }

    /// Opens log files anew.
    pub fn reopen_logs(&self) {
        let access = self.shared.access_log.as_ref().map_or(Ok(()), |log| log.reopen());
        for outcome in [self.shared.error_log.reopen(), access] {
            if let Err(error) = outcome {
                self.shared.error_log.write(Level::Error, &format!("cannot reopen a log file: {error}"));
            }
        }
    }

    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.shared.is_finished.load(Ordering::SeqCst)
    }

    /// Readable once the worker is finished.
    pub fn finished_fd(&self) -> BorrowedFd<'_> {
        self.shared.finished.descriptor()
    }

    /// Whether nobody has led the lane for longer than this: every thread is in a call that does not end.
    /// Has to be asked about once a second to be exact to a second.
    pub fn is_stuck(&self, longer_than: Duration) -> bool {
        let call = self.shared.crew.lane_call();
        let mut watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if call == 0 || watched.0 != call {
            *watched = (call, Instant::now());
        }
        call != 0 && watched.1.elapsed() > longer_than
    }
}

fn most_calls(config: &Config) -> usize {
    match config.threads {
        Threads::Auto => AUTO_THREADS,
        Threads::Count(count) => count.get(),
    }
}

fn limits_of(config: &Config) -> Limits {
    Limits {
        request_line: config.limits.request_line,
        fields: config.limits.request_fields,
        field_size: config.limits.request_field_size,
        head: config.limits.request_head,
        body: config.limits.request_body,
        ..Limits::default()
    }
}
