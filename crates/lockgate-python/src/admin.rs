//! The admin listener: HTTP for operators, in a process of its own that runs neither the application nor Python. It
//! uses the worker's HTTP server with a Rust application. Every client may read; `actions` passes commands to the
//! supervisor.

mod actions;
mod answer;
mod body;
mod events;
mod history;
mod limits;
mod now;
mod origin;
mod page;
mod permission;
mod profile;
mod publishing;
mod purging;
mod sampling;
mod sources;
mod stats_server;

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockgate_acme::read_states;
use lockgate_config::{Config, LimitsConfig, Networks, ProxiesConfig, Threads};
use lockgate_observe::{
    CertificatesView, METRICS_CONTENT_TYPE, RenewalView, Scoreboard, WorkerStacks, WorkerView,
    write_limits, write_stacks, write_status, write_uwsgi,
};
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{Log, Rates, Store};
use lockgate_supervisor::{
    CertificateViews, OperatorRequests, StackBoard, StackRequest, WorkerContext, WorkerControl,
    process_memory,
};
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{App, Handle, Reply, Request, Worker, monotonic_nanos};

use actions::Actions;
use answer::{Answer, JSON, VERSION};
use history::{Recorded, Recording};
use origin::{Claims, Sender};
use permission::Permission;
use profile::Profiling;
use publishing::Publishing;
use purging::Purging;
use sampling::Sampling;
use sources::{Reader, SourceFiles};

pub(crate) use limits::view as limits_view;

use crate::clock::moment;
use crate::history_logs::HistoryLogs;
use crate::metrics::{Counted, limits_redis};
use crate::purging::CachePurger;
use crate::push::Broadcast;
use crate::uwsgi::cache_views;

/// The text of a 404 response.
const PLACES: &str = "try /, /metrics, /healthz, /readyz, /status, /now, /history, /events, /stacks, /profile, /limits, /uwsgi, /actions/, /publish/ or /cache/purge\n";

/// How long workers may take to dump their stacks: longer than a dump takes when a call holds the GIL.
const DUMP_TIMEOUT: Duration = Duration::from_millis(2500);

/// What the admin process shares with the others.
pub(crate) struct Shared {
    pub(crate) scoreboard: Scoreboard,
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) broadcast_log: Option<Log>,
    pub(crate) responses: Option<ResponseStore>,
    pub(crate) rates: Option<Rates>,
    pub(crate) purger: Option<CachePurger>,
    /// The history of the server.
    pub(crate) history: HistoryLogs,
    /// The user of the workers, if it is another one than the supervisor's.
    pub(crate) worker_user: Option<u32>,
}

/// Serves until the supervisor has exited or asks this process to stop; returns the exit code.
pub(crate) fn run(
    config: &Config,
    log: &Arc<ErrorLog>,
    mut context: WorkerContext,
    shared: Shared,
    requests: OperatorRequests,
) -> io::Result<i32> {
    let listeners = std::mem::take(&mut context.listeners);
    let Shared {
        scoreboard, store, ..
    } = shared;
    // Everything that this process shows of requests comes from here.
    let scoreboard = match config.admin.shows_queries {
        true => scoreboard,
        false => scoreboard.without_queries(),
    };
    let caches = store.clone();
    stats_server::start(std::mem::take(&mut context.stats), move || {
        uwsgi_document(scoreboard, caches.as_deref())
    })?;
    let stacks = context.stacks.take().map(Arc::new);
    if let Some(stacks) = &stacks {
        stacks.cancel_profiles();
    }
    let board = stacks.clone();
    let certificates = Mutex::new(context.certificates.map(CertificateViews::new));
    let permission = Permission {
        key: config.push.grip_key.clone(),
        worker_user: shared.worker_user,
        requests: requests.clone(),
        log: Arc::clone(log),
    };
    let publishing = Publishing {
        broadcast: Broadcast::new(shared.broadcast_log, &config.push),
        permission: permission.clone(),
    };
    let purging = Purging {
        purger: shared.purger,
        permission,
        log: Arc::clone(log),
    };
    let actions = Actions {
        requests,
        log: Arc::clone(log),
        supervisor: scoreboard.supervisor().0,
        scoreboard,
        page_may_act: config.admin.page_may_act,
    };
    // Otherwise only uWSGI's stats server is asked for.
    let history_log = match config.admin_bind {
        Some(_) => shared.history.recorded.or_else(history::private_log),
        None => None,
    };
    let recording = history_log.map(|log| {
        let recorded = Recorded {
            scoreboard,
            rates: shared.rates,
            responses: shared.responses,
            events: shared.history.events,
            failures: shared.history.failures,
        };
        Arc::new(Recording::new(log, recorded, config.slow_request, moment()))
    });
    let app = Arc::new(Admin {
        scoreboard,
        shows_queries: config.admin.shows_queries,
        recording: recording.clone(),
        store,
        profiling: Profiling {
            board: stacks.clone(),
            scoreboard,
            running: Mutex::new(()),
        },
        sampling: Sampling::new(stacks.clone(), scoreboard),
        sources: SourceFiles::start()?,
        stacks,
        dumping: Mutex::new(()),
        certificates,
        acme: (
            config.acme.dir.clone(),
            config.acme.public_domains().map(str::to_owned).collect(),
        ),
        actions,
        publishing,
        purging,
        counted: Counted {
            scoreboard,
            broadcast_log: shared.broadcast_log.filter(|_| config.push.is_enabled),
            responses: shared.responses,
            rates: shared.rates,
            limits_redis: limits_redis(config),
        },
    });
    let handle = Worker::start(Arc::new(settings(config)), listeners, app, Arc::clone(log))?;
    if let Some(recording) = recording {
        let end = handle.clone();
        recording.start(Arc::clone(log), move || end.stop())?;
        if let Some(board) = board {
            let end = handle.clone();
            sampling::start(recording, board, move || end.stop())?;
        }
    }
    let worker_control: Arc<dyn WorkerControl> = Arc::new(RunningAdmin {
        handle,
        log: Arc::clone(log),
    });
    Ok(context.run(&worker_control))
}

