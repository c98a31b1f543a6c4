//! Starts a worker and provides its handle: drain, stop, reopen logs, check for a stuck worker.

mod broadcast_reader;
mod deadline_watcher;
mod parts;
mod thread;
pub mod warm_up;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use lockgate_config::{Config, Endpoint, Scheme};
use lockgate_observe::{Level, WorkerSlot};
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{Log, Rates};
use lockgate_tls::Acceptor;

use self::parts::Shared;
pub(crate) use self::parts::limits_of;
use self::thread::WorkerThread;
use crate::admission;
use crate::app::App;
use crate::blocking_pool::BlockingPool;
use crate::connection::inbox::{Inbox, Returned, StopMode};
use crate::event_loop::context::Context;
use crate::event_loop::listeners::AddressCounts;
use crate::exchange::deadlines::{self, AskForReplacement, ReplaceReason};
use crate::helper_thread::PanicGuard;
use crate::log::ErrorLog;
use crate::worker_end::WorkerEnd;

/// Starts workers.
pub struct Worker;

/// What a worker is made of.
pub struct Resources {
    /// The settings.
    pub config: Arc<Config>,
    /// The listening sockets, which all workers share.
    pub listeners: Vec<(Endpoint, OwnedFd)>,
    /// The application.
    pub app: Arc<dyn App>,
    /// The error log.
    pub error_log: Arc<ErrorLog>,
    /// Its place on the scoreboard that the workers share.
    pub worker_slot: Option<WorkerSlot>,
    /// Needed if one of the listeners speaks TLS.
    pub acceptor: Option<Arc<Acceptor>>,
    /// The log through which messages are published, if `push` is on.
    pub broadcast: Option<Log>,
    /// The memory of the response cache, if `cache` is on.
    pub responses: Option<ResponseStore>,
    /// What the rate limits of all workers count; without it this worker counts alone.
    pub rates: Option<Rates>,
    /// Where spans are recorded, if `otlp` is set.
    pub spans: Option<Log>,
    /// Whether the process belongs to this worker, which may then end it, and a supervisor starts another one.
    pub owns_process: bool,
}

impl Worker {
    /// Takes over the listeners and starts the thread pool; the calling thread stays free.
    ///
    /// # Errors
    /// When the system refuses a descriptor or a thread, or the access log cannot be opened.
    pub fn start(
        config: Arc<Config>,
        listeners: Vec<(Endpoint, OwnedFd)>,
        app: Arc<dyn App>,
        error_log: Arc<ErrorLog>,
    ) -> io::Result<Handle> {
        Self::start_among(config, listeners, app, error_log, None)
    }

    /// As [`Worker::start`], for one of several workers on the same listeners: with a worker slot on the scoreboard
    /// that they share, none of them holds clearly more connections than the others while the others accept theirs.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn start_among(
        config: Arc<Config>,
        listeners: Vec<(Endpoint, OwnedFd)>,
        app: Arc<dyn App>,
        error_log: Arc<ErrorLog>,
        worker_slot: Option<WorkerSlot>,
    ) -> io::Result<Handle> {
        let handle = Self::prepare(Resources {
            config,
            listeners,
            app,
            error_log,
            worker_slot,
            acceptor: None,
            broadcast: None,
            responses: None,
            rates: None,
            spans: None,
            owns_process: true,
        })?;
        handle.open();
        Ok(handle)
    }

    /// As [`Worker::start_among`], for a worker that accepts nothing before [`Handle::open`]. All errors of starting
    /// happen here.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn prepare(resources: Resources) -> io::Result<Handle> {
        let Resources {
            config,
            listeners,
            app,
            error_log,
            worker_slot,
            acceptor,
            broadcast,
            responses,
            rates,
            spans,
            owns_process,
        } = resources;
        let endpoints: Vec<_> = (listeners.iter())
            .map(|(endpoint, _)| endpoint.clone())
            .collect();
        let secure = endpoints.iter().find(|at| at.scheme == Scheme::Https);
        if let (Some(endpoint), None) = (secure, &acceptor) {
            let problem = format!("{endpoint} needs certificates, and there is no acceptor");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let count = config.event_loops.max(1);
        let inboxes = (0..count)
            .map(|_| Inbox::new().map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?;
        let panic_guard = PanicGuard::default();
        let slot = worker_slot.as_ref();
        let (rates, rates_slot) = match rates {
            Some(rates) => (Some(rates), slot.map_or(0, WorkerSlot::number)),
            // Each event loop would count alone.
            None if count > 1 => (admission::own_rates(&config), 0),
            None => (None, 0),
        };
        let shared = Shared {
            app,
            error_log,
            acceptor,
            broadcast,
            responses,
            spans,
            scoreboard: slot.map(WorkerSlot::scoreboard),
            rates,
            rates_slot,
            endpoints,
            owns_process,
            addresses: AddressCounts::default(),
            blocking: BlockingPool::for_disks(panic_guard.clone()),
            computing: BlockingPool::for_computing(panic_guard.clone()),
            panic_guard,
            end: Arc::new(WorkerEnd::new(inboxes.clone())?),
            config,
        };
        let own = parts::divide(count, listeners, worker_slot, &inboxes, &shared.config)?;
        let event_loops: Vec<Watched> = own
            .into_iter()
            .map(|own| parts::make(&shared, own).map(Watched::new))
            .collect::<io::Result<_>>()?;
        let handle = Handle {
            event_loops: event_loops.into(),
        };
        handle.end_on_panic(&shared.panic_guard);
        handle.report_conflict();
        for one in handle.event_loops.iter() {
            // Those that run already would keep the listeners.
            start_threads(&one.thread).inspect_err(|_| handle.stop())?;
        }
        Ok(handle)
    }
}

