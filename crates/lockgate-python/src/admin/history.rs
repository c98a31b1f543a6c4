//! `GET /history`, and the thread that records it: it reads the scoreboard ten times a second, so that workers do
//! nothing for it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_history::{
    Counters, Event, EventLog, FailureLog, Gauges, HISTORY_PLAN, History, Logged, Moment, Observed,
    Range, Record, Recorder, Report, Unrecorded, Usage,
};
use lockgate_observe::{Level, Scoreboard, WorkerView};
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{AppendError, Log, Rates};
use lockgate_supervisor::{cpu_times, process_memory};
use lockgate_worker::log::ErrorLog;

use super::answer::{Answer, JSON};
use super::sources::Sources;
use crate::clock::moment;

/// The path of the history.
pub(super) const PATH: &[u8] = b"/history";

/// Interval of the thread.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often it reads the counters: every tenth time.
const COUNTERS_INTERVAL: u64 = 10;
/// A request is slow after this long, unless `slow_request` says otherwise.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// Without parameters: the last hour, in steps of ten seconds.
const DEFAULT_RANGE: u64 = 3_600_000;
const DEFAULT_STEP: u64 = 10_000;
/// The longest step: an hour.
const MOST_STEP: f64 = 3600.0;

/// See the module.
pub(super) struct Recording {
    recorded: Recorded,
    state: Mutex<State>,
}

/// What is recorded.
pub(super) struct Recorded {
    pub(super) scoreboard: Scoreboard,
    pub(super) rates: Option<Rates>,
    pub(super) responses: Option<ResponseStore>,
    /// The events of the supervisor.
    pub(super) events: Option<EventLog>,
    /// The failed requests of the workers.
    pub(super) failures: Option<FailureLog>,
}

struct State {
    history: History,
    recorder: Recorder,
    /// What each worker uses, by its process id.
    usage: HashMap<u64, Usage>,
    /// The CPU time of each worker in nanoseconds when it was last read, and when that was. Without that of its
    /// children: a child that ends after an hour would add an hour to a second.
    cpu_times: HashMap<u64, u64>,
    read_at: u64,
    /// Whether something could not be appended, which was logged then.
    has_failed: bool,
}

/// A log in the memory of this process, where the system provides no shared memory.
pub(super) fn private_log() -> Option<Log> {
    let words = (0..HISTORY_PLAN.words())
        .map(|_| AtomicU64::new(0))
        .collect();
    let lock_words = (0..HISTORY_PLAN.lock_words())
        .map(|_| AtomicU32::new(0))
        .collect();
    Log::new(
        Vec::leak(lock_words),
        Vec::leak(words),
        HISTORY_PLAN,
        (0, 0),
    )
}

impl Recording {
    /// Reads what an earlier admin process has left in the log. `slow_request` is the setting.
    pub(super) fn new(
        log: Log,
        recorded: Recorded,
        slow_request: Option<Duration>,
        now: Moment,
    ) -> Self {
        let slow_after = slow_request.unwrap_or(SLOW_AFTER).as_nanos();
        let slow_after = u64::try_from(slow_after).unwrap_or(u64::MAX);
        Self {
            recorded,
            state: Mutex::new(State::new(log, slow_after, now)),
        }
    }