/// Responses take microseconds and never block, except for those that wait for workers (/stacks, /profile): hence more
/// than one thread.
/// Requests are small, and little is buffered. Idle connections must not keep others out for long: they cost a few
/// hundred bytes and time out soon.
fn settings(config: &Config) -> Config {
    let push = &config.push;
    Config {
        threads: Threads::Count(NonZeroUsize::MIN.saturating_add(3)),
        worker_connections: 1024,
        head_timeout: Duration::from_secs(2),
        keep_alive: Duration::from_secs(2),
        log_level: config.log_level,
        server_header: config.server_header.clone(),
        // A page whose name leads here may set every forwarding header, and they must not say where it connects from.
        proxies: ProxiesConfig {
            trusted: Networks::default(),
            ..ProxiesConfig::default()
        },
        limits: LimitsConfig {
            request_body: match (push.is_enabled, config.cache.is_enabled()) {
                (true, _) => publishing::body_limit(push.message_limit).max(purging::BODY_LIMIT),
                (false, true) => purging::BODY_LIMIT,
                (false, false) => 1024,
            },
            ..LimitsConfig::default()
        },
        ..Config::with_defaults(config.app.clone())
    }
}

struct Admin {
    scoreboard: Scoreboard,
    shows_queries: bool,
    /// The history, where there is an admin listener.
    recording: Option<Arc<Recording>>,
    /// The shared caches.
    store: Option<Arc<Store>>,
    stacks: Option<Arc<StackBoard>>,
    /// Locked while workers are asked: one dump at a time.
    dumping: Mutex<()>,
    profiling: Profiling,
    sampling: Sampling,
    sources: SourceFiles,
    certificates: Mutex<Option<CertificateViews>>,
    /// `acme_dir`, and the names that ACME obtains certificates for.
    acme: (PathBuf, Vec<String>),
    actions: Actions,
    publishing: Publishing,
    purging: Purging,
    counted: Counted,
}

impl App for Admin {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        let head = &request.head;
        let claims = Claims {
            is_tcp: !request.client().host().is_empty(),
            host: head.host(),
        };
        let answer = match Sender::of(claims, head.headers()) {
            Ok(sender) => self.answer(request, sender, reply),
            Err(foreign) => Answer::text(403, "Forbidden", foreign.advice()),
        };
        answer.send(reply);
    }
}

impl Admin {
    fn answer(&self, request: &mut Request, sender: Sender, reply: &mut Reply) -> Answer {
        let reader = match request.client().host().is_empty() {
            true => Reader::Server,
            false => Reader::Anyone,
        };
        let head = &request.head;
        if publishing::is_path(head.path()) {
            self.publishing.answer(request, reply, unix_seconds())
        } else if head.path() == purging::PATH {
            self.purging.answer(request, reply, unix_seconds())
        } else if head.path().starts_with(actions::PREFIX) {
            self.actions.answer(request, sender, reply)
        } else if !matches!(head.method(), b"GET" | b"HEAD") {
            Answer {
                allow: "GET, HEAD",
                ..Answer::text(
                    405,
                    "Method Not Allowed",
                    "only GET and HEAD are allowed here\n",
                )
            }
        } else if head.path() == profile::PATH {
            let has_header = |name: &str| head.header(name).is_some();
            let is_wanted = || !reply.has_client_left();
            (self.profiling).answer(head.query(), has_header, is_wanted, unix_seconds())
        } else if head.path() == history::PATH {
            match &self.recording {
                Some(recording) => {
                    let sources = self.sources.sources(reader);
                    recording.answer(head.query(), &sources)
                }
                None => Answer::text(404, "Not Found", PLACES),
            }
        } else if head.path() == events::PATH {
            events::answer(self.recording.as_deref(), head.query())
        } else {
            self.read(head.path(), reader)
        }
    }

