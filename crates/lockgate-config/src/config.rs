//! The configuration that the server runs by: one value, complete and checked. Knows nothing of flags, files or variables.
//!
//! The defaults stand here, once; the documentation reads them from here.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{AppSpec, BindAddress, LogStyle, MemoryMeasure, Networks};

/// Everything that the server is told. Built by [`resolve`](crate::resolve()), or by [`Config::with_defaults`] in tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The application to serve.
    pub app: AppSpec,
    /// The path below which the application is mounted, without a slash at its end; empty: the root.
    pub root_path: String,
    /// Where to listen; never empty, no address twice.
    pub bind: Vec<BindAddress>,
    /// Where operators are answered; `None`: nowhere.
    pub admin_bind: Option<BindAddress>,
    /// Length of the kernel's queue of connections that wait to be accepted.
    pub backlog: u32,
    /// Worker processes; at least 1, `auto` already resolved.
    pub workers: usize,
    /// One line that says why there are so many workers, for the log.
    pub workers_reason: String,
    /// Threads of each worker that run the application.
    pub threads: Threads,
    /// How long a thread may be idle before it ends; `None`: for ever.
    pub thread_idle_timeout: Option<Duration>,
    /// Most connections that one worker holds at a time.
    pub worker_connections: usize,
    /// Most requests that wait for a thread in one worker; more are refused.
    pub queue_size: usize,
    /// Longest time that a request waits for a thread; `None`: no limit.
    pub queue_timeout: Option<Duration>,
    /// Longest time from a whole request to the end of its response; `None`: no limit.
    pub request_timeout: Option<Duration>,
    /// Calls that take longer are recorded, with what they were doing; `None`: none is.
    pub slow_request: Option<Duration>,
    /// Longest time that a worker with one thread may stand still; `None`: no limit.
    pub timeout: Option<Duration>,
    /// Longest time that a worker may take to finish its requests when it is asked to stop; zero: it does not wait.
    pub graceful_timeout: Duration,
    /// How long the server goes on serving when it is asked to stop, while it says that it is not ready.
    pub drain_delay: Duration,
    /// How long a new worker may take to become ready; `None`: for ever.
    pub boot_timeout: Option<Duration>,
    /// Whether the application is loaded once for all workers of a generation.
    pub preload: bool,
    /// Paths that each worker asks its application for before it serves.
    pub warmup: Vec<String>,
    /// How long the old workers go on beside the new ones after a reload; `None`: not at all.
    pub reload_watch: Option<Duration>,
    /// By how many hundredths of a per cent the new workers' share of errors may exceed the old ones' in that time.
    pub reload_watch_errors: u32,
    /// After how many requests a worker is replaced; 0: never.
    pub max_requests: u64,
    /// By how many requests more, at most, that differs from worker to worker.
    pub max_requests_jitter: u64,
    /// After which time of serving a worker is replaced; `None`: never.
    pub max_worker_age: Option<Duration>,
    /// A worker that holds more bytes of memory is replaced; 0: however much.
    pub max_worker_memory: u64,
    /// A worker that holds more bytes of memory is ended, whether or not its replacement is ready; 0: however much.
    pub max_worker_memory_hard: u64,
    /// How the memory of a worker is counted.
    pub worker_memory_measure: MemoryMeasure,
    /// Longest time that an idle connection is kept for the next request; zero: connections are not kept.
    pub keep_alive: Duration,
    /// Longest time from the first byte of a request's head to its last.
    pub head_timeout: Duration,
    /// Longest silence while a request's body arrives.
    pub body_timeout: Duration,
    /// Bytes of a body that have to arrive each second once `body_timeout` is used up; 0: any number.
    pub body_min_rate: u32,
    /// Longest time without progress while a client reads its response.
    pub write_timeout: Duration,
    /// Bytes of a response that a client has to read each second once `write_timeout` is used up; 0: any number.
    pub write_min_rate: u32,
    /// How large a request may be.
    pub limits: LimitsConfig,
    /// Whom to believe about who is speaking.
    pub proxies: ProxiesConfig,
    /// Bytes of a request's body that are held in memory; a larger body goes to disk.
    pub body_memory: usize,
    /// Bytes that the bodies of all requests of a worker hold in memory; beyond that they go to disk.
    pub body_memory_total: usize,
    /// Where large bodies are kept; `None`: the system's directory for temporary files.
    pub spool_dir: Option<PathBuf>,
    /// Value of the `Server` response header; `None`: the header is not sent.
    pub server_header: Option<String>,
    /// Where the access log goes; `None`: there is none.
    pub access_log: Option<LogTarget>,
    /// `combined`, `common`, `json`, or a format of gunicorn's atoms.
    pub access_log_format: String,
    /// Where the error log goes.
    pub error_log: LogTarget,
    /// The least important message that the error log still takes.
    pub log_level: LogLevel,
    /// How lines of the logs look.
    pub log_style: LogStyle,
    /// Directory to change to before anything else is read or imported.
    pub chdir: Option<PathBuf>,
    /// Directories put in front of `sys.path`, in order.
    pub pythonpath: Vec<PathBuf>,
    /// Variables put into the application's environment, in order.
    pub env: Vec<(String, String)>,
    /// File mode creation mask; `None`: the one that the server was started with.
    pub umask: Option<u32>,
    /// User that the workers run as: a name or a number.
    pub user: Option<String>,
    /// Group that the workers run as: a name or a number.
    pub group: Option<String>,
    /// File that holds the supervisor's process id while it runs.
    pub pidfile: Option<PathBuf>,
    /// Name shown in process listings.
    pub proc_name: Option<String>,
    /// Another server may listen on the same addresses.
    pub reuse_port: bool,
    /// Files are sent with sendfile(2) where that is possible.
    pub sendfile: bool,
    /// When Python's cyclic garbage collector runs.
    pub gc: Collection,
    /// Whether an application is served that has replaced Python's threads and locks (gevent, eventlet).
    pub allow_patched_threads: bool,
    /// How long a thread may compute in Python while another one waits for the interpreter; whole microseconds.
    pub switch_interval: Duration,
}