    /// Starts the thread, which logs once if it cannot record. If it panics, it calls `on_panic` and ends.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(
        self: &Arc<Self>,
        log: Arc<ErrorLog>,
        on_panic: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let recording = Arc::clone(self);
        let record = move || {
            let mut next = Instant::now();
            for round in 0_u64.. {
                recording.record(round.is_multiple_of(COUNTERS_INTERVAL), &log);
                let now = Instant::now();
                next = (next + INTERVAL).max(now);
                thread::sleep(next - now);
            }
        };
        let guarded = move || {
            if catch_unwind(AssertUnwindSafe(record)).is_err() {
                on_panic();
            }
        };
        let builder = thread::Builder::new().name("history".to_owned());
        builder.spawn(guarded).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic of the thread the process ends.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, reads_counters: bool, log: &ErrorLog) {
        let now = moment();
        let mut state = self.state();
        let mut records = state.recorder.scan(self.recorded.scoreboard.running(), now);
        if reads_counters {
            let observed = self.observe(&mut state, now);
            records.extend(state.recorder.observe(observed, now));
        }
        let failure = state.append_all(records);
        drop(state);
        if let Some(error) = failure {
            let message = format!("the history of the server is not recorded: {error}");
            log.write(Level::Warning, &message);
        }
    }

    fn observe(&self, state: &mut State, now: Moment) -> Observed {
        let workers: Vec<WorkerView> = self.recorded.scoreboard.workers().collect();
        let cpu = state.read_usage(&workers, now);
        let totals = self.recorded.rates.map(|rates| rates.totals());
        let limits: Vec<(String, u64)> = (totals.into_iter().flatten())
            .map(|limit| (limit.name.replace('\n', " "), limit.refused))
            .collect();
        let cache = self.recorded.responses.map(|responses| responses.counts());
        let cache = cache.unwrap_or_default();
        let reload = self.recorded.scoreboard.reload();
        Observed {
            counters: Counters {
                totals: self.recorded.scoreboard.totals(),
                limited: limits.iter().map(|(_, refused)| refused).sum(),
                cache_hits: cache.hits,
                cache_misses: cache.misses,
            },
            gauges: Gauges {
                memory: state.usage.values().map(|usage| usage.memory).sum(),
                cpu: cpu.map(|cpu| (cpu * 1e6) as u64),
                ..Gauges::of(&workers)
            },
            limits,
            purged: cache.purged,
            maintenance: self.recorded.scoreboard.maintenance(),
            generation: reload.ended.saturating_sub(reload.failures),
        }
    }

    /// The slots of workers that run a slow request.
    pub(super) fn slow_workers(&self) -> Vec<usize> {
        self.state().recorder.slow_workers()
    }

    /// Keeps what a sample of a worker says of slow requests.
    pub(super) fn keep_sample(&self, slot: usize, sample: &lockgate_profile::Sample) {
        self.state().recorder.sample(slot, sample);
    }

    /// What each worker uses, by its process id.
    pub(super) fn usage(&self) -> HashMap<u64, Usage> {
        self.state().usage.clone()
    }

    /// All events that are left.
    pub(super) fn events(&self) -> Vec<Event> {
        let records = self.state().history.records(0);
        let own = records.filter_map(|record| match record {
            Record::Event(event) => Some(event),
            _ => None,
        });
        let supervisor = self.recorded.events.iter().flat_map(EventLog::read);
        supervisor.chain(own).collect()
    }

    /// The answer to a request with this query.
    pub(super) fn answer(&self, query: &[u8], sources: &Sources<'_>) -> Answer {
        let now = moment();
        let range = match read_range(query, now.unix) {
            Ok(range) => range,
            Err(refused) => return Answer::text(400, "Bad Request", &format!("{refused}\n")),
        };
        let (records, unrecorded) = {
            let state = self.state();
            let unrecorded = Unrecorded {
                slow: state.recorder.slow_requests(),
                paths: state.recorder.paths().clone(),
            };
            // A step begins with the point before it.
            (
                state.history.records(range.from.saturating_sub(2000)),
                unrecorded,
            )
        };
        let (events, failures) = (self.recorded.events, self.recorded.failures);
        let hides_queries = self.recorded.scoreboard.hides_queries();
        let failures = failures.iter().flat_map(FailureLog::read);
        let logged = Logged {
            events: events.iter().flat_map(EventLog::read).collect(),
            failures: failures
                .map(|failure| match hides_queries {
                    // The text of an exception may have anything that the client has sent.
                    true => failure.without_message(),
                    false => failure,
                })
                .collect(),
        };
        let records = records.map(|record| match record {
            Record::Slow(request) if hides_queries => Record::Slow(request.without_query()),
            record => record,
        });
        let report = Report::new(records, logged, unrecorded, range, now);
        let mut body = Vec::new();
        // Of a worker that has ended it is not known when it has loaded its code: not later than the request.
        let uptimes = (self.recorded.scoreboard.workers())
            .map(|worker| now.monotonic.saturating_sub(worker.started) / 1_000_000);
        let oldest = now.unix.saturating_sub(uptimes.max().unwrap_or(0));
        let mut lines = |file: &str, line, began: u64| sources.line(file, line, began.min(oldest));
        report.write(&mut body, &mut lines);
        Answer::ok(JSON, body)
    }
}