    fn read(&self, path: &[u8], reader: Reader) -> Answer {
        let now = monotonic_nanos();
        let mut body = Vec::new();
        match path {
            b"/" => page::answer(),
            b"/metrics" => {
                let families = self.counted.families(&self.certificates(), now);
                families.write_text(&mut body);
                Answer::ok(METRICS_CONTENT_TYPE, body)
            }
            b"/status" => {
                let certificates = self.certificates();
                write_status(&mut body, self.scoreboard, &certificates, VERSION, now);
                Answer::ok(JSON, body)
            }
            b"/limits" => {
                write_limits(&mut body, &self.counted.limits(now));
                Answer::ok(JSON, body)
            }
            b"/stacks" => self.stacks(),
            b"/uwsgi" => Answer::ok(JSON, uwsgi_document(self.scoreboard, self.store.as_deref())),
            // This process never outlives the supervisor.
            b"/healthz" => Answer::text(200, "OK", "ok\n"),
            b"/readyz" => match readiness(self.scoreboard) {
                (true, text) => Answer::text(200, "OK", &text),
                (false, text) => Answer::text(503, "Service Unavailable", &text),
            },
            now::PATH => self.now(reader),
            _ => Answer::text(404, "Not Found", PLACES),
        }
    }
}

/// Whether workers take requests, and how many.
fn readiness(scoreboard: Scoreboard) -> (bool, String) {
    match scoreboard.serving().count() {
        _ if scoreboard.is_draining() => (false, "draining\n".to_owned()),
        0 => (false, "no worker is ready\n".to_owned()),
        count => (true, format!("{count} workers serve\n")),
    }
}

/// The document of uWSGI's stats server.
fn uwsgi_document(scoreboard: Scoreboard, store: Option<&Store>) -> Vec<u8> {
    let caches = cache_views(store);
    let mut document = Vec::new();
    let moment = (monotonic_nanos(), unix_seconds());
    write_uwsgi(
        &mut document,
        (scoreboard, &caches),
        VERSION,
        moment,
        process_memory,
    );
    document
}

/// Seconds since 1970.
fn unix_seconds() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    wall.map_or(0, |wall| wall.as_secs())
}

impl Admin {
    /// The certificates that workers present, and the state of their renewal.
    fn certificates(&self) -> CertificatesView {
        let views = self.certificates.lock();
        // A panic while they were parsed leaves them incomplete, and the next change completes them.
        let mut views = views.unwrap_or_else(PoisonError::into_inner);
        let now = unix_seconds().cast_signed();
        let certificates = views.as_mut().map_or_else(Vec::new, |views| views.get(now));
        CertificatesView {
            certificates,
            renewals: self.renewals(),
        }
    }

    fn renewals(&self) -> Vec<RenewalView> {
        let (directory, names) = &self.acme;
        if names.is_empty() {
            return Vec::new();
        }
        // Other servers may share the directory.
        let states = read_states(directory).into_iter();
        states
            .filter(|state| names.contains(&state.name))
            .map(|state| RenewalView {
                name: state.name,
                directory: state.directory,
                last_success: state.last_success,
                last_attempt: state.last_attempt,
                next_attempt: state.next_attempt,
                failures: state.failures.into(),
                last_error: state.last_error,
            })
            .collect()
    }

    /// The stacks of all threads of all workers.
    fn stacks(&self) -> Answer {
        let Ok(_dumping) = self.dumping.try_lock() else {
            let text = "another thread dump is in progress: try again\n";
            return Answer::text(503, "Service Unavailable", text);
        };
        let Some(board) = &self.stacks else {
            let text = "thread dumps are available on Linux only\n";
            return Answer::text(501, "Not Implemented", text);
        };
        let workers: Vec<WorkerView> = self.scoreboard.workers().collect();
        let slots: Vec<usize> = workers.iter().map(|worker| worker.slot).collect();
        let answers = board.ask(&slots, StackRequest::Dump, DUMP_TIMEOUT);
        let stacks: Vec<WorkerStacks> = workers
            .into_iter()
            .zip(answers)
            .map(|(before, answer)| WorkerStacks {
                after: (self.scoreboard.worker(before.slot))
                    .filter(|after| after.pid == before.pid),
                dump: answer
                    .unwrap_or_else(|| Err(format!("it has not answered within {DUMP_TIMEOUT:?}"))),
                before,
            })
            .collect();
        let mut body = Vec::new();
        write_stacks(&mut body, &stacks, monotonic_nanos());
        Answer::ok(JSON, body)
    }
}

/// The running admin process, as the supervisor's messages reach it.
struct RunningAdmin {
    handle: Handle,
    log: Arc<ErrorLog>,
}

impl WorkerControl for RunningAdmin {
    /// Readiness is still queried while the workers drain.
    fn drain(&self) {}

    fn retire(&self) {}

    fn stop(&self) {
        self.handle.stop();
    }

    fn reopen_logs(&self) {
        // If the log cannot be reopened, the workers, which write to it, report that.
        let _reported_by_others = self.log.reopen();
    }

    fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    fn is_stuck(&self, _longer_than: Duration) -> bool {
        false
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.handle.finished_fd())
    }

    fn interrupted(&self) {}
}
