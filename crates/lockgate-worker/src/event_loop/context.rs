//! What an event loop, its connections and its threads share: settings, application, thread pool, logs and metrics. It
//! holds neither connections nor the event loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lockgate_config::Config;
use lockgate_http::http2::ConnectionError;
use lockgate_http::{Limits, Refusal};
use lockgate_observe::{GunicornEvent, Level, Outcome};
use lockgate_shm::Log;
use lockgate_tls::Acceptor;

use super::load_shedding::SheddingReport;
use crate::admission::Admission;
use crate::app::App;
use crate::blocking_pool::BlockingPool;
use crate::client::Client;
use crate::connection::inbox::{Inbox, StopMode};
use crate::exchange::body::minimum_rate::MinimumRate;
use crate::exchange::body::spool::{BodyStore, NotStored};
use crate::exchange::client_identity::TrustedProxies;
use crate::exchange::deadlines::Deadlines;
use crate::exchange::queue::LongestWait;
use crate::exchange::request::Request;
use crate::exchange::request_id::{IdGenerator, RequestId};
use crate::exchange::response_rules::ResponseRules;
use crate::exchange::route_limits::{RouteLimits, longest_wait};
use crate::exchange::writer::DropReason;
use crate::helper_thread::PanicGuard;
use crate::log::ErrorLog;
use crate::log::access_log::{AccessLog, Entry};
use crate::log::spans::SpanWriter;
use crate::log::throttle::{SharedThrottle, and_suppressed};
use crate::metrics::WorkerMetrics;
use crate::thread_pool::ThreadPool;
use crate::thread_pool::bulkheads::Bulkheads;
use crate::transport::cork::Cork;
use crate::transport::descriptors::budget::DescriptorBudget;
use crate::worker_end::WorkerEnd;

/// See the module documentation.
#[repr(align(64))]
pub struct Context {
    pub config: Arc<Config>,
    /// For listeners that speak TLS.
    pub acceptor: Option<Arc<Acceptor>>,
    /// What held connections get, if `push` is set.
    pub broadcast: Option<Log>,
    pub limits: Arc<Limits>,
    /// `None`: nothing is decided from heads alone.
    pub admission: Option<Arc<Admission>>,
    /// Makes the ids of requests and spans, if there are any.
    pub ids: Option<Arc<IdGenerator>>,
    /// The application, or a rule about client certificates, gets something of TLS sessions.
    pub uses_tls_info: bool,
    pub server_header: Option<Vec<u8>>,
    /// For responses over TLS.
    pub hsts: Option<Vec<u8>>,
    pub app: Arc<dyn App>,
    pub pool: Arc<ThreadPool>,
    /// `None`: no route limits its requests.
    pub bulkheads: Option<Arc<Bulkheads>>,
    /// For work that may wait for a disk.
    pub blocking: BlockingPool,
    pub inbox: Arc<Inbox>,
    pub cork: Cork,
    pub bodies: BodyStore,
    pub descriptors: Arc<DescriptorBudget>,
    pub proxies: TrustedProxies,
    pub metrics: WorkerMetrics,
    pub access_log: Option<Arc<AccessLog>>,
    /// Where spans are recorded, if they are sent.
    pub spans: Option<SpanWriter>,
    pub error_log: Arc<ErrorLog>,
    pub reports: Reports,
    pub lifecycle: Lifecycle,
    /// Set if a setting asks for calls to be watched.
    pub deadlines: Option<Arc<Deadlines>>,
}

/// When events that may recur many times were logged.
#[derive(Default)]
pub struct Reports {
    spool_failures: SharedThrottle,
    floods: SharedThrottle,
    lost_records: SharedThrottle,
    bad_pages: SharedThrottle,
    changed_files: SharedThrottle,
    shedding: SheddingReport,
}

/// How the event loop's end is announced, and the worker's.
pub struct Lifecycle {
    /// The event loop has ended.
    pub is_over: AtomicBool,
    pub worker: Arc<WorkerEnd>,
    /// The process may end with the worker, and another worker takes its place.
    pub owns_process: bool,
    pub panic_guard: PanicGuard,
}

impl Context {
    /// What changes responses to requests without a route.
    pub fn server_rules(&self) -> Option<Arc<ResponseRules>> {
        self.admission.as_ref()?.server_rules()
    }