impl State {
    fn new(log: Log, slow_after: u64, now: Moment) -> Self {
        Self {
            history: History::open(log),
            recorder: Recorder::new(slow_after, now),
            usage: HashMap::new(),
            cpu_times: HashMap::new(),
            read_at: now.monotonic,
            has_failed: false,
        }
    }

    /// Appends the records; returns why one of them could not be, the first time that this happens.
    fn append_all(&mut self, records: Vec<Record>) -> Option<AppendError> {
        let mut failure = None;
        for record in records {
            failure = failure.or(self.append(record).err());
        }
        failure.filter(|_| !std::mem::replace(&mut self.has_failed, true))
    }

    fn append(&mut self, record: Record) -> Result<(), AppendError> {
        let record = match record {
            // Ids are times. With one from before, clients may have read later ids of the supervisor already, and would
            // not ask for this one.
            Record::Event(event) => Record::Event(Event {
                at: moment(),
                ..event
            }),
            record => record,
        };
        self.history.append(&record)
    }

    /// Reads what the workers use; returns the parts of a CPU that they have used, without those that are read for the
    /// first time. `None` if that are all.
    fn read_usage(&mut self, workers: &[WorkerView], now: Moment) -> Option<f64> {
        let passed = now.monotonic.saturating_sub(self.read_at).max(1);
        self.read_at = now.monotonic;
        let mut times = HashMap::new();
        self.usage.clear();
        for worker in workers {
            let pid = worker.pid;
            let time = cpu_times(pid).own;
            let before = self.cpu_times.get(&pid);
            let usage = Usage {
                memory: process_memory(pid).resident,
                cpu: before.map(|before| time.saturating_sub(*before) as f64 / passed as f64),
            };
            times.insert(pid, time);
            self.usage.insert(pid, usage);
        }
        self.cpu_times = times;
        (self.usage.values())
            .filter_map(|usage| usage.cpu)
            .reduce(|all, cpu| all + cpu)
    }
}

/// Why a query is refused.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    part: String,
    must_be: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.must_be)
    }
}

