//! Static files: answers what is known in the event loop, and has a thread of the blocking pool look at the disk.

mod sendfile;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockgate_config::{Config, StaticConfig};
use lockgate_files::{Clock, Entry, Files, Found, Loaded, Place, Problem, Selection};
use lockgate_http::{LocalResponse, RequestHead};
use lockgate_observe::Level;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

pub use self::sendfile::Sendfile;
use crate::blocking_pool::BlockingPool;
use crate::date::unix_seconds;
use crate::exchange::Exchange;
use crate::exchange::delivery::prepared;
use crate::exchange::handler::{Handled, Handler, Resume};
use crate::exchange::prepared::Prepared;
use crate::exchange::request::Request;
use crate::log::ErrorLog;
use crate::log::throttle::SharedThrottle;

/// See the module documentation.
pub struct StaticFiles(Arc<Shared>);

/// What the threads of the blocking pool and the writers need.
struct Shared {
    files: Files,
    blocking: BlockingPool,
    resume: Arc<dyn Resume>,
    error_log: Arc<ErrorLog>,
    problems: SharedThrottle,
}

impl StaticFiles {
    /// `None` if no directory is served.
    pub fn new(
        config: &Config,
        blocking: &BlockingPool,
        resume: &Arc<dyn Resume>,
        error_log: &Arc<ErrorLog>,
    ) -> Option<Self> {
        let settings = StaticConfig {
            open_files: descriptors(config),
            ..config.static_files.clone()
        };
        let files = Files::new(&settings, settings.mounts(), Instant::now())?;
        Some(Self(Arc::new(Shared {
            files,
            blocking: blocking.clone(),
            resume: Arc::clone(resume),
            error_log: Arc::clone(error_log),
            problems: SharedThrottle::default(),
        })))
    }
}

impl StaticFiles {
    /// The handler for files that only the application reaches, if there are any.
    pub fn sendfile(&self) -> Option<Sendfile> {
        let has_internal = self.0.files.has_internal();
        has_internal.then(|| Sendfile(Arc::clone(&self.0)))
    }
}

impl Handler for StaticFiles {
    #[inline]
    fn concerns(&self, request: &Request) -> bool {
        (self.0.files).concerns(request.head.path(), request.mount())
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        let head = &exchange.request.head;
        let application = exchange.request.mount();
        if !matches!(head.method(), b"GET" | b"HEAD") {
            return match self.0.files.falls_through(head.path(), application) {
                true => Handled::Pass(exchange),
                false => Handled::Answer(exchange, not_allowed().into()),
            };
        }
        let files = &self.0.files;
        match files.find(head.path(), application, exchange.ready_at) {
            Found::Known(entry) => {
                let response = respond(&entry, head);
                Handled::Respond(exchange, response)
            }
            Found::NotServed
            | Found::Missing {
                falls_through: true,
            } => Handled::Pass(exchange),
            Found::Missing {
                falls_through: false,
            } => Handled::Answer(exchange, LocalResponse::text(404, "").into()),
            Found::Unknown(place) => Shared::load_later(&self.0, exchange, place),
        }
    }
}

impl Shared {
    /// Has another thread look at the disk and answer.
    fn load_later(shared: &Arc<Self>, exchange: Exchange, place: Place) -> Handled {
        let waiting = Arc::new(Mutex::new(Some(exchange)));
        let job = {
            let (shared, waiting) = (Arc::clone(shared), Arc::clone(&waiting));
            move || {
                if let Some(exchange) = take(&waiting) {
                    shared.load(exchange, &place);
                }
            }
        };
        let Err(error) = shared.blocking.spawn(job) else {
            return Handled::Taken;
        };
        match take(&waiting) {
            Some(exchange) => {
                shared.report(&error);
                Handled::Answer(exchange, LocalResponse::text(503, "").into())
            }
            None => Handled::Taken,
        }
    }

    fn load(&self, exchange: Exchange, place: &Place) {
        let now = Instant::now();
        let Exchange {
            request, writer, ..
        } = match self.files.load(place, clock(now)) {
            Loaded::File(entry) => {
                let response = respond(&entry, &exchange.request.head);
                return exchange.writer.respond(response, now);
            }
            Loaded::Directory => exchange,
            Loaded::Missing {
                falls_through,
                problem,
            } => {
                if let Some(problem) = problem {
                    self.report_problem(&problem, now);
                }
                if falls_through {
                    return self.resume.resume(exchange);
                }
                let answer = LocalResponse::text(404, "").into();
                return exchange.writer.answer(&answer, now);
            }
            Loaded::Failed(problem) => {
                self.report_problem(&problem, now);
                let answer = LocalResponse::text(500, "").into();
                return exchange.writer.answer(&answer, now);
            }
        };
        let redirect = LocalResponse::new(308).with_header("Location", location(&request.head));
        writer.answer(&redirect.into(), now);
    }

    fn report_problem(&self, problem: &Problem, now: Instant) {
        if let Some(more) = self.problems.record(now) {
            let message = format!("cannot serve the static file {problem}{more}");
            self.error_log
                .write_unless_blocked(Level::Warning, &message);
        }
    }

    fn report(&self, error: &std::io::Error) {
        if let Some(more) = self.problems.record(Instant::now()) {
            let message = format!("cannot start a thread that reads static files: {error}{more}");
            self.error_log.write_unless_blocked(Level::Error, &message);
        }
    }
}

/// How many descriptors the files may have that are kept open: a quarter of what the process may have at most.
pub fn descriptors(config: &Config) -> usize {
    let settings = &config.static_files;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    match settings.mounts() {
        [] => 0,
        _ => (settings.open_files).min(usize::try_from(limit / 4).unwrap_or(usize::MAX)),
    }
}

fn take<T>(waiting: &Mutex<Option<T>>) -> Option<T> {
    waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

/// What a GET or HEAD gets of a file.
fn respond(entry: &Entry, head: &RequestHead) -> Prepared {
    let selection = Selection::of(head);
    // Most requests do not need the time.
    let now = if selection.is_selective() {
        unix_seconds()
    } else {
        0
    };
    prepared(entry.select(&selection).deliver(head, &selection, now))
}

fn clock(now: Instant) -> Clock {
    let unix = clock_gettime(ClockId::Realtime);
    let (seconds, nanos) = (u64::try_from(unix.tv_sec), u32::try_from(unix.tv_nsec));
    Clock {
        now,
        unix: Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)),
    }
}

/// The path with a slash at its end, on the same host: it begins with one slash, because no file has a path that begins
/// with two.
fn location(head: &RequestHead) -> String {
    let (path, mount) = (head.path(), head.script_name());
    // A proxy may have removed the path at which it forwards to this server.
    let is_whole =
        (path.strip_prefix(mount)).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
    let prefix = if is_whole { b"" } else { mount };
    let query = head.query();
    let mark = if query.is_empty() { &b""[..] } else { b"?" };
    let location = [prefix, path, b"/", mark, query].concat();
    String::from_utf8_lossy(&location).into_owned()
}

fn not_allowed() -> LocalResponse {
    LocalResponse::text(405, "").with_header("Allow", "GET, HEAD")
}
