//! Makes the event loops of a worker.
//!
//! Each has parts of its own for all that a request writes: poller, connections, timers, queue, threads, admission,
//! handlers with what they keep, ids, memory for bodies, buffers of logs, counters. So nothing that two event loops
//! write is on the path of a request. They share what is only read (settings, application, certificates), what the
//! worker shares with others anyway (memory of all processes, the error log), threads that wait for disks, and how the
//! worker ends.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lockgate_config::{Config, Endpoint, TlsConfig};
use lockgate_http::Limits;
use lockgate_observe::{AccessFormat, Scoreboard, WorkerSlot};
use lockgate_routes::Routes;
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{Log, Rates};
use lockgate_tls::Acceptor;
use rustix::process::{Resource, getrlimit};

use super::thread::WorkerThread;
use crate::admission::{self, Admission};
use crate::app::{App, Counted};
use crate::blocking_pool::BlockingPool;
use crate::connection::inbox::Inbox;
use crate::event_loop::EventLoop;
use crate::event_loop::accepting::Accepting;
use crate::event_loop::context::{Context, Lifecycle, Reports};
use crate::event_loop::handle::SharedEventLoop;
use crate::event_loop::listeners::AddressCounts;
use crate::exchange::body::buffer::BodyPool;
use crate::exchange::body::spool::BodyStore;
use crate::exchange::client_identity::TrustedProxies;
use crate::exchange::deadlines::Deadlines;
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
use crate::protocol::Protocols;
use crate::thread_pool::ThreadPool;
use crate::thread_pool::bulkheads::Bulkheads;
use crate::transport::cork::Cork;
use crate::transport::descriptors::budget::DescriptorBudget;
use crate::users::UserGuards;
use crate::worker_end::WorkerEnd;

/// What the event loops of a worker share.
pub(super) struct Shared {
    pub config: Arc<Config>,
    pub app: Arc<dyn App>,
    pub error_log: Arc<ErrorLog>,
    pub acceptor: Option<Arc<Acceptor>>,
    pub broadcast: Option<Log>,
    pub responses: Option<ResponseStore>,
    pub spans: Option<Log>,
    /// What all workers and the supervisor share.
    pub scoreboard: Option<Scoreboard>,
    pub rates: Option<Rates>,
    /// The number of this worker in `rates`.
    pub rates_slot: usize,
    pub endpoints: Vec<Endpoint>,
    pub owns_process: bool,
    pub panic_guard: PanicGuard,
    pub addresses: AddressCounts,
    /// For work that may wait for a disk.
    pub blocking: BlockingPool,
    /// For work that computes for long.
    pub computing: BlockingPool,
    pub end: Arc<WorkerEnd>,
}

/// What one event loop has to itself from the start.
pub(super) struct Own {
    pub listeners: Vec<(Endpoint, OwnedFd)>,
    /// Its place among those that accept from the same listeners, and for its counters.
    pub worker_slot: Option<WorkerSlot>,
    pub inbox: Arc<Inbox>,
    pub descriptors: Arc<DescriptorBudget>,
    /// Whether it reports what concerns the whole worker.
    pub is_first: bool,
}

/// For each of `count` event loops its own parts.
///
/// # Errors
/// When the system refuses a descriptor.
pub(super) fn divide(
    count: usize,
    listeners: Vec<(Endpoint, OwnedFd)>,
    worker_slot: Option<WorkerSlot>,
    inboxes: &[Arc<Inbox>],
    config: &Config,
) -> io::Result<Vec<Own>> {
    let duplicate = |_| {
        let sockets = listeners.iter();
        sockets
            .map(|(endpoint, socket)| Ok((endpoint.clone(), socket.try_clone()?)))
            .collect()
    };
    let duplicates: Vec<_> = (1..count).map(duplicate).collect::<io::Result<_>>()?;
    let files = handlers::static_files::descriptors(config) * count;
    // The pollers are still to come.
    let budgets = DescriptorBudget::shared(
        count,
        config.worker_connections,
        getrlimit(Resource::Nofile).current,
        count_descriptors() + (files + count) as u64,
    );
    let own = std::iter::once(listeners)
        .chain(duplicates)
        .zip(worker_slots(count, worker_slot))
        .zip(inboxes)
        .zip(budgets)
        .enumerate();
    let all = own.map(
        |(index, (((listeners, worker_slot), inbox), descriptors))| Own {
            listeners,
            worker_slot,
            inbox: Arc::clone(inbox),
            descriptors: Arc::new(descriptors),
            is_first: index == 0,
        },
    );
    Ok(all.collect())
}

/// The places of the event loops on the scoreboard. Without one they see each other on a scoreboard of their own.
fn worker_slots(count: usize, first: Option<WorkerSlot>) -> Vec<Option<WorkerSlot>> {
    match first {
        Some(first) => {
            let further: Vec<_> = (1..count).map(|number| first.event_loop(number)).collect();
            std::iter::once(Some(first)).chain(further).collect()
        }
        None if count > 1 => {
            let own = Scoreboard::without_counters(count);
            (0..count).map(|number| own.worker_slot(number)).collect()
        }
        None => vec![None],
    }
}

