//! The server's configuration: one value, complete and checked.
//!
//! The defaults are defined here, once; the documentation is generated from them.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{
    AcmeConfig, AdminConfig, AppSpec, Bind, BindAddress, CacheConfig, CompressConfig,
    GunicornConfig, Http2Config, IdentityConfig, LimitsConfig, LogStyle, MemoryMeasure,
    ProxiesConfig, PushConfig, RateLimitsConfig, RedisAddress, ReloadConfig, RoutesConfig,
    SessionConfig, StaticConfig, StatsdConfig, TlsConfig, UwsgiConfig,
};

/// The whole configuration. Built by [`resolve`](crate::resolve()), or by [`Config::with_defaults`] in tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The application to serve.
    pub app: AppSpec,
    /// The global configuration of an application of PasteDeploy, in order.
    pub paste_global: Vec<(String, String)>,
    /// The path at which the application is mounted, without a trailing slash; empty: the root.
    pub root_path: String,
    /// Listen addresses; never empty, no address twice.
    pub bind: Vec<Bind>,
    /// Address of the admin listener; `None`: there is none.
    pub admin_bind: Option<BindAddress>,
    /// What the admin listener shows and takes.
    pub admin: AdminConfig,
    /// Certificates, and what TLS connections and their responses are like.
    pub tls: TlsConfig,
    /// The names of the site, and certificates that a certificate authority issues for them.
    pub acme: AcmeConfig,
    /// HTTP/2.
    pub http2: Http2Config,
    /// What holds by host and path.
    pub routes: RoutesConfig,
    /// What all rate limits share.
    pub rate_limits: RateLimitsConfig,
    /// Ids and traces of requests.
    pub identity: IdentityConfig,
    /// Sessions of the applications; `None`: they have none of the server's.
    pub session: Option<SessionConfig>,
    /// Static files.
    pub static_files: StaticConfig,
    /// Compression of responses.
    pub compress: CompressConfig,
    /// The response cache.
    pub cache: CacheConfig,
    /// Held connections and publishing.
    pub push: PushConfig,
    /// What applications and operators of uWSGI find again.
    pub uwsgi: UwsgiConfig,
    /// Length of the kernel's queue of connections that wait for accept.
    pub backlog: u32,
    /// Worker processes; at least 1, `auto` already resolved.
    pub workers: usize,
    /// The reason for the number of workers, in one line for the log.
    pub workers_reason: String,
    /// Event loops of each worker; at least 1.
    pub event_loops: usize,
    /// Application threads of each event loop.
    pub threads: Threads,
    /// How long a thread may be idle before it ends; `None`: no limit.
    pub thread_idle_timeout: Option<Duration>,
    /// Maximum number of connections of one worker.
    pub worker_connections: usize,
    /// Maximum number of requests that wait for a thread in one worker; more are refused.
    pub queue_size: usize,
    /// Longest time that a request waits for a thread; `None`: no limit.
    pub queue_timeout: Option<Duration>,
    /// Longest time from a complete request to the end of its response; `None`: no limit.
    pub request_timeout: Option<Duration>,
    /// Calls that take longer are logged, with what they were doing; `None`: none is.
    pub slow_request: Option<Duration>,
    /// Longest time that a worker with one thread may make no progress; `None`: no limit.
    pub timeout: Option<Duration>,
    /// Longest time that a worker may take to finish its requests when it is asked to stop; zero: it does not wait.
    pub graceful_timeout: Duration,
    /// How long the server continues to serve when it is asked to stop, while it reports that it is not ready.
    pub drain_delay: Duration,
    /// The path that says whether the server is ready; `None`: there is none.
    pub readiness_path: Option<String>,
    /// How long a new worker may take to become ready; `None`: no limit.
    pub boot_timeout: Option<Duration>,
    /// Whether the application is loaded once for all workers of a generation.
    pub preload: bool,
    /// Paths that each worker requests from its application before it serves.
    pub warmup: Vec<String>,
    /// Reloads when files of the application change.
    pub reload: ReloadConfig,
    /// How long the old workers run beside the new ones after a reload; `None`: not at all.
    pub canary_period: Option<Duration>,
    /// By how many hundredths of a per cent the new workers' error rate may exceed the old ones' in that time.
    pub canary_max_error_increase: u32,
    /// After how many requests a worker is replaced; 0: never.
    pub max_requests: u64,
    /// The maximum that is added to `max_requests`, different for each worker.
    pub max_requests_jitter: u64,
    /// The age at which a worker is replaced; `None`: never.
    pub max_worker_age: Option<Duration>,
    /// Bytes of memory above which a worker is replaced; 0: no limit.
    pub max_worker_memory: u64,
    /// Bytes of memory above which a worker is ended, whether or not its replacement is ready; 0: no limit.
    pub max_worker_memory_hard: u64,
    /// How the memory of a worker is measured.
    pub worker_memory_measure: MemoryMeasure,
    /// Longest time that an idle connection is kept for the next request; zero: no keep-alive.
    pub keep_alive: Duration,
    /// Longest time from the first byte of a request's head to its last.
    pub head_timeout: Duration,
    /// Longest time without data while a request's body arrives.
    pub body_timeout: Duration,
    /// Minimum rate of a request's body in bytes per second once `body_timeout` is used up; 0: none.
    pub body_min_rate: u32,
    /// Longest time without progress while a client reads its response.
    pub write_timeout: Duration,
    /// Minimum rate of a client that reads a response, in bytes per second, once `write_timeout` is used up; 0: none.
    pub write_min_rate: u32,
    /// Limits on the size of requests.
    pub limits: LimitsConfig,
    /// Trusted proxies and their headers.
    pub proxies: ProxiesConfig,
    /// Prefixes of paths whose requests reach the application before their bodies are complete.
    pub stream_request_body: Vec<String>,
    /// Bytes of a request's body that are held in memory; a larger body is spooled to disk.
    pub body_memory: usize,
    /// Bytes that the bodies of all requests of a worker hold in memory; beyond that they are spooled to disk.
    pub body_memory_total: usize,
    /// Directory of spooled bodies; `None`: the system's directory for temporary files.
    pub spool_dir: Option<PathBuf>,
    /// Value of the `Server` response header; `None`: the header is not sent.
    pub server_header: Option<String>,
    /// Where the access log goes; `None`: there is none.
    pub access_log: Option<LogTarget>,
    /// `combined`, `common`, `json`, or a format with gunicorn's atoms.
    pub access_log_format: String,
    /// Where the error log goes.
    pub error_log: LogTarget,
    /// The least severe level that is written to the error log.
    pub log_level: LogLevel,
    /// The style of log lines.
    pub log_style: LogStyle,
    /// Metrics that are sent to statsd.
    pub statsd: StatsdConfig,
    /// Directory to change to before anything is read or imported.
    pub chdir: Option<PathBuf>,
    /// Directories prepended to `sys.path`, in order.
    pub pythonpath: Vec<PathBuf>,
    /// Variables added to the application's environment, in order.
    pub env: Vec<(String, String)>,
    /// File mode creation mask; `None`: inherited.
    pub umask: Option<u32>,
    /// User that the workers run as: a name or a number.
    pub user: Option<String>,
    /// Group that the workers run as: a name or a number.
    pub group: Option<String>,
    /// File that holds the supervisor's process id while it runs.
    pub pidfile: Option<PathBuf>,
    /// Name shown in process listings.
    pub proc_name: Option<String>,
    /// Whether another server may listen on the same addresses.
    pub reuse_port: bool,
    /// Whether files are sent with sendfile(2) where that is possible.
    pub sendfile: bool,
    /// When Python's cyclic garbage collector runs.
    pub gc: Collection,
    /// Whether an application may be served that has monkey-patched Python's threads and locks (gevent, eventlet).
    pub allow_patched_threads: bool,
    /// How long a thread may run Python code while another one waits for the GIL (Python's switch interval); whole
    /// microseconds.
    pub switch_interval: Duration,
    /// What a configuration written for gunicorn asks for.
    pub gunicorn: GunicornConfig,
    /// Whether this is `lockgate dev`: a job of a terminal. No setting; the command decides it.
    pub is_development: bool,
}