/// How large a request may be, and how much one client may hold. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// The request line.
    pub request_line: usize,
    /// The number of header fields.
    pub request_fields: usize,
    /// One header field: name, value and line end.
    pub request_field_size: usize,
    /// The whole head, request line to blank line.
    pub request_head: usize,
    /// The body; 0: unlimited.
    pub request_body: u64,
    /// One chunk-size line of a chunked body, without its line end.
    pub chunk_line: usize,
    /// The trailer section of a chunked body.
    pub trailers: usize,
    /// Requests that one connection serves; 0: unlimited.
    pub requests_per_connection: u64,
    /// Connections that one address holds in each worker; 0: unlimited.
    pub connections_per_address: u32,
}

/// Whom to believe about who is speaking, and in which words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxiesConfig {
    /// Peers whose headers count.
    pub trusted: Networks,
    /// Which of their headers say who the client is.
    pub headers: ForwardedHeaders,
    /// Whether the host that they forward becomes the request's.
    pub host: bool,
    /// Whether the prefix that they forward becomes `SCRIPT_NAME`.
    pub prefix: bool,
    /// Names of headers that decide the scheme, with the value that means https.
    pub scheme_headers: Vec<(String, String)>,
    /// Names with an underscore that they may send; `*` for all.
    pub underscore_names: Vec<String>,
    /// Whether other names with an underscore are refused, and not just dropped.
    pub refuse_underscores: bool,
    /// Whether headers about the client are removed when anybody else has sent them.
    pub strip_untrusted: bool,
    /// Whether connections begin with a PROXY header; `None`: they do not.
    pub protocol: Option<ProxyVersion>,
    /// Peers that may connect where PROXY headers are spoken.
    pub protocol_peers: Networks,
}

/// Which headers of a trusted proxy say who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// `X-Forwarded-*` where the request has any, else `Forwarded`.
    Auto,
    /// `X-Forwarded-*`.
    XForwarded,
    /// `Forwarded`.
    Forwarded,
    /// None.
    Off,
}

/// Which version of the PROXY header is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
    /// Either.
    Auto,
}

/// Threads of each worker that run the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// As many as calls need, up to [`Config::max_threads`].
    Auto,
    /// Exactly so many, at most 4096.
    Count(NonZeroUsize),
}

/// When Python's cyclic garbage collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    /// By itself, and it does not look at what the application's import left behind.
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
    /// Appended to a file, which is opened anew when the server is asked to reopen its logs.
    File(PathBuf),
}

