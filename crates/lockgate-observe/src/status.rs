//! The scoreboard as one JSON object, for people and for programs that poll rarely.
//!
//! Invariant: whatever clients sent, the text is one JSON object in ASCII.

use crate::certificates::CertificatesView;
use crate::object::Json;
use crate::scoreboard::{Call, Loss, ReloadView, Running, Scoreboard, Totals, WorkerView};

/// Appends the object. `now` is the monotonic clock in nanoseconds, as on the scoreboard.
pub fn write_status(
    out: &mut Vec<u8>,
    scoreboard: Scoreboard,
    certificates: &CertificatesView,
    version: &str,
    now: u64,
) {
    let (supervisor, started) = scoreboard.supervisor();
    let mut json = Json::default();
    json.open('{');
    json.text("name", b"lockgate");
    json.text("version", version.as_bytes());
    json.number("pid", supervisor);
    json.seconds("uptime", now.saturating_sub(started));
    json.number("worker_starts", scoreboard.starts());
    json.text("maintenance", scoreboard.maintenance().name().as_bytes());
    json.totals(&scoreboard.totals());
    json.key("workers");
    json.open('[');
    for worker in scoreboard.workers() {
        json.worker(&worker, now);
    }
    json.close(']');
    json.reload(&scoreboard.reload(), now);
    json.certificates(certificates);
    json.close('}');
    json.finish(out);
}

impl Json {
    fn worker(&mut self, worker: &WorkerView, now: u64) {
        self.separate();
        self.open('{');
        self.worker_fields(worker, now);
        self.key("running");
        self.open('[');
        for call in &worker.calls {
            self.call(call, now);
        }
        self.close(']');
        self.close('}');
    }

    /// The fields of a worker, without brackets and without what its threads run.
    pub fn worker_fields(&mut self, worker: &WorkerView, now: u64) {
        self.number("slot", worker.slot as u64);
        self.number("pid", worker.pid);
        self.text("state", worker.state.name().as_bytes());
        self.number("generation", worker.generation);
        self.seconds("uptime", now.saturating_sub(worker.started));
        self.number("connections", worker.connections);
        self.number("requests", worker.requests);
        self.number("requests_waiting", worker.waiting);
        self.number("requests_held", worker.held);
        self.number("threads", worker.pool() as u64);
        self.number("threads_busy", worker.busy() as u64);
        self.number("websockets", worker.websockets);
        self.totals(&worker.totals);
    }

    fn call(&mut self, call: &Call, now: u64) {
        let Some(request) = &call.request else {
            return;
        };
        self.separate();
        self.open('{');
        self.number("thread", call.thread);
        self.request_fields(request, now);
        self.close('}');
    }

    /// The fields of a running request, without brackets.
    pub fn request_fields(&mut self, request: &Running, now: u64) {
        self.text("method", &request.method);
        self.text("target", &request.target);
        self.truth("target_is_cut", request.is_cut);
        self.text("client", &request.client);
        self.seconds("age", now.saturating_sub(request.began));
        self.truth("websocket", request.is_upgraded);
        if !request.request_id.is_empty() {
            self.text("request_id", &request.request_id);
        }
    }

    fn totals(&mut self, totals: &Totals) {
        self.key("responses");
        self.open('{');
        // Interim responses (1xx) are not counted.
        for (class, count) in (1..).zip(&totals.classes).skip(1) {
            self.number(&format!("{class}xx"), *count);
        }
        self.close('}');
        self.key("lost");
        self.open('{');
        for (loss, count) in Loss::ALL.iter().zip(&totals.losses) {
            self.number(loss.name(), *count);
        }
        self.close('}');
        self.number("received_bytes", totals.received);
        self.number("sent_bytes", totals.sent);
        self.seconds("request_seconds", totals.duration);
    }

