//! The recorder: what the scoreboard shows ten times a second in, records of the history out.

use std::cmp::Reverse;
use std::collections::HashMap;

use lockgate_observe::{Call, Level, Loss, Maintenance, request_label};
use lockgate_profile::Sample;

use crate::budget::Budget;
use crate::event::{Event, EventKind};
use crate::log::cost;
use crate::paths::{PathTally, PathUse};
use crate::point::{Counters, Gauges, Moment, Point};
use crate::record::{MOST_SLOW_BYTES, Record};
use crate::slow::{SlowRequest, request_id};

const SECOND: u64 = 1_000_000_000;
/// Between two scans that are further apart, threads may have run anything.
const LONGEST_INTERVAL: u64 = SECOND;
/// Interval of the records of top paths.
const PATHS_INTERVAL: u64 = 10 * SECOND;
/// A running request is recorded at this age, and whenever its age has doubled: for the next admin process.
const FIRST_RECORD: u64 = 10 * SECOND;
/// An overload ends when no request was refused for this long.
const OVERLOAD_END: u64 = 10 * SECOND;
/// A rate limit is mentioned again after this long.
const LIMIT_PAUSE: u64 = 60 * SECOND;
/// The clocks may differ by this many milliseconds between two scans: no correction of a running clock is faster.
const CLOCK_STEP: u64 = 2000;
/// The smallest record of a slow request that is of use.
const LEAST_SLOW_BYTES: usize = 400;
/// Most slow requests that are followed at once: the oldest ones.
const MOST_SLOW: usize = 500;

/// What is read once a second.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// What the server has counted.
    pub counters: Counters,
    /// How it is.
    pub gauges: Gauges,
    /// Each rate limit, and how many requests it has refused.
    pub limits: Vec<(String, u64)>,
    /// Entries that purges of the cache have removed.
    pub purged: u64,
    /// Where the switch for maintenance is.
    pub maintenance: Maintenance,
    /// The generation that serves.
    pub generation: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    /// Nanoseconds after which a request is slow.
    slow_after: u64,
    last: Moment,
    running: HashMap<ThreadKey, Tracked>,
    /// How many of them are slow.
    slow_count: usize,
    round: u64,
    paths: PathTally,
    paths_recorded: u64,
    budget: Budget,
    /// The last observation.
    before: Option<Observed>,
    generation: u64,
    overload: Option<Overload>,
    /// When each limit last began to refuse.
    limited: HashMap<String, u64>,
}

type ThreadKey = (usize, u64);

/// A request that is running.
#[derive(Debug)]
struct Tracked {
    pid: u64,
    began: u64,
    label: String,
    /// Of the last scan that has seen it.
    round: u64,
    age: u64,
    /// When it is recorded next, while it runs.
    record_at: u64,
    slow: Option<Box<SlowRequest>>,
}

#[derive(Debug)]
struct Overload {
    began: u64,
    last: u64,
    lost: u64,
}

impl Recorder {
    /// `slow_after`: nanoseconds from which a request is slow.
    pub fn new(slow_after: u64, now: Moment) -> Self {
        Self {
            slow_after,
            last: now,
            running: HashMap::new(),
            slow_count: 0,
            round: 0,
            paths: PathTally::default(),
            paths_recorded: now.monotonic,
            budget: Budget::new(now.monotonic),
            before: None,
            generation: 0,
            overload: None,
            limited: HashMap::new(),
        }
    }

    /// Reads what all threads run: the slot and the process of the worker, and the call.
    pub fn scan(
        &mut self,
        running: impl Iterator<Item = (usize, u64, Call)>,
        now: Moment,
    ) -> Vec<Record> {
        let mut records: Vec<Record> = self
            .clock_change(now)
            .map(Record::Event)
            .into_iter()
            .collect();
        self.budget.fill(now.monotonic);
        self.round += 1;
        let since = (self.last.monotonic).max(now.monotonic.saturating_sub(LONGEST_INTERVAL));
        let mut over: Vec<SlowRequest> = Vec::new();
        for (slot, pid, call) in running {
            over.extend(
                self.track(slot, pid, call, since, now)
                    .map(|request| *request),
            );
        }
        self.last = now;
        let round = self.round;
        self.running.retain(|_, tracked| {
            let is_running = tracked.round == round;
            if !is_running {
                over.extend(tracked.slow.take().map(|request| *request));
            }
            is_running
        });
        over.iter_mut()
            .for_each(|request| request.is_running = false);
        let slow = self
            .running
            .values()
            .filter(|tracked| tracked.slow.is_some());
        self.slow_count = slow.count();
        over.extend(self.due());
        // The slowest first, for there may not be room for all.
        over.sort_by_key(|request| Reverse(request.nanoseconds));
        records.extend(over.into_iter().filter_map(|request| self.record(request)));
        records
    }