/// How important a message is; the most important first, so that `message <= setting` means "write it".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// The server cannot go on.
    Critical,
    /// Something failed.
    Error,
    /// Something is wrong but was dealt with.
    Warning,
    /// What an operator wants to know: start, stop, reload.
    Info,
    /// What a developer wants to know.
    Debug,
}

/// `threads = auto`, for all workers together: each thread may hold a connection to a database, and PostgreSQL accepts
/// 100 by default.
pub(crate) const AUTO_THREADS: usize = 64;

/// `threads = auto`, in each worker however many workers there are.
pub(crate) const LEAST_AUTO_THREADS: usize = 4;

impl Config {
    /// How many threads of one worker may run the application at the same time.
    pub fn max_threads(&self) -> usize {
        match self.threads {
            Threads::Auto => (AUTO_THREADS / self.workers.max(1)).max(LEAST_AUTO_THREADS),
            Threads::Count(count) => count.get(),
        }
    }

    /// The configuration of a server that was told nothing but its application. One worker, because no machine is known here.
    pub fn with_defaults(app: AppSpec) -> Self {
        Self {
            app,
            root_path: String::new(),
            bind: vec![BindAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port: BindAddress::DEFAULT_PORT,
            }],
            admin_bind: None,
            backlog: 2048,
            workers: 1,
            workers_reason: "workers = 1 (nothing is known of the machine)".to_owned(),
            threads: Threads::Auto,
            thread_idle_timeout: Some(Duration::from_secs(30)),
            worker_connections: 10_000,
            queue_size: 2048,
            queue_timeout: Some(Duration::from_secs(30)),
            request_timeout: None,
            slow_request: None,
            timeout: Some(Duration::from_secs(30)),
            graceful_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            boot_timeout: None,
            preload: false,
            warmup: Vec::new(),
            reload_watch: None,
            reload_watch_errors: 500,
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
            body_memory: 512 * 1024,
            body_memory_total: 64 * 1024 * 1024,
            spool_dir: None,
            server_header: Some("lockgate".to_owned()),
            access_log: None,
            access_log_format: "combined".to_owned(),
            error_log: LogTarget::Stderr,
            log_level: LogLevel::Info,
            log_style: LogStyle::default(),
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
        }
    }
}

impl Config {
    /// Makes relative paths absolute: `chdir` is taken from `start`, the directory that the server was started in, all
    /// others from `chdir`, or from `start` where there is none. So an application that changes its working directory
    /// moves no log.
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
            .for_each(absolute);
        for address in self.bind.iter_mut().chain(&mut self.admin_bind) {
            if let BindAddress::Unix(path) = address {
                let mut whole = path.clone();
                absolute(&mut whole);
                // A relative name reaches sockets whose absolute one would not fit into an address.
                if whole.as_os_str().len() <= LONGEST_SOCKET_PATH {
                    *path = whole;
                }
            }
        }
        self.chdir = chdir;
    }
}

/// `sun_path` of macOS, which is the shorter one, less the NUL at its end.
const LONGEST_SOCKET_PATH: usize = 103;

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            request_line: 8190,
            request_fields: 100,
            request_field_size: 8190,
            request_head: 64 * 1024,
            request_body: 1 << 30,
            chunk_line: 256,
            trailers: 8192,
            requests_per_connection: 0,
            connections_per_address: 0,
        }
    }
}

impl Default for ProxiesConfig {
    fn default() -> Self {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            trusted: Networks::loopback(),
            headers: ForwardedHeaders::Auto,
            host: false,
            prefix: false,
            scheme_headers: vec![
                pair("X-FORWARDED-PROTOCOL", "ssl"),
                pair("X-FORWARDED-PROTO", "https"),
                pair("X-FORWARDED-SSL", "on"),
            ],
            underscore_names: vec!["SCRIPT_NAME".to_owned(), "PATH_INFO".to_owned()],
            refuse_underscores: false,
            strip_untrusted: true,
            protocol: None,
            protocol_peers: Networks::loopback(),
        }
    }
}

impl ForwardedHeaders {
    /// Every choice, in the order of the reference.
    pub const ALL: [Self; 4] = [Self::Auto, Self::XForwarded, Self::Forwarded, Self::Off];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::XForwarded => "x-forwarded",
            Self::Forwarded => "forwarded",
            Self::Off => "off",
        }
    }
}

impl LogLevel {
    /// Every level, the most important first.
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