    /// The object of the current reload, or the last one.
    pub fn reload(&mut self, reload: &ReloadView, now: u64) {
        let seconds = match reload.begun > reload.ended {
            true => now.saturating_sub(reload.began_at),
            false => 0,
        };
        self.key("reload");
        self.open('{');
        self.text("state", reload.state.name().as_bytes());
        self.number("begun", reload.begun);
        self.number("ended", reload.ended);
        self.number("ready", reload.ready);
        self.number("wanted", reload.wanted);
        self.seconds("seconds", seconds);
        self.seconds("last_seconds", reload.took);
        self.number("failed", reload.failed);
        self.text("why", &reload.why);
        self.close('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    use serde_json::Value;

    fn scoreboard() -> Scoreboard {
        Scoreboard::new(Vec::leak(
            (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect(),
        ))
    }

    fn status(scoreboard: Scoreboard, now: u64) -> Value {
        let mut out = Vec::new();
        write_status(
            &mut out,
            scoreboard,
            &CertificatesView::default(),
            "1.2.3",
            now,
        );
        assert!(out.is_ascii());
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_status_says_what_each_thread_runs_whatever_clients_send() {
        let scoreboard = scoreboard();
        scoreboard.record_start(7, 1_000_000_000);
        assert_eq!(
            status(scoreboard, 2_000_000_000)["workers"],
            Value::Array(vec![])
        );
        for slot in [0, 1] {
            let worker_slot = scoreboard.worker_slot(slot).unwrap();
            worker_slot.enter();
            let counters = worker_slot.counters().unwrap();
            counters.open(100 + slot as u32, 1_500_000_000);
            counters.claim(55, 0).unwrap();
            for target in [&b"/a?\"quoted\"\\"[..], b"/\xff\xc3\xa9\x1b[2J"] {
                let entry = counters.claim(56, 0).unwrap();
                entry.begin(2_000_000_000, b"GET", target, Some(b"::1"), b"");
            }
        }
        let found = status(scoreboard, 4_250_000_000);
        assert_eq!(
            (&found["pid"], &found["version"]),
            (&7.into(), &"1.2.3".into())
        );
        assert_eq!(found["uptime"], 3.25);
        let worker = &found["workers"][1];
        assert_eq!((&worker["slot"], &worker["pid"]), (&1.into(), &101.into()));
        assert_eq!(worker["state"], "serving");
        assert_eq!(
            (&worker["threads"], &worker["threads_busy"]),
            (&3.into(), &2.into())
        );
        let running = worker["running"].as_array().unwrap();
        assert_eq!(running.len(), 2);
        assert_eq!(running[0]["target"], "/a?\"quoted\"\\");
        assert_eq!(running[0]["age"], 2.25);
        assert_eq!(running[0]["client"], "::1");
        assert!(running[1]["target"].as_str().unwrap().contains("\u{1b}[2J"));
    }

    #[test]
    fn the_status_says_how_the_last_reload_went() {
        let scoreboard = scoreboard();
        let reload = |now| status(scoreboard, now)["reload"].clone();
        assert_eq!(reload(5)["state"], "never");
        assert_eq!(reload(5)["seconds"], 0.0);
        scoreboard.record_reload_begun(1_000_000_000);
        scoreboard.record_reload_ready(3, 12);
        let found = reload(2_500_000_000);
        assert_eq!((&found["ready"], &found["wanted"]), (&3.into(), &12.into()));
        assert_eq!((&found["begun"], &found["ended"]), (&1.into(), &0.into()));
        assert_eq!(
            (&found["state"], &found["seconds"]),
            (&"booting".into(), &1.5.into())
        );
        scoreboard.record_reload_failed("no \"shop\"\nTraceback", 3_000_000_000);
        let found = reload(9_000_000_000);
        assert_eq!(
            (&found["state"], &found["last_seconds"]),
            (&"failed".into(), &2.0.into())
        );
        assert_eq!((&found["ended"], &found["failed"]), (&1.into(), &1.into()));
        assert_eq!(found["why"], "no \"shop\"\nTraceback");
    }
}
