//! The scoreboard in the format of uWSGI's stats server, for tools that read that format.
//!
//! Values that Lockgate does not count are 0, never a guess; docs/observing.md says which are counted.

use crate::object::Json;
use crate::scoreboard::{Call, Loss, Scoreboard, WorkerView};

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Memory in use.
    pub resident: u64,
    /// Address space.
    pub address_space: u64,
}

/// A shared cache and what has happened to it.
#[derive(Debug, Clone, Default)]
pub struct CacheView {
    /// Its name.
    pub name: String,
    /// Longest key in bytes.
    pub key_size: u64,
    /// Maximum number of entries.
    pub max_items: u64,
    /// Number of blocks for values.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Entries.
    pub items: u64,
    /// Lookups that found an entry.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Entries that were refused because it was full.
    pub full: u64,
}

/// Appends the object. `now` is the monotonic clock in nanoseconds, as on the scoreboard, and `wall` the same moment in
/// seconds since 1970; `memory` gives a process's memory.
pub fn write_uwsgi(
    out: &mut Vec<u8>,
    (scoreboard, caches): (Scoreboard, &[CacheView]),
    version: &str,
    (now, wall): (u64, u64),
    memory: impl Fn(u64) -> Memory,
) {
    let workers: Vec<WorkerView> = scoreboard.workers().collect();
    let (supervisor, _) = scoreboard.supervisor();
    let mut json = Json::default();
    json.open('{');
    json.text("version", format!("lockgate-{version}").as_bytes());
    // Requests instead of connections: each waits for a worker.
    let waiting = workers.iter().map(|worker| worker.waiting).sum();
    json.number("listen_queue", waiting);
    json.number("listen_queue_errors", 0);
    json.number("signal_queue", 0);
    json.number("load", waiting);
    json.number("pid", supervisor);
    for name in ["locks", "sockets"] {
        json.key(name);
        json.open('[');
        json.close(']');
    }
    if !caches.is_empty() {
        json.key("caches");
        json.open('[');
        for cache in caches {
            json.uwsgi_cache(cache);
        }
        json.close(']');
    }
    json.key("workers");
    json.open('[');
    for worker in &workers {
        let spawned = wall.saturating_sub(now.saturating_sub(worker.started) / 1_000_000_000);
        json.uwsgi_worker(worker, spawned, memory(worker.pid));
    }
    json.close(']');
    json.close('}');
    json.finish(out);
}

impl Json {
    fn uwsgi_worker(&mut self, worker: &WorkerView, spawned: u64, memory: Memory) {
        let requests = worker.totals.responses();
        let running_time = worker.totals.duration / 1000;
        let timed: u64 = worker.totals.durations.iter().sum();
        let harakiri = worker.totals.losses[Loss::RequestTimeout as usize];
        let is_busy = worker.busy() > 0;
        self.separate();
        self.open('{');
        self.number("id", worker.slot as u64 + 1);
        self.number("pid", worker.pid);
        self.number("accepting", 1);
        self.number("requests", requests);
        self.number("delta_requests", worker.requests);
        self.number("exceptions", 0);
        self.number("harakiri_count", harakiri);
        self.number("signals", 0);
        self.number("signal_queue", 0);
        self.text("status", if is_busy { b"busy" } else { b"idle" });
        self.number("rss", memory.resident);
        self.number("vsz", memory.address_space);
        self.number("running_time", running_time);
        self.number("last_spawn", spawned);
        self.number("respawn_count", worker.generation);
        self.number("tx", worker.totals.sent);
        self.number("avg_rt", running_time.checked_div(timed).unwrap_or(0));
        self.key("apps");
        self.open('[');
        self.close(']');
        self.key("cores");
        self.open('[');
        for (id, call) in worker.calls.iter().enumerate() {
            self.uwsgi_core(id as u64, call);
        }
        self.close(']');
        self.close('}');
    }

    fn uwsgi_cache(&mut self, cache: &CacheView) {
        self.separate();
        self.open('{');
        self.text("name", cache.name.as_bytes());
        for (name, value) in [
            ("keysize", cache.key_size),
            ("max_items", cache.max_items),
            ("blocks", cache.blocks),
            ("blocksize", cache.block_size),
            ("items", cache.items),
            ("hits", cache.hits),
            ("miss", cache.misses),
            ("full", cache.full),
        ] {
            self.number(name, value);
        }
        self.close('}');
    }

    fn uwsgi_core(&mut self, id: u64, call: &Call) {
        self.separate();
        self.open('{');
        self.number("id", id);
        for name in [
            "requests",
            "static_requests",
            "routed_requests",
            "offloaded_requests",
            "write_errors",
            "read_errors",
        ] {
            self.number(name, 0);
        }
        self.number("in_request", call.request.is_some().into());
        self.key("vars");
        self.open('[');
        self.close(']');
        self.close('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    use serde_json::Value;

    use crate::scoreboard::Response;

    #[test]
    fn a_worker_is_written_in_the_units_of_uwsgi() {
        let scoreboard = Scoreboard::new(Vec::leak(
            (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect(),
        ));
        scoreboard.record_start(7, 0);
        for _replaced_once in 0..2 {
            scoreboard.worker_slot(1).unwrap().enter();
        }
        let counters = scoreboard.worker_slot(1).unwrap().counters().unwrap();
        counters.open(70, 2_000_000_000);
        for duration in [Some(3_000_000), Some(1_000_000), None] {
            counters.record_response(Response {
                status: 200,
                bytes: 100,
                duration,
            });
        }
        counters.record_loss(Loss::RequestTimeout, 0);
        counters.record_waiting(4);
        counters.claim(71, 1).unwrap();
        let entry = counters.claim(72, 2).unwrap();
        let reported = || {
            let mut out = Vec::new();
            let memory = |pid| Memory {
                resident: pid * 2,
                address_space: pid * 3,
            };
            let cache = CacheView {
                name: "pages".to_owned(),
                hits: 7,
                ..CacheView::default()
            };
            let shown = (scoreboard, &[cache][..]);
            write_uwsgi(&mut out, shown, "1.2", (12_500_000_000, 1000), memory);
            serde_json::from_slice::<Value>(&out).unwrap()
        };
        assert_eq!(reported()["workers"][0]["status"], "idle");
        entry.begin(5, b"GET", b"/", Some(b""), b"");
        let found = reported();
        assert_eq!(
            (&found["pid"], &found["listen_queue"]),
            (&7.into(), &4.into())
        );
        assert_eq!(found["version"], "lockgate-1.2");
        let cache = &found["caches"][0];
        assert_eq!(
            (&cache["name"], &cache["hits"], &cache["miss"]),
            (&"pages".into(), &7.into(), &0.into())
        );
        let worker = &found["workers"][0];
        for (name, value) in [
            ("id", 2),
            ("pid", 70),
            ("requests", 3),
            ("harakiri_count", 1),
            ("rss", 140),
            ("vsz", 210),
            ("running_time", 4000),
            ("avg_rt", 2000),
            ("last_spawn", 990),
            ("respawn_count", 2),
            ("tx", 300),
        ] {
            assert_eq!(worker[name], value, "{name}");
        }
        assert_eq!(worker["status"], "busy");
        let busy: Vec<_> = (worker["cores"].as_array().unwrap().iter())
            .map(|core| core["in_request"].as_u64().unwrap())
            .collect();
        assert_eq!(busy, [0, 1]);
    }
}