    /// Whether responses may leave a connection open.
    pub fn keeps_connections(&self) -> bool {
        self.inbox.stop_mode() == StopMode::Serve && !self.config.keep_alive.is_zero()
    }

    /// The user who was verified by the server (`basic_auth`), or that the client's certificate names, if the operator
    /// asks for it (`client_certificate_user`), or the web server over the uwsgi protocol.
    pub fn user_of(&self, request: &Request) -> Option<Box<str>> {
        if let Some(user) = &request.admitted.user {
            return Some(user.clone());
        }
        match self.config.tls.client_certificate_user {
            Some(part) => request.certificate_user(part).map(Box::from),
            None => request.remote_user(),
        }
    }

    /// An id for a request that does not have one, because its head is faulty; `None`: requests have no ids.
    #[cold]
    pub fn new_request_id(&self) -> Option<RequestId> {
        let ids = (self.ids.as_ref()).filter(|_| self.config.identity.request_id);
        ids.map(|ids| ids.make())
    }

    /// Whether anything is recorded of each request.
    pub fn records_requests(&self) -> bool {
        self.access_log.is_some() || self.spans.is_some()
    }

    /// Records a request whose response has ended.
    pub fn record(
        &self,
        entry: &Entry,
        client: &Client,
        body_bytes: u64,
        outcome: Outcome,
        now: Instant,
    ) {
        if let Some(log) = &self.access_log {
            log.record(entry, client, body_bytes, outcome, now);
        }
        if let Some(spans) = &self.spans {
            spans.record(entry, client, outcome, now);
        }
    }

