//! The OTLP exporter's process: one thread that sends what workers record, and what the server counts.
//!
//! It runs as the workers' user, and needs nothing of the supervisor's.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lockgate_config::Config;
use lockgate_observe::{
    CertificatesView, Level, OtlpTimes, ProcessView, Resource, Scoreboard, write_otlp_metrics,
};
use lockgate_otlp::{Exporter, Host, Recorded, Sender, Stage};
use lockgate_supervisor::{CpuTimes, WorkerContext, cpu_times, process_memory};
use lockgate_worker::log::ErrorLog;
use lockgate_worker::monotonic_nanos;

use crate::hooks::PythonHooks;
use crate::metrics::{Counted, limits_redis};
use crate::process::threads::RunningThreads;

/// How long the last sending may take. The supervisor waits for a second.
const LAST_SENDING: Duration = Duration::from_millis(900);

impl PythonHooks {
    /// In the exporter's process: as [`run`].
    pub(crate) fn export(&self, context: WorkerContext) -> io::Result<i32> {
        let config = &self.config;
        let recorded = Recorded {
            spans: self.logs.spans,
            lines: self.logs.lines,
        };
        let counted = self.scoreboard.map(|scoreboard| Counted {
            scoreboard,
            broadcast_log: self.logs.broadcast.filter(|_| config.push.is_enabled),
            responses: self.responses,
            rates: self.rates,
            limits_redis: limits_redis(config),
        });
        run(config, &self.log, context, recorded, counted)
    }

    /// The error log, which may be a new one, counts lost lines, and records its lines for the exporter.
    pub(crate) fn share_log(&self) {
        if let Some(scoreboard) = self.scoreboard {
            self.log.count_losses_on(scoreboard);
        }
        if let Some(log) = self.logs.lines {
            self.log.record_lines_in(log);
        }
    }
}

/// Runs until the supervisor ends this process or has exited; returns the exit code.
fn run(
    config: &Config,
    log: &Arc<ErrorLog>,
    mut context: WorkerContext,
    recorded: Recorded,
    counted: Option<Counted>,
) -> io::Result<i32> {
    let running = RunningThreads::new(log);
    // Without memory, which the supervisor has reported, this process has nothing to send and waits for its end: an
    // exit would be taken for a failure.
    if let Some(otlp) = &config.identity.otlp {
        let host_name = rustix::system::uname();
        let host_name = host_name.nodename().to_string_lossy().into_owned();
        let supervisor = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        let sender = Sender {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Another server of the host has another supervisor, and an upgrade keeps it.
            instance: format!("{host_name}:{supervisor}"),
            host_name,
        };
        let is_ending = Arc::new(AtomicBool::new(false));
        let (done, is_done) = mpsc::channel();
        let mut otlp = otlp.clone();
        otlp.metrics &= counted.is_some();
        let mut exporter = Exporter::new(otlp, sender, recorded, Instant::now());
        let process = Process {
            log: Arc::clone(log),
            start: counted
                .as_ref()
                .map_or(0, |counted| start(counted.scoreboard)),
            counted,
            used: Mutex::default(),
            is_ending: Arc::clone(&is_ending),
        };
        running.spawn("otlp-exporter", move || {
            exporter.run(&process);
            // The main thread may have stopped waiting.
            let _late = done.send(());
        })?;
        let code = context.run(&running.control());
        is_ending.store(true, Ordering::Release);
        let _too_late = is_done.recv_timeout(LAST_SENDING);
        return Ok(code);
    }
    Ok(context.run(&running.control()))
}

/// The process as the exporter sees it.
struct Process {
    log: Arc<ErrorLog>,
    counted: Option<Counted>,
    /// When the server started, in nanoseconds since 1970.
    start: u64,
    /// The processor time that was sent last.
    used: Mutex<CpuTimes>,
    /// The supervisor has asked this process to end.
    is_ending: Arc<AtomicBool>,
}

impl Host for Process {
    fn write(&self, level: Level, message: &str) {
        self.log.write(level, message);
    }

    fn stage(&self) -> Stage {
        let counted = self.counted.as_ref();
        match counted.is_some_and(|counted| counted.scoreboard.is_draining()) {
            _ if self.is_ending.load(Ordering::Acquire) => Stage::Ending,
            true => Stage::Stopping,
            false => Stage::Running,
        }
    }

    fn write_metrics(&self, out: &mut Vec<u8>, resource: Resource<'_>) {
        let Some(counted) = &self.counted else {
            return;
        };
        // This process has no certificates: their memory also has the keys.
        let families = counted.families(&CertificatesView::default(), monotonic_nanos());
        let times = OtlpTimes {
            start: self.start,
            now: unix_nanos(),
        };
        let process = self.processes(counted.scoreboard);
        write_otlp_metrics(out, resource, &families, process, times);
    }
}

impl Process {
    /// The supervisor and its workers. Of a worker that ends, the supervisor has the processor time a moment later.
    fn processes(&self, scoreboard: Scoreboard) -> ProcessView {
        let workers = scoreboard.workers().map(|worker| worker.pid);
        let (supervisor, _) = scoreboard.supervisor();
        let mut view = ProcessView::default();
        for pid in workers.chain([supervisor]) {
            let times = cpu_times(pid);
            view.user = view.user.saturating_add(times.user);
            view.system = view.system.saturating_add(times.system);
            view.memory = view.memory.saturating_add(process_memory(pid).resident);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.user = used.user.max(view.user);
        used.system = used.system.max(view.system);
        (view.user, view.system) = (used.user, used.system);
        view
    }
}

/// The start of the server by today's clock: an offset of the clock since then must not change it. In whole seconds, so
/// that each exporter finds the same one: another start would begin another stream of sums (OTLP, "Temporality").
fn start(scoreboard: Scoreboard) -> u64 {
    let (_, started) = scoreboard.supervisor();
    let age = monotonic_nanos().saturating_sub(started);
    let start = unix_nanos().saturating_sub(age);
    start - start % 1_000_000_000
}

fn unix_nanos() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    wall.map_or(0, |wall| wall.as_nanos().try_into().unwrap_or(u64::MAX))
}
