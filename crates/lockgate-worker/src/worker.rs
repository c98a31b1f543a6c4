//! Starts a worker and provides its handle: drain, stop, reopen logs, check for a stuck worker.

mod broadcast_reader;
mod deadline_watcher;
mod thread;
pub mod warm_up;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockgate_config::{Config, Endpoint, Scheme, TlsConfig};
use lockgate_http::Limits;
use lockgate_observe::{AccessFormat, Level, WorkerSlot};
use lockgate_routes::Routes;
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{Log, Rates};
use lockgate_tls::Acceptor;
use rustix::process::{Resource, getrlimit};

use self::thread::WorkerThread;
use crate::admission::{self, Admission};
use crate::app::App;
use crate::blocking_pool::BlockingPool;
use crate::connection::inbox::{Inbox, Returned, StopMode};
use crate::event_loop::EventLoop;
use crate::event_loop::context::{Context, Lifecycle, Reports};
use crate::event_loop::handle::SharedEventLoop;
use crate::exchange::body::buffer::BodyPool;
use crate::exchange::body::spool::BodyStore;
use crate::exchange::client_identity::TrustedProxies;
use crate::exchange::deadlines::{self, AskForReplacement, Deadlines};
use crate::exchange::handler::Resume;
use crate::exchange::request_id::IdGenerator;
use crate::exchange::route_limits::{RouteLimits, largest_body};
use crate::handlers;
use crate::helper_thread::PanicGuard;
use crate::log::ErrorLog;
use crate::log::access_log::AccessLog;
use crate::log::spans::SpanWriter;
use crate::metrics::WorkerMetrics;
use crate::metrics::statsd::Statsd;
use crate::os::count_descriptors;
use crate::poller::Latch;
use crate::protocol::Protocols;
use crate::thread_pool::ThreadPool;
use crate::thread_pool::bulkheads::Bulkheads;
use crate::transport::cork::Cork;
use crate::transport::descriptors::budget::DescriptorBudget;
use crate::users::UserGuards;

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
        let panic_guard = PanicGuard::default();
        let access_log = match &config.access_log {
            None => None,
            Some(target) => {
                let format = AccessFormat::parse(&config.access_log_format).map_err(|error| {
                    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
                })?;
                let error_log = Arc::clone(&error_log);
                Some(AccessLog::start(
                    format,
                    config.identity.traces(),
                    target,
                    error_log,
                    &panic_guard,
                )?)
            }
        };
        let statsd = Statsd::start(
            &config.statsd,
            &listeners,
            worker_slot.as_ref(),
            &error_log,
            &panic_guard,
        )?;
        let descriptors = Arc::new(DescriptorBudget::new(
            config.worker_connections,
            getrlimit(Resource::Nofile).current,
            count_descriptors() + handlers::static_files::descriptors(&config) as u64,
        ));
        let finished = Latch::new()?;
        let inbox = Arc::new(Inbox::new()?);
        let blocking = BlockingPool::for_disks(panic_guard.clone());
        let routes = Arc::new(Routes::new(&config.routes));
        let ids = (config.identity.is_on()).then(|| Arc::new(IdGenerator::seeded()));
        let users = UserGuards::new(&routes, &error_log, &panic_guard)?;
        let admission = Admission::new(&admission::Parts {
            users: users.clone(),
            config: &config,
            routes: &routes,
            ids: ids.as_ref(),
            scoreboard: worker_slot.as_ref().map(WorkerSlot::scoreboard),
            rates,
            slot: worker_slot.as_ref().map_or(0, WorkerSlot::number),
            error_log: &error_log,
        })?;
        let handlers = handlers::all(&handlers::Parts {
            config: &config,
            app: &app,
            endpoints: &endpoints,
            acceptor: acceptor.as_ref(),
            has_admission: admission.is_some(),
            scoreboard: worker_slot.as_ref().map(WorkerSlot::scoreboard),
            routes: &routes,
            users: users.as_ref(),
            broadcast,
            responses,
            error_log: &error_log,
            blocking: &blocking,
            computing: &BlockingPool::for_computing(panic_guard.clone()),
            resume: &(Arc::clone(&inbox) as Arc<dyn Resume>),
            panic_guard: &panic_guard,
        })?;
        let pool = Arc::new(ThreadPool::new(
            config.max_threads(),
            config.thread_idle_timeout,
            config.switch_interval,
        ));
        let route_limits = RouteLimits::new(&config, &routes);
        let bulkheads = route_limits.clone().map(|limits| {
            let (pool, inbox) = (Arc::clone(&pool), Arc::clone(&inbox));
            let wake = Box::new(move || inbox.wake());
            Arc::new(Bulkheads::new(limits, config.queue_size, pool, wake))
        });
        let context = Arc::new(Context {
            acceptor,
            broadcast,
            limits: Arc::new(limits_of(&config)),
            admission,
            ids,
            uses_tls_info: uses_tls_info(&config.tls, &routes),
            server_header: config.server_header.clone().map(String::into_bytes),
            hsts: config.tls.hsts.clone().map(String::into_bytes),
            app,
            pool,
            bulkheads,
            blocking,
            inbox,
            cork: Cork::new(),
            bodies: BodyStore {
                memory: config.body_memory,
                pool: Arc::new(BodyPool::new(config.body_memory_total)),
                directory: config.spool_dir.clone(),
                descriptors: Arc::clone(&descriptors),
            },
            descriptors,
            proxies: TrustedProxies::new(&config.proxies),
            metrics: WorkerMetrics::open(
                worker_slot.as_ref(),
                are_counts_read(&config),
                statsd,
                &config,
            ),
            access_log,
            spans: spans.map(|log| SpanWriter::new(log, config.log_style.shows_queries)),
            error_log,
            reports: Reports::default(),
            lifecycle: Lifecycle {
                finished,
                is_finished: AtomicBool::new(false),
                has_failed: AtomicBool::new(false),
                owns_process,
                panic_guard,
            },
            deadlines: Deadlines::new(&config, route_limits).map(Arc::new),
            config,
        });
        let event_loop = EventLoop::new(Arc::clone(&context), listeners, handlers, worker_slot)?;
        let event_loop = Arc::new(SharedEventLoop::new(event_loop, Arc::clone(&context)));
        let thread = WorkerThread {
            protocols: Protocols {
                context: Arc::clone(&context),
                event_loop: Arc::clone(&event_loop),
            },
            event_loop,
            context,
        };
        let handle = Handle {
            thread,
            progress: Arc::new(Mutex::new(((0, 0), Instant::now()))),
        };
        // Those that run already would keep the listeners.
        start_threads(&handle.thread).inspect_err(|_| handle.stop())?;
        Ok(handle)
    }
}