    /// How long a request may wait for a thread: a call without time left would be useless.
    pub fn longest_wait(&self) -> LongestWait<'_> {
        let config = &self.config;
        LongestWait {
            server: longest_wait(config.queue_timeout, config.request_timeout),
            routes: self.route_limits(),
        }
    }

    /// What routes set for requests that wait and run; `None`: nothing.
    pub fn route_limits(&self) -> Option<&RouteLimits> {
        self.bulkheads.as_ref().map(|bulkheads| bulkheads.limits())
    }

    /// How fast a client has to send a body.
    pub fn body_rate(&self) -> MinimumRate {
        MinimumRate {
            bytes_per_second: self.config.body_min_rate,
            grace: self.config.body_timeout,
        }
    }

    /// How fast a client has to take a response.
    pub fn write_rate(&self) -> MinimumRate {
        MinimumRate {
            bytes_per_second: self.config.write_min_rate,
            grace: self.config.write_timeout,
        }
    }

    pub fn report_refusal(&self, client: &Client, refusal: &str) {
        if self.error_log.is_gunicorns() {
            let event = GunicornEvent::InvalidRequest {
                ip: client.host().to_owned(),
                error: refusal.to_owned(),
            };
            for (level, line) in event.lines() {
                self.error_log.write_unless_blocked(level, &line);
            }
            return;
        }
        self.error_log.write_unless_blocked(
            Level::Debug,
            &format!("refused a request from {}: {refusal}", client.shown()),
        );
    }

    /// Logs, once, that headers about the client were removed.
    pub fn report_stripping(&self, peer: &Client) {
        if self.proxies.reports_stripping() {
            self.error_log.write_unless_blocked(
                Level::Warning,
                &format!(
                    "removed forwarding headers (X-Forwarded-For, Forwarded or similar) sent by {}, which is not in \
                     forwarded_allow_ips; if it is your proxy, add it there (logged once)",
                    peer.shown()
                ),
            );
        }
    }

    /// Logs, from time to time, that a connection without a valid PROXY header is refused.
    pub fn report_refused_connection(
        &self,
        refusal: Refusal,
        reason: &str,
        client: &Client,
        now: Instant,
    ) {
        if let Some(suppressed) = self.proxies.warnings.record(refusal, now) {
            let more = and_suppressed(suppressed);
            let client = client.shown();
            self.error_log.write_unless_blocked(
                Level::Warning,
                &format!("refused a connection from {client}: {reason}{more}"),
            );
        }
    }

    /// Logs that requests are refused, from time to time.
    pub fn report_overload(&self, why: DropReason, now: Instant) {
        let has_route_limits = self.bulkheads.is_some();
        let shedding = &self.reports.shedding;
        if let Some(warning) = shedding.warning(why, &self.config, has_route_limits, now) {
            self.error_log
                .write_unless_blocked(Level::Warning, &warning);
        }
    }

    pub fn report_spool_failure(&self, reason: &NotStored, now: Instant) {
        let Some(suppressed) = self.reports.spool_failures.record(now) else {
            return;
        };
        let others = suppressed;
        let NotStored::Disk(error) = reason else {
            let message = format!(
                "cannot store a request body on disk: {} bodies on disk and the open connections use all descriptors \
                 (`ulimit -n`) that are not reserved for the application; the request is refused with 503{others}",
                self.descriptors.files()
            );
            return (self.error_log).write_unless_blocked(Level::Warning, &message);
        };
        let directory = (self.bodies.directory.clone()).unwrap_or_else(std::env::temp_dir);
        let setting = match self.bodies.directory {
            Some(_) => "spool_dir",
            None => "spool_dir, by default the system's directory for temporary files",
        };
        let message = format!(
            "cannot store a request body in {}: {error}; the request is refused{others}. Bodies larger than \
             body_memory are stored there: free some space, or set another directory (setting: {setting})",
            directory.display()
        );
        self.error_log.write_unless_blocked(Level::Error, &message);
    }

    /// Logs that a client has caused too much work over HTTP/2, from time to time.
    pub fn report_flood(&self, client: &Client, error: &ConnectionError, now: Instant) {
        let Some(suppressed) = self.reports.floods.record(now) else {
            return;
        };
        let client = client.shown();
        let message = format!(
            "closed an HTTP/2 connection from {client} because of a flood: {error}{suppressed}"
        );
        (self.error_log).write_unless_blocked(Level::Warning, &message);
    }

    /// Logs that a subscriber has lost messages, from time to time.
    pub fn report_lost_records(&self, client: &Client, now: Instant) {
        let Some(suppressed) = self.reports.lost_records.record(now) else {
            return;
        };
        let client = client.shown();
        let message = format!(
            "closed a held stream of {client}: it was so far behind that its next messages have been overwritten \
             (setting: push_memory){suppressed}"
        );
        (self.error_log).write_unless_blocked(Level::Warning, &message);
    }

    /// After a call has taken its connection over, or such a call has ended. The caller is attached.
    pub fn adapt_switch_interval(&self) {
        if self.lifecycle.owns_process
            && let Some(interval) = self.pool.new_switch_interval()
        {
            self.app.set_switch_interval(interval);
        }
    }

    /// Logs that a held response cannot continue, from time to time. `target` is that of its request.
    pub fn report_bad_page(&self, target: &str, problem: &dyn std::fmt::Display, now: Instant) {
        let Some(suppressed) = self.reports.bad_pages.record(now) else {
            return;
        };
        let message =
            format!("cannot continue the held response to {target}: {problem}{suppressed}");
        self.error_log.write_unless_blocked(Level::Error, &message);
    }

    /// Logs that a WebSocket is closed because of the application, from time to time. `target` is that of its handshake.
    pub fn report_bad_answer(&self, target: &str, problem: &dyn std::fmt::Display, now: Instant) {
        let Some(suppressed) = self.reports.bad_pages.record(now) else {
            return;
        };
        let message = format!("closed the WebSocket at {target}: {problem}{suppressed}");
        self.error_log.write_unless_blocked(Level::Error, &message);
    }

    /// Logs that a file has changed while it was being sent, from time to time.
    pub fn report_changed_file(&self) {
        let Some(suppressed) = self.reports.changed_files.record(Instant::now()) else {
            return;
        };
        let message = format!(
            "a file was changed or became shorter while it was being sent; the connection is closed{suppressed}"
        );
        self.error_log.write_unless_blocked(Level::Error, &message);
    }

    /// The worker cannot continue: logs the reason and ends it; the supervisor starts another.
    pub fn report_fatal(&self, message: &str) {
        if !self.pool.is_over() {
            self.error_log.write(Level::Critical, message);
            self.lifecycle.worker.fail();
            self.end();
        }
    }

    /// The event loop has finished, and with the last one the worker.
    pub fn end(&self) {
        self.pool.shut_down();
        if let Some(log) = &self.access_log {
            log.close();
        }
        self.metrics.close();
        if !self.lifecycle.is_over.swap(true, Ordering::SeqCst) {
            self.lifecycle.worker.on_event_loop_over();
        }
    }
}