/// The range of time of `from=UNIX&to=UNIX&step=SECONDS`; `now` is in milliseconds.
fn read_range(query: &[u8], now: u64) -> Result<Range, Refused> {
    let query = String::from_utf8_lossy(query);
    let (mut from, mut to, mut step) = (now.saturating_sub(DEFAULT_RANGE), now, DEFAULT_STEP);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let refused = |must_be| Refused {
            part: part.to_owned(),
            must_be,
        };
        let number = value.parse::<f64>().ok();
        let time = "must be a number of seconds since 1970";
        let (place, found, must_be) = match name {
            "from" => (&mut from, number.filter(|from| *from >= 0.0), time),
            "to" => (&mut to, number.filter(|to| *to >= 0.0), time),
            "step" => (
                &mut step,
                number.filter(|step| (1.0..=MOST_STEP).contains(step)),
                "step must be a number of seconds from 1 to 3600",
            ),
            _ => return Err(refused("there are from, to and step")),
        };
        let seconds = found.ok_or_else(|| refused(must_be))?;
        // A number that is too large becomes the largest one.
        *place = (seconds * 1000.0) as u64;
    }
    // Nothing is known of the future, and nothing is older than a day.
    let to = to.min(now);
    Ok(Range::new(
        from.max(to.saturating_sub(24 * DEFAULT_RANGE)),
        to,
        step,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    fn state() -> State {
        State::new(private_log().unwrap(), 0, Moment::default())
    }

    #[test]
    fn an_event_has_the_moment_at_which_it_is_appended() {
        let mut state = state();
        let event = Event {
            at: Moment::default(),
            kind: lockgate_history::EventKind::CachePurged,
            level: Level::Info,
            worker: None,
            generation: 0,
            text: "1 entry of the cache was purged".to_owned(),
        };
        let before = moment();
        state.append(Record::Event(event)).unwrap();
        let read: Vec<Record> = state.history.records(0).collect();
        let [Record::Event(read)] = &read[..] else {
            panic!("{read:?}");
        };
        assert!(read.at.monotonic >= before.monotonic && read.at.unix >= before.unix);
    }

    #[test]
    fn what_cannot_be_recorded_is_reported_once() {
        let mut state = state();
        let records = || {
            let fits = Event {
                at: Moment::default(),
                kind: lockgate_history::EventKind::Log,
                level: Level::Info,
                worker: None,
                generation: 0,
                text: String::new(),
            };
            let request = lockgate_history::SlowRequest {
                id: 1,
                label: "GET /".to_owned(),
                method: b"GET".to_vec(),
                target: vec![b'x'; 2 << 20],
                worker: 0,
                thread: 1,
                began: 0,
                nanoseconds: 1,
                is_running: false,
                client: Vec::new(),
                request_id: Vec::new(),
                samples: Vec::new(),
            };
            vec![Record::Slow(request), Record::Event(fits)]
        };
        assert_eq!(state.append_all(records()), Some(AppendError::TooLarge));
        assert_eq!(state.append_all(records()), None);
        assert_eq!(state.history.records(0).count(), 2, "the others are");
    }

    #[test]
    fn the_cpu_of_a_worker_is_known_from_its_second_observation_on() {
        let worker = WorkerView {
            slot: 0,
            generation: 0,
            pid: std::process::id().into(),
            state: lockgate_observe::State::Serving,
            started: 0,
            connections: 0,
            requests: 0,
            threads: 1,
            waiting: 0,
            websockets: 0,
            held: 0,
            totals: lockgate_observe::Totals::default(),
            calls: Vec::new(),
        };
        let another = WorkerView {
            pid: u64::MAX,
            ..worker.clone()
        };
        let (mut state, mut now) = (state(), Moment::default());
        for (workers, is_known) in [
            (&[][..], false),
            (std::slice::from_ref(&worker), false),
            (&[worker.clone(), another.clone()], true),
            (&[another], true),
            (std::slice::from_ref(&worker), false),
        ] {
            now.monotonic += 1_000_000_000;
            let all = state.read_usage(workers, now);
            assert_eq!(all.is_some(), is_known, "{workers:?}");
            assert!(all.is_none_or(|cpu| cpu < 60.0), "{all:?}");
            assert_eq!(state.usage.len(), workers.len());
        }
    }

    #[test]
    fn a_query_is_a_range_of_time_or_refused_with_the_reason() {
        let range = |from, to, step| Ok(Range::new(NOW - from, NOW - to, step));
        let refused = |part: &str, must_be| {
            Err(Refused {
                part: part.to_owned(),
                must_be,
            })
        };
        let time = "must be a number of seconds since 1970";
        let step = "step must be a number of seconds from 1 to 3600";
        for (query, expected) in [
            ("", range(3_600_000, 0, 10_000)),
            ("from=1789999990.5&step=1", range(9500, 0, 1000)),
            (
                "from=1789999000&to=1789999900&",
                range(1_000_000, 100_000, 10_000),
            ),
            ("from=0&step=60", range(24 * 3_600_000, 0, 60_000)),
            ("to=1e300", range(3_600_000, 0, 10_000)),
            ("from=inf", Ok(Range::new(u64::MAX, NOW, 10_000))),
            ("from=-1", refused("from=-1", time)),
            ("to=yesterday", refused("to=yesterday", time)),
            ("from=NaN", refused("from=NaN", time)),
            ("step", refused("step", step)),
            ("step=0", refused("step=0", step)),
            ("step=86400", refused("step=86400", step)),
            ("until=1", refused("until=1", "there are from, to and step")),
        ] {
            assert_eq!(read_range(query.as_bytes(), NOW), expected, "{query}");
        }
    }
}