fn uses_tls_info(config: &TlsConfig, routes: &Routes) -> bool {
    let is_needed = (routes.all().iter()).any(|rules| rules.client_certificate.is_some());
    is_needed || config.has_ssl_variables() || config.client_certificate_user.is_some()
}

fn start_threads(thread: &WorkerThread) -> io::Result<()> {
    let context = &thread.context;
    let guarded = Arc::downgrade(context);
    context.lifecycle.panic_guard.on_panic(move |message| {
        if let Some(context) = guarded.upgrade() {
            context.report_fatal(message);
        }
    });
    if let Some(deadlines) = &context.deadlines {
        if let Some(warning) = deadlines::find_conflict(&context.config) {
            context.error_log.write(Level::Warning, &warning);
        }
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

/// Whether any setting reads the response counts.
fn are_counts_read(config: &Config) -> bool {
    config.admin_bind.is_some()
        || config.canary_period.is_some()
        || config.statsd.address.is_some()
        || config.uwsgi.shows_counters()
        || (config.identity.otlp.as_ref()).is_some_and(|otlp| otlp.metrics)
}

/// A running worker, for the thread that supervises it.
#[derive(Clone)]
pub struct Handle {
    pub(crate) thread: WorkerThread,
    /// The last progress that was seen, and since when it has been the same.
    progress: Arc<Mutex<((u64, u64), Instant)>>,
}

impl Handle {
    fn context(&self) -> &Context {
        &self.thread.context
    }

    fn inbox(&self) -> &Inbox {
        &self.thread.context.inbox
    }

    /// Starts accepting.
    pub fn open(&self) {
        self.inbox().push(Returned::Opening, true);
    }

    /// Continues accepting, behind the other workers on the same listeners: an idle one of them is woken first.
    pub fn give_way(&self) {
        self.inbox().push(Returned::GivingWay, true);
    }

    /// Accepts nothing new, finishes what is there, then ends. It may take its time: clients with a keep-alive
    /// connection get a response that is marked as the last one.
    pub fn retire(&self) {
        self.inbox().ask_to_stop(StopMode::Retire);
    }

    /// Accepts nothing new, finishes what is there, then ends.
    pub fn drain(&self) {
        self.inbox().ask_to_stop(StopMode::Drain);
    }

    /// Ends at once; running calls are abandoned, and end with the process.
    pub fn stop(&self) {
        self.inbox().ask_to_stop(StopMode::Stop);
        // With every thread in a call no thread leads; the caller does not want to wait for those calls.
        if let Some(mut event_loop) = self.thread.event_loop.try_lock() {
            event_loop.close_all();
            drop(event_loop);
            self.context().end();
        }
    }

    /// Reopens the log files.
    pub fn reopen_logs(&self) {
        let access = self
            .context()
            .access_log
            .as_ref()
            .map_or(Ok(()), |log| log.reopen());
        let error_log = &self.context().error_log;
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
        let is_finished = self.context().lifecycle.is_finished.load(Ordering::SeqCst);
        if !is_finished && self.inbox().stop_mode() == StopMode::Stop {
            // The event loop may have been locked at the moment of the stop and released for a long call since.
            self.stop();
        }
        is_finished
    }

    /// Whether the worker has ended because of its own fault, such as a panic, which the error log describes.
    pub fn has_failed(&self) -> bool {
        self.context().lifecycle.has_failed.load(Ordering::SeqCst)
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
        self.context().lifecycle.panic_guard.spawn(name, body)
    }

    /// Whether no call is running.
    pub fn is_idle(&self) -> bool {
        self.context().pool.saturation().is_empty()
    }

    /// Readable once the worker is finished.
    pub fn finished_fd(&self) -> BorrowedFd<'_> {
        self.context().lifecycle.finished.descriptor()
    }

    /// Sets the handler for calls that are stuck after their deadline. Without one the worker drains and ends when only
    /// such calls are left, or at once if they block everything else.
    pub fn set_replacement(&self, ask: AskForReplacement) {
        if let Some(deadlines) = &self.context().deadlines {
            deadlines.set_replacement(ask);
        }
    }

    /// Whether no thread has led the event loop for longer than this: with `threads = 1`, a call that does not end and
    /// streams nothing; with more threads one of them always leads. Has to be called once a second.
    pub fn is_stuck(&self, longer_than: Duration) -> bool {
        let progress = self.context().pool.progress();
        let mut watched = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.0 == 0 || watched.0 != progress {
            *watched = (progress, Instant::now());
        }
        progress.0 != 0 && watched.1.elapsed() > longer_than
    }
}

pub(crate) fn limits_of(config: &Config) -> Limits {
    Limits {
        request_line: config.limits.request_line,
        fields: config.limits.request_fields,
        field_size: config.limits.request_field_size,
        head: config.limits.request_head,
        body: largest_body(config),
        chunk_line: config.limits.chunk_line,
        trailers: config.limits.trailers,
    }
}
