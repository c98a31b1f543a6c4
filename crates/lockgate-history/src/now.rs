//! What the server is doing at this moment, as one JSON object for the page of the admin listener.

use std::collections::HashMap;

use lockgate_observe::{
    CacheCounts, Call, CertificatesView, Json, LimitsView, Running, Scoreboard, WorkerView,
    request_label,
};
use lockgate_profile::Frame;

use crate::frames::{SourceLines, write_frames};
use crate::point::Moment;
use crate::report::seconds;

/// Threads that are shown: those of the oldest requests.
const MOST_THREADS: usize = 400;

/// What the processes of workers use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Resident bytes.
    pub memory: u64,
    /// Parts of a CPU; `None` if it is not known.
    pub cpu: Option<f64>,
}

/// Where a thread was when it was sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledThread {
    /// When its request was complete; see [`Running::began`].
    pub began: u64,
    /// What it did.
    pub activity: String,
    /// The most recent frame first.
    pub frames: Vec<Frame>,
}

/// See the module.
#[derive(Debug)]
pub struct Now<'a> {
    /// The version of the server.
    pub version: &'a str,
    /// When.
    pub at: Moment,
    /// All workers.
    pub scoreboard: Scoreboard,
    /// Whether targets are shown with their query strings.
    pub shows_queries: bool,
    /// Whether the page may send actions.
    pub page_may_act: bool,
    /// What `/readyz` says.
    pub readiness: &'a str,
    /// What each worker uses, by its process id.
    pub usage: &'a HashMap<u64, Usage>,
    /// Where threads were, by the slot of their worker and their kernel TID.
    pub threads: &'a HashMap<(usize, u64), SampledThread>,
    /// The rate limits.
    pub limits: &'a LimitsView,
    /// The certificates.
    pub certificates: &'a CertificatesView,
    /// What the cache has counted, if there is one.
    pub cache: Option<CacheCounts>,
}

impl Now<'_> {
    /// Appends the object.
    pub fn write(&self, out: &mut Vec<u8>, lines: &mut SourceLines<'_>) {
        let (supervisor, started) = self.scoreboard.supervisor();
        let uptime = self.at.monotonic.saturating_sub(started) / 1_000_000;
        let workers: Vec<WorkerView> = self.scoreboard.workers().collect();
        let mut json = Json::default();
        json.open('{');
        json.text("name", b"lockgate");
        json.text("version", self.version.as_bytes());
        json.number("pid", supervisor);
        json.float("now", seconds(self.at.unix));
        json.float("started", seconds(self.at.unix.saturating_sub(uptime)));
        let shown = if self.shows_queries {
            "targets"
        } else {
            "paths"
        };
        json.text("show", shown.as_bytes());
        json.truth("actions", self.page_may_act);
        json.text("readiness", self.readiness.trim_end().as_bytes());
        json.text(
            "maintenance",
            self.scoreboard.maintenance().name().as_bytes(),
        );
        json.reload(&self.scoreboard.reload(), self.at.monotonic);
        json.key("workers");
        json.open('[');
        for worker in &workers {
            self.write_worker(&mut json, worker);
        }
        json.close(']');
        self.write_threads(&mut json, &workers, lines);
        json.key("limits");
        json.limits(self.limits);
        json.certificates(self.certificates);
        match &self.cache {
            Some(counts) => write_cache(&mut json, counts),
            None => json.null("cache"),
        }
        json.close('}');
        json.finish(out);
    }

    fn write_worker(&self, json: &mut Json, worker: &WorkerView) {
        json.separate();
        json.open('{');
        json.worker_fields(worker, self.at.monotonic);
        json.number("threads_limit", worker.threads);
        let usage = self.usage.get(&worker.pid);
        match usage {
            Some(usage) => json.number("memory", usage.memory),
            None => json.null("memory"),
        }
        match usage.and_then(|usage| usage.cpu) {
            Some(cpu) => json.float("cpu", cpu),
            None => json.null("cpu"),
        }
        json.close('}');
    }

    fn write_threads(&self, json: &mut Json, workers: &[WorkerView], lines: &mut SourceLines<'_>) {
        let calls = workers
            .iter()
            .flat_map(|worker| worker.calls.iter().map(move |call| (worker, call)));
        let mut running: Vec<(&WorkerView, &Call, &Running)> = calls
            .filter_map(|(worker, call)| Some((worker, call, call.request.as_ref()?)))
            .collect();
        // The oldest first; those that have their connection for themselves last.
        running.sort_by_key(|(_, _, request)| (request.is_upgraded, request.began));
        let left_out = running.len().saturating_sub(MOST_THREADS);
        json.key("threads");
        json.open('[');
        for (worker, call, request) in running.into_iter().take(MOST_THREADS) {
            json.separate();
            json.open('{');
            json.number("worker", worker.slot as u64);
            json.number("pid", worker.pid);
            json.number("thread", call.thread);
            let label = request_label(&request.method, &request.target, request.is_cut);
            json.text("label", label.as_bytes());
            json.request_fields(request, self.at.monotonic);
            if request.request_id.is_empty() {
                json.text("request_id", b"");
            }
            let sampled = self.threads.get(&(worker.slot, call.thread));
            match sampled.filter(|sampled| sampled.began == request.began) {
                Some(sampled) => {
                    json.text("activity", sampled.activity.as_bytes());
                    let uptime = self.at.monotonic.saturating_sub(worker.started) / 1_000_000;
                    let started = self.at.unix.saturating_sub(uptime);
                    write_frames(json, &sampled.frames, lines, started);
                }
                None => {
                    json.null("activity");
                    write_frames(json, &[], lines, 0);
                }
            }
            json.close('}');
        }
        json.close(']');
        json.number("threads_left_out", left_out as u64);
    }
}

fn write_cache(json: &mut Json, counts: &CacheCounts) {
    json.key("cache");
    json.open('{');
    for (name, number) in [
        ("hits", counts.hits),
        ("misses", counts.misses),
        ("collapsed", counts.collapsed),
        ("stored", counts.stored),
        ("evicted", counts.evicted),
        ("purged", counts.purged),
        ("refused", counts.refused),
        ("corrupt", counts.corrupt),
        ("entries", counts.entries),
        ("bytes", counts.bytes),
        ("capacity", counts.capacity),
    ] {
        json.number(name, number);
    }
    json.close('}');
}