    /// Follows what a thread runs; returns its previous slow request, which is over.
    fn track(
        &mut self,
        slot: usize,
        pid: u64,
        call: Call,
        since: u64,
        now: Moment,
    ) -> Option<Box<SlowRequest>> {
        // A call that has taken its connection over runs for as long as its client wants.
        let request = call.request.filter(|request| !request.is_upgraded)?;
        let age = now.monotonic.checked_sub(request.began)?;
        let mut over = None;
        let key = (slot, call.thread);
        let known = self.running.get(&key);
        let is_new = known.is_none_or(|known| (known.pid, known.began) != (pid, request.began));
        if is_new {
            let tracked = Tracked {
                pid,
                began: request.began,
                label: request_label(&request.method, &request.target, request.is_cut),
                round: self.round,
                age,
                record_at: FIRST_RECORD,
                slow: None,
            };
            over = (self.running.insert(key, tracked)).and_then(|before| before.slow);
        }
        let tracked = self.running.get_mut(&key)?;
        tracked.round = self.round;
        tracked.age = age;
        let seen = PathUse {
            nanoseconds: now.monotonic.saturating_sub(since.max(request.began)),
            requests: is_new.into(),
            slowest: age,
        };
        self.paths.add(&tracked.label, seen);
        if age >= self.slow_after && tracked.slow.is_none() && self.slow_count < MOST_SLOW {
            self.slow_count += 1;
            tracked.slow = Some(Box::new(SlowRequest {
                id: request_id(request.began, call.thread),
                label: tracked.label.clone(),
                method: request.method,
                target: request.target,
                worker: slot,
                thread: call.thread,
                began: now.unix.saturating_sub(age / 1_000_000),
                nanoseconds: age,
                is_running: true,
                client: request.client,
                request_id: request.request_id,
                samples: Vec::new(),
            }));
        }
        if let Some(slow) = &mut tracked.slow {
            slow.nanoseconds = age;
        }
        over
    }

    /// Slow requests that are recorded while they run.
    fn due(&mut self) -> Vec<SlowRequest> {
        let due = self.running.values_mut().filter_map(|tracked| {
            let slow = tracked
                .slow
                .as_ref()
                .filter(|_| tracked.age >= tracked.record_at)?;
            tracked.record_at = tracked.age.saturating_mul(2);
            Some((**slow).clone())
        });
        due.collect()
    }

    /// The record of a slow request, if there is room for it.
    fn record(&mut self, mut request: SlowRequest) -> Option<Record> {
        let room = self
            .budget
            .left()
            .saturating_sub(cost(0))
            .min(MOST_SLOW_BYTES);
        if room < LEAST_SLOW_BYTES {
            return None;
        }
        self.budget.take(cost(request.fit(room)));
        Some(Record::Slow(request))
    }

    /// A sample of the threads of a worker: of those with a slow request it is kept.
    pub fn sample(&mut self, slot: usize, sample: &Sample) {
        for thread in &sample.threads {
            let tracked = self.running.get_mut(&(slot, thread.thread));
            let tracked = tracked.filter(|tracked| tracked.began == thread.began);
            if let Some(slow) = tracked.and_then(|tracked| tracked.slow.as_mut()) {
                slow.sample(&sample.stacks, thread.stack, &thread.activity);
            }
        }
    }