fn start_threads(thread: &WorkerThread) -> io::Result<()> {
    let context = &thread.context;
    if let Some(deadlines) = &context.deadlines {
        deadline_watcher::start(context, deadlines)?;
    }
    if let Some(log) = context.broadcast {
        broadcast_reader::start(context, log)?;
    }
    for _ in 0..context.pool.initial_threads() {
        context.pool.register();
        let member = thread.clone();
        let body = Box::new(move || member.run());
        context.app.spawn(thread::NAME.to_owned(), body)?;
    }
    Ok(())
}

/// A running worker, for the thread that supervises it.
#[derive(Clone)]
pub struct Handle {
    event_loops: Arc<[Watched]>,
}

/// An event loop of a running worker.
struct Watched {
    thread: WorkerThread,
    /// The last progress that was seen, and since when it has been the same.
    progress: Mutex<((u64, u64), Instant)>,
}

impl Watched {
    fn new(thread: WorkerThread) -> Self {
        Self {
            thread,
            progress: Mutex::new(((0, 0), Instant::now())),
        }
    }

    fn context(&self) -> &Context {
        &self.thread.context
    }

    fn stop(&self) {
        self.context().inbox.ask_to_stop(StopMode::Stop);
        // With every thread in a call no thread leads; the caller does not want to wait for those calls.
        if let Some(mut event_loop) = self.thread.event_loop.try_lock() {
            event_loop.close_all();
            drop(event_loop);
            self.context().end();
        }
    }

    /// Whether nothing is left to do.
    fn is_over(&self) -> bool {
        let is_over = self.context().lifecycle.is_over.load(Ordering::SeqCst);
        if !is_over && self.context().inbox.stop_mode() == StopMode::Stop {
            // The event loop may have been locked at the moment of the stop and released for a long call since.
            self.stop();
        }
        is_over
    }

    fn is_stuck(&self, longer_than: Duration) -> bool {
        let progress = self.context().pool.progress();
        let mut watched = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.0 == 0 || watched.0 != progress {
            *watched = (progress, Instant::now());
        }
        progress.0 != 0 && watched.1.elapsed() > longer_than
    }
}

impl Handle {
    /// What all event loops share is the same in each.
    fn first(&self) -> &Context {
        self.event_loops[0].context()
    }

    /// The thread of the first event loop, for tests that have no other.
    #[cfg(test)]
    pub(crate) fn thread(&self) -> &WorkerThread {
        &self.event_loops[0].thread
    }

    fn contexts(&self) -> impl Iterator<Item = &Context> {
        self.event_loops.iter().map(Watched::context)
    }