/// Application threads of each worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// As many as calls need, up to [`Config::max_threads`].
    Auto,
    /// Exactly this many, at most 4096.
    Count(NonZeroUsize),
}

/// When Python's cyclic garbage collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    /// Automatically, without examining what the application's import left behind (`gc.freeze`).
    Freeze,
    /// The same, but between requests.
    Idle,
    /// Never.
    Off,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file, which is reopened when the server is asked to reopen its logs.
    File(PathBuf),
}

/// Severity of a message, most severe first, so that `message <= setting` means "write it".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// The server cannot continue.
    Critical,
    /// Something failed.
    Error,
    /// Something is wrong but was handled.
    Warning,
    /// What operators want to know: start, stop, reload.
    Info,
    /// What developers want to know.
    Debug,
}

/// `threads = auto`, for all workers together: each thread may hold a database connection, and PostgreSQL accepts 100
/// by default.
pub(crate) const AUTO_THREADS: usize = 64;

/// `threads = auto`, the minimum in each worker regardless of the number of workers.
pub(crate) const LEAST_AUTO_THREADS: usize = 4;

impl Config {
    /// How many threads of one event loop may run the application at the same time.
    pub fn max_threads(&self) -> usize {
        let event_loops = self.workers.saturating_mul(self.event_loops);
        match self.threads {
            Threads::Auto => (AUTO_THREADS / event_loops.max(1)).max(LEAST_AUTO_THREADS),
            Threads::Count(count) => count.get(),
        }
    }

    /// Where this host adds up its counts with others; `None` also if it counts nothing that they share.
    pub fn shared_rate_limits(&self) -> Option<&RedisAddress> {
        let mut limits = self.routes.rate_limits.iter();
        let redis = self.rate_limits.redis.as_ref();
        redis.filter(|_| limits.any(|limit| !limit.rates.is_empty()))
    }