    /// The slots of workers that run a slow request.
    pub fn slow_workers(&self) -> Vec<usize> {
        let slow = self
            .running
            .iter()
            .filter(|(_, tracked)| tracked.slow.is_some());
        let mut slots: Vec<usize> = slow.map(|((slot, _), _)| *slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// The slow requests that are running.
    pub fn slow_requests(&self) -> Vec<SlowRequest> {
        let slow = self
            .running
            .values()
            .filter_map(|tracked| tracked.slow.as_deref());
        slow.cloned().collect()
    }

    /// The top paths that are not recorded yet.
    pub fn paths(&self) -> &PathTally {
        &self.paths
    }

    /// What was read once a second.
    pub fn observe(&mut self, observed: Observed, now: Moment) -> Vec<Record> {
        let mut records = vec![Record::Point(Box::new(Point {
            at: now,
            counters: observed.counters,
            gauges: observed.gauges,
        }))];
        if now.monotonic.saturating_sub(self.paths_recorded) >= PATHS_INTERVAL {
            self.paths_recorded = now.monotonic;
            let paths = std::mem::take(&mut self.paths);
            if !paths.is_empty() {
                records.push(Record::Paths(now, paths));
            }
        }
        self.generation = observed.generation;
        let events = self.changes(&observed, now).into_iter();
        records.extend(events.map(|(kind, level, text)| {
            let event = self.event(kind, level, text, now);
            self.budget.take(cost(event.encode().len()));
            Record::Event(event)
        }));
        self.before = Some(observed);
        records
    }

    fn event(&self, kind: EventKind, level: Level, text: String, now: Moment) -> Event {
        Event {
            at: now,
            kind,
            level,
            worker: None,
            generation: self.generation,
            text,
        }
    }

    /// The events that this observation shows.
    fn changes(&mut self, observed: &Observed, now: Moment) -> Vec<(EventKind, Level, String)> {
        let Some(before) = self.before.take() else {
            return Vec::new();
        };
        let mut events = Vec::new();
        let counted = observed.counters.since(before.counters);
        let lost = counted.map_or(0, |counted| {
            let losses = counted.totals.losses;
            losses[Loss::QueueFull as usize] + losses[Loss::QueueTimeout as usize]
        });
        events.extend(self.overload(lost, now.monotonic));
        for (name, refused) in &observed.limits {
            let known = before.limits.iter().find(|(other, _)| other == name);
            if *refused > known.map_or(0, |(_, refused)| *refused) {
                let last = self.limited.insert(name.clone(), now.monotonic);
                if last.is_none_or(|last| now.monotonic.saturating_sub(last) >= LIMIT_PAUSE) {
                    let text = format!("the rate limit {name} has begun to refuse requests");
                    events.push((EventKind::RateLimited, Level::Info, text));
                }
            }
        }
        if let Some(count @ 1..) = observed.purged.checked_sub(before.purged) {
            let text = match count {
                1 => "1 entry of the cache was purged".to_owned(),
                count => format!("{count} entries of the cache were purged"),
            };
            events.push((EventKind::CachePurged, Level::Info, text));
        }
        if observed.maintenance != before.maintenance {
            let text = match observed.maintenance {
                Maintenance::On => "maintenance is on: clients get 503",
                Maintenance::Off => "maintenance is off, whatever the settings say",
                Maintenance::AsConfigured => "maintenance is as the settings say",
            };
            events.push((EventKind::Maintenance, Level::Info, text.to_owned()));
        }
        events
    }

    fn overload(&mut self, lost: u64, now: u64) -> Option<(EventKind, Level, String)> {
        match &mut self.overload {
            None if lost > 0 => {
                let (began, last) = (now, now);
                self.overload = Some(Overload { began, last, lost });
                let text = "requests are refused or expire: too many wait for a thread (settings: \
                            threads, workers, queue_size, queue_timeout)";
                Some((EventKind::OverloadBegun, Level::Warning, text.to_owned()))
            }
            None => None,
            Some(overload) if lost > 0 => {
                overload.lost += lost;
                overload.last = now;
                None
            }
            Some(overload) if now.saturating_sub(overload.last) < OVERLOAD_END => None,
            Some(overload) => {
                let seconds = overload.last.saturating_sub(overload.began) / SECOND + 1;
                let text = format!(
                    "no request is refused any more: {} were refused or expired within {seconds} s",
                    overload.lost
                );
                self.overload = None;
                Some((EventKind::OverloadEnded, Level::Info, text))
            }
        }
    }

    fn clock_change(&mut self, now: Moment) -> Option<Event> {
        let passed = now.monotonic.saturating_sub(self.last.monotonic) / 1_000_000;
        let expected = self.last.unix.saturating_add(passed);
        let by = now.unix.abs_diff(expected);
        if by < CLOCK_STEP {
            return None;
        }
        let seconds = by as f64 / 1000.0;
        let text = match now.unix > expected {
            true => format!(
                "the clock is {seconds:.1} s ahead: it was set, or the machine was suspended"
            ),
            false => format!("the clock was set back by {seconds:.1} s"),
        };
        Some(self.event(EventKind::ClockChanged, Level::Warning, text, now))
    }
}

#[cfg(test)]
mod tests;