    /// A panic of a helper thread ends the worker, as long as it runs.
    fn end_on_panic(&self, guard: &PanicGuard) {
        let guarded: Vec<_> = (self.event_loops.iter())
            .map(|one| Arc::downgrade(&one.thread.context))
            .collect();
        guard.on_panic(move |message| {
            let mut contexts = guarded.iter().filter_map(Weak::upgrade);
            if let Some(context) = contexts.find(|context| !context.pool.is_over()) {
                context.report_fatal(message);
            }
        });
    }

    /// Logs that two deadlines do not fit together.
    fn report_conflict(&self) {
        let context = self.first();
        if context.deadlines.is_some()
            && let Some(warning) = deadlines::find_conflict(&context.config)
        {
            context.error_log.write(Level::Warning, &warning);
        }
    }

    /// Starts accepting.
    pub fn open(&self) {
        for context in self.contexts() {
            context.inbox.push(Returned::Opening, true);
        }
    }

    /// Continues accepting, behind the other workers on the same listeners: an idle one of them is woken first.
    pub fn give_way(&self) {
        for context in self.contexts() {
            context.inbox.push(Returned::GivingWay, true);
        }
    }

    /// Accepts nothing new, finishes what is there, then ends. It may take its time: clients with a keep-alive
    /// connection get a response that is marked as the last one.
    pub fn retire(&self) {
        self.first().lifecycle.worker.ask_to_stop(StopMode::Retire);
    }

    /// Accepts nothing new, finishes what is there, then ends.
    pub fn drain(&self) {
        self.first().lifecycle.worker.ask_to_stop(StopMode::Drain);
    }

    /// Ends at once; running calls are abandoned, and end with the process.
    pub fn stop(&self) {
        self.event_loops.iter().for_each(Watched::stop);
    }

    /// Reopens the log files.
    pub fn reopen_logs(&self) {
        let error_log = &self.first().error_log;
        let access_logs = self.contexts().filter_map(|one| one.access_log.as_ref());
        // Each event loop has the file open, and each tries: a failure of one of them is the failure of all.
        let outcomes: Vec<io::Result<()>> = access_logs.map(|log| log.reopen()).collect();
        let access = outcomes.into_iter().collect::<io::Result<()>>();
        for (setting, outcome) in [
            ("error_logfile", error_log.reopen()),
            ("access_logfile", access),
        ] {
            if let Err(error) = outcome {
                let message =
                    format!("cannot reopen {setting}: {error}; the old file stays in use");
                error_log.write(Level::Error, &message);
            }
        }
    }

    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        // Each is asked: one that was stopped in a long call ends here.
        let running = self.event_loops.iter().filter(|one| !one.is_over());
        running.count() == 0
    }

    /// Whether the worker has ended because of its own fault, such as a panic, which the error log describes.
    pub fn has_failed(&self) -> bool {
        self.first().lifecycle.worker.has_failed()
    }

    /// Starts a thread whose panic ends the worker.
    ///
    /// # Errors
    /// The system's error when it cannot start a thread.
    pub fn spawn_helper(
        &self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.first().lifecycle.panic_guard.spawn(name, body)
    }

    /// Whether no call is running.
    pub fn is_idle(&self) -> bool {
        self.contexts()
            .all(|context| context.pool.saturation().is_empty())
    }

    /// Readable once the worker is finished.
    pub fn finished_fd(&self) -> BorrowedFd<'_> {
        self.first().lifecycle.worker.finished.descriptor()
    }

    /// Sets the handler for calls that are stuck after their deadline. Without one the worker drains and ends when only
    /// such calls are left, or at once if they block everything else.
    pub fn set_replacement(&self, ask: AskForReplacement) {
        let ask: Arc<dyn Fn(ReplaceReason) + Send + Sync> = Arc::from(ask);
        for deadlines in self.contexts().filter_map(|one| one.deadlines.as_ref()) {
            let ask = Arc::clone(&ask);
            deadlines.set_replacement(Box::new(move |reason| ask(reason)));
        }
    }

    /// Whether no thread has led one of the event loops for longer than this: with `threads = 1`, a call that does not
    /// end and streams nothing; with more threads one of them always leads. Has to be called once a second.
    pub fn is_stuck(&self, longer_than: Duration) -> bool {
        // Each is asked, because each notes when it was asked.
        let stuck = (self.event_loops.iter()).filter(|one| one.is_stuck(longer_than));
        stuck.count() > 0
    }
}