    /// The defaults for an application. One worker, because the host is not known here.
    pub fn with_defaults(app: AppSpec) -> Self {
        Self {
            app,
            paste_global: Vec::new(),
            root_path: String::new(),
            bind: vec![Bind::from(BindAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port: BindAddress::DEFAULT_PORT,
            })],
            admin_bind: None,
            admin: AdminConfig::default(),
            tls: TlsConfig::default(),
            acme: AcmeConfig::default(),
            http2: Http2Config::default(),
            routes: RoutesConfig::default(),
            rate_limits: RateLimitsConfig::default(),
            identity: IdentityConfig::default(),
            session: None,
            static_files: StaticConfig::default(),
            compress: CompressConfig::default(),
            cache: CacheConfig::default(),
            push: PushConfig::default(),
            uwsgi: UwsgiConfig::default(),
            backlog: 2048,
            workers: 1,
            workers_reason: "workers = 1 (the host was not examined)".to_owned(),
            threads: Threads::Auto,
            thread_idle_timeout: Some(Duration::from_secs(30)),
            event_loops: 1,
            worker_connections: 10_000,
            queue_size: 2048,
            queue_timeout: Some(Duration::from_secs(30)),
            request_timeout: None,
            slow_request: None,
            timeout: Some(Duration::from_secs(30)),
            graceful_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            readiness_path: None,
            boot_timeout: None,
            preload: false,
            warmup: Vec::new(),
            reload: ReloadConfig::default(),
            canary_period: None,
            canary_max_error_increase: 500,
            max_requests: 0,
            max_requests_jitter: 0,
            max_worker_age: None,
            max_worker_memory: 0,
            max_worker_memory_hard: 0,
            worker_memory_measure: MemoryMeasure::Rss,
            keep_alive: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_min_rate: 240,
            write_timeout: Duration::from_secs(30),
            write_min_rate: 240,
            limits: LimitsConfig::default(),
            proxies: ProxiesConfig::default(),
            stream_request_body: Vec::new(),
            body_memory: 512 * 1024,
            body_memory_total: 64 * 1024 * 1024,
            spool_dir: None,
            server_header: Some("lockgate".to_owned()),
            access_log: None,
            access_log_format: "combined".to_owned(),
            error_log: LogTarget::Stderr,
            log_level: LogLevel::Info,
            log_style: LogStyle::default(),
            statsd: StatsdConfig::default(),
            chdir: None,
            pythonpath: Vec::new(),
            env: Vec::new(),
            umask: None,
            user: None,
            group: None,
            pidfile: None,
            proc_name: None,
            reuse_port: false,
            sendfile: true,
            gc: Collection::Freeze,
            allow_patched_threads: false,
            switch_interval: Duration::from_millis(2),
            gunicorn: GunicornConfig::default(),
            is_development: false,
        }
    }
}

impl Config {
    /// Makes relative paths absolute: `chdir` is relative to `start`, the directory that the server was started in, all
    /// others to `chdir`, or to `start` without one. An application that changes its working directory then does not
    /// move the logs.
    pub fn make_absolute(&mut self, start: &Path) {
        let chdir = self.chdir.as_ref().map(|chdir| start.join(chdir));
        let directory = chdir.as_deref().unwrap_or(start).to_owned();
        // Lexical: a link in the path is followed when the path is used.
        let absolute = |path: &mut PathBuf| {
            let joined = directory.join(&*path);
            *path = std::path::absolute(&joined).unwrap_or(joined);
        };
        let logs = [self.access_log.as_mut(), Some(&mut self.error_log)];
        let logs = logs.into_iter().flatten().filter_map(|log| match log {
            LogTarget::File(path) => Some(path),
            _ => None,
        });
        logs.chain(&mut self.pidfile)
            .chain(&mut self.spool_dir)
            .chain(&mut self.reload.extra_files)
            .chain(&mut self.uwsgi.fifos)
            .chain(&mut self.push.grip_key_file)
            .chain(self.tls.paths())
            .chain(self.acme.paths())
            .chain(self.statsd.path())
            .chain(self.static_files.paths())
            .chain(self.routes.paths())
            .chain(self.session.iter_mut().flat_map(SessionConfig::paths))
            .for_each(absolute);
        let bind = self.bind.iter_mut().map(|bind| &mut bind.address);
        for address in bind
            .chain(&mut self.admin_bind)
            .chain(&mut self.uwsgi.stats)
        {
            if let BindAddress::Unix(path) = address {
                let mut whole = path.clone();
                absolute(&mut whole);
                // A relative name reaches sockets whose absolute name does not fit into an address.
                if whole.as_os_str().len() <= LONGEST_SOCKET_PATH {
                    *path = whole;
                }
            }
        }
        self.gunicorn.make_absolute(start, &directory);
        self.chdir = chdir;
    }
}

/// `sun_path` of macOS, which is the shorter one, less the trailing NUL.
const LONGEST_SOCKET_PATH: usize = 103;

impl LogLevel {
    /// Every level, most severe first.
    pub const ALL: [Self; 5] = [
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Info,
        Self::Debug,
    ];

    /// The level's name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl Collection {
    /// Every choice, in the order of the reference.
    pub const ALL: [Self; 3] = [Self::Freeze, Self::Idle, Self::Off];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Idle => "idle",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}