/// Makes an event loop and what its threads need.
///
/// # Errors
/// When the system refuses a descriptor or a thread, or a log cannot be opened.
pub(super) fn make(shared: &Shared, own: Own) -> io::Result<WorkerThread> {
    let (config, error_log) = (&shared.config, &shared.error_log);
    let panic_guard = &shared.panic_guard;
    let inbox = own.inbox;
    let worker_slot = own.worker_slot;
    let app = match shared.end.has_one_event_loop() {
        true => Arc::clone(&shared.app),
        false => Arc::new(Counted(Arc::clone(&shared.app))),
    };
    let access_log = access_log(config, error_log, panic_guard)?;
    let statsd = Statsd::start(
        &config.statsd,
        &own.listeners,
        worker_slot.as_ref().filter(|_| own.is_first),
        error_log,
        panic_guard,
    )?;
    let routes = Arc::new(Routes::new(&config.routes));
    let ids = (config.identity.is_on()).then(|| Arc::new(IdGenerator::seeded()));
    let users = UserGuards::new(&routes, error_log, panic_guard)?;
    let admission = Admission::new(&admission::Parts {
        users: users.clone(),
        config,
        routes: &routes,
        ids: ids.as_ref(),
        scoreboard: shared.scoreboard,
        rates: shared.rates,
        slot: shared.rates_slot,
        error_log,
    })?;
    let handlers = handlers::all(&handlers::Parts {
        config,
        app: &app,
        endpoints: &shared.endpoints,
        acceptor: shared.acceptor.as_ref(),
        has_admission: admission.is_some(),
        scoreboard: shared.scoreboard,
        routes: &routes,
        users: users.as_ref(),
        broadcast: shared.broadcast,
        responses: shared.responses,
        error_log,
        blocking: &shared.blocking,
        computing: &shared.computing,
        resume: &(Arc::clone(&inbox) as Arc<dyn Resume>),
        panic_guard,
    })?;
    let pool = Arc::new(ThreadPool::new(
        config.max_threads(),
        config.thread_idle_timeout,
        config.switch_interval,
    ));
    let route_limits = RouteLimits::new(config, &routes);
    let bulkheads = route_limits.clone().map(|limits| {
        let (pool, inbox) = (Arc::clone(&pool), Arc::clone(&inbox));
        let wake = Box::new(move || inbox.wake());
        Arc::new(Bulkheads::new(limits, config.queue_size, pool, wake))
    });
    let context = Arc::new(Context {
        acceptor: shared.acceptor.clone(),
        broadcast: shared.broadcast,
        limits: Arc::new(limits_of(config)),
        admission,
        ids,
        uses_tls_info: uses_tls_info(&config.tls, &routes),
        server_header: config.server_header.clone().map(String::into_bytes),
        hsts: config.tls.hsts.clone().map(String::into_bytes),
        app,
        pool,
        bulkheads,
        blocking: shared.blocking.clone(),
        inbox,
        cork: Cork::new(),
        bodies: BodyStore {
            memory: config.body_memory,
            pool: Arc::new(BodyPool::new(
                config.body_memory_total / config.event_loops.max(1),
            )),
            directory: config.spool_dir.clone(),
            descriptors: Arc::clone(&own.descriptors),
        },
        descriptors: own.descriptors,
        proxies: TrustedProxies::new(&config.proxies),
        metrics: WorkerMetrics::open(
            worker_slot.as_ref(),
            are_counts_read(config),
            statsd,
            config,
        ),
        access_log,
        spans: (shared.spans).map(|log| SpanWriter::new(log, config.log_style.shows_queries)),
        error_log: Arc::clone(error_log),
        reports: Reports::default(),
        lifecycle: Lifecycle {
            is_over: AtomicBool::new(false),
            worker: Arc::clone(&shared.end),
            owns_process: shared.owns_process,
            panic_guard: panic_guard.clone(),
        },
        deadlines: Deadlines::new(config, route_limits).map(Arc::new),
        config: Arc::clone(config),
    });
    let accepting = Accepting::new(own.listeners, worker_slot, shared.addresses.clone())?;
    let event_loop = EventLoop::new(Arc::clone(&context), accepting, handlers)?;
    let event_loop = Arc::new(SharedEventLoop::new(event_loop, Arc::clone(&context)));
    Ok(WorkerThread {
        protocols: Protocols {
            context: Arc::clone(&context),
            event_loop: Arc::clone(&event_loop),
        },
        event_loop,
        context,
    })
}

fn access_log(
    config: &Config,
    error_log: &Arc<ErrorLog>,
    panic_guard: &PanicGuard,
) -> io::Result<Option<Arc<AccessLog>>> {
    let Some(target) = &config.access_log else {
        return Ok(None);
    };
    let format = AccessFormat::parse(&config.access_log_format)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    let has_traces = config.identity.traces();
    let error_log = Arc::clone(error_log);
    AccessLog::start(format, has_traces, target, error_log, panic_guard).map(Some)
}

fn uses_tls_info(config: &TlsConfig, routes: &Routes) -> bool {
    let is_needed = (routes.all().iter()).any(|rules| rules.client_certificate.is_some());
    is_needed || config.has_ssl_variables() || config.client_certificate_user.is_some()
}

/// Whether any setting reads the response counts.
fn are_counts_read(config: &Config) -> bool {
    config.admin_bind.is_some()
        || config.canary_period.is_some()
        || config.statsd.address.is_some()
        || config.uwsgi.shows_counters()
        || (config.identity.otlp.as_ref()).is_some_and(|otlp| otlp.metrics)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The allocator puts parts of several event loops beside each other: two inboxes could have a cache line in common.
    #[test]
    fn what_requests_write_is_on_cache_lines_of_one_event_loop() {
        for (part, alignment) in [
            ("application", align_of::<Counted>()),
            ("bodies", align_of::<BodyPool>()),
            ("context", align_of::<Context>()),
            ("event loop", align_of::<SharedEventLoop>()),
            ("ids", align_of::<IdGenerator>()),
            ("inbox", align_of::<Inbox>()),
            ("threads", align_of::<ThreadPool>()),
        ] {
            assert!(alignment >= 64, "{part}: {alignment}");
        }
    }
}
