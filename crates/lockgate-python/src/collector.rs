//! Python's cyclic garbage collector as the setting `gc` wants it, and the collections between turns.
//! Knows no request. `Ledger` decides, from counts and a time that it is given; `Collector` asks Python and collects.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::Collection;
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

use crate::{exceptions, interpreter};

/// So many more containers than at the last collection make a young one due, unless the application's own threshold is
/// higher. The default of CPython 3.13 and later; those before it take 700.
const YOUNG: u64 = 2_000;

/// Every so many young collections one takes the middle generation as well: CPython's threshold.
const YOUNG_PER_MIDDLE: u32 = 10;

/// The long-lived have to grow by a quarter before a full collection pays: CPython's rule, which keeps the work linear.
const GROWTH: u64 = 4;

/// And by so many at least: after a freeze nearly nothing is left to grow from.
const LEAST_GROWTH: u64 = 10_000;

/// A circle of few objects can hold large buffers, which no count shows: resident memory that grew so much since the last
/// full collection makes one due.
const MEMORY_GROWTH: u64 = 64 << 20;

/// Reading the resident memory is a system call or three.
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// Without a turn for so long, garbage of long requests and of the application's own threads is looked for all the same.
const LONGEST_WITHOUT_LOOK: Duration = Duration::from_secs(1);

/// A young collection of more than this may take longer than waking a thread.
const LONG: u64 = 10_000;

/// What to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Young,
    Middle,
    Full,
}

impl Due {
    /// The argument of `gc.collect`.
    fn generation(self) -> u8 {
        match self {
            Self::Nothing | Self::Young => 0,
            Self::Middle => 1,
            Self::Full => 2,
        }
    }
}

/// What was made and what was found dead, as far as it shows from outside.
#[derive(Debug)]
struct Ledger {
    young: u64,
    /// Containers that the last full collection left, those that are frozen included.
    long_lived: u64,
    /// Containers that came since then and are still there.
    pending: u64,
    since_middle: u32,
    /// After the last full collection, in bytes.
    resident: u64,
    next_memory: Instant,
    looked_at: Instant,
}

impl Ledger {
    fn new(young: u64, frozen: u64, resident: u64, now: Instant) -> Self {
        Self {
            young,
            long_lived: frozen,
            pending: 0,
            since_middle: 0,
            resident,
            next_memory: now + MEMORY_EVERY,
            looked_at: now,
        }
    }

    /// `made`: containers made since the last collection, less those freed.
    fn due(&mut self, made: u64, now: Instant, resident: impl FnOnce() -> u64) -> Due {
        self.looked_at = now;
        if now >= self.next_memory {
            self.next_memory = now + MEMORY_EVERY;
            if resident() > self.resident + MEMORY_GROWTH {
                return Due::Full;
            }
        }
        if made < self.young {
            return Due::Nothing;
        }
        if self.pending + made > (self.long_lived / GROWTH).max(LEAST_GROWTH) {
            return Due::Full;
        }
        if self.since_middle + 1 >= YOUNG_PER_MIDDLE {
            return Due::Middle;
        }
        Due::Young
    }

    /// A collection has freed so many of them.
    fn note(&mut self, what: Due, made: u64, freed: u64, resident: impl FnOnce() -> u64) {
        let left = (self.pending + made).saturating_sub(freed);
        match what {
            Due::Full => {
                self.long_lived += left;
                self.pending = 0;
                self.since_middle = 0;
                self.resident = resident();
            }
            Due::Middle => {
                self.pending = left;
                self.since_middle = 0;
            }
            Due::Young | Due::Nothing => {
                self.pending = left;
                self.since_middle += 1;
            }
        }
    }
}

/// Moves what there is out of the collector's sight, once the application is loaded: it stays for good, and is not looked at
/// again.
///
/// # Errors
/// When the interpreter has no collector.
pub(crate) fn freeze(py: Python<'_>) -> PyResult<()> {
    let gc = py.import("gc")?;
    gc.call_method0("collect")?;
    gc.call_method0("freeze").map(drop)
}

/// Collects between turns, for `gc = "idle"`.
pub(crate) struct Collector {
    functions: Functions,
    /// Only ever tried: whoever comes second has nothing to do here, and a finalizer may give the interpreter away.
    ledger: Mutex<Option<Ledger>>,
    /// The next look collects fully, whatever the counts say.
    is_full_due: AtomicBool,
    log: Arc<ErrorLog>,
}

struct Functions {
    get_count: Py<PyAny>,
    is_enabled: Py<PyAny>,
    enable: Py<PyAny>,
    collect: Py<PyAny>,
}

impl Collector {
    /// Does what the setting says once the application is loaded; gives what has to be asked between turns.
    ///
    /// # Errors
    /// When the interpreter has no collector.
    pub(crate) fn set_up(
        py: Python<'_>,
        collection: Collection,
        log: &Arc<ErrorLog>,
    ) -> PyResult<Option<Arc<Self>>> {
        let gc = py.import("gc")?;
        if collection != Collection::Off {
            freeze(py)?;
        }
        if collection == Collection::Freeze {
            return Ok(None);
        }
        let threshold: u64 = gc.call_method0("get_threshold")?.get_item(0)?.extract()?;
        if threshold == 0 || !gc.call_method0("isenabled")?.is_truthy()? {
            log.write(
                Level::Info,
                "the application has turned the garbage collector off and is left to it",
            );
            return Ok(None);
        }
        if collection == Collection::Off {
            gc.call_method0("disable")?;
            return Ok(None);
        }
        // A child that the application forks has no turns to collect between.
        py.import("os")?.getattr("register_at_fork")?.call(
            (),
            Some(&[("after_in_child", gc.getattr("enable")?)].into_py_dict(py)?),
        )?;
        let frozen = gc.call_method0("get_freeze_count")?.extract()?;
        let ledger = Ledger::new(threshold.max(YOUNG), frozen, resident(), Instant::now());
        let collector = Arc::new(Self {
            functions: Functions {
                get_count: gc.getattr("get_count")?.unbind(),
                is_enabled: gc.getattr("isenabled")?.unbind(),
                enable: gc.getattr("enable")?.unbind(),
                collect: gc.getattr("collect")?.unbind(),
            },
            ledger: Mutex::new(Some(ledger)),
            is_full_due: AtomicBool::new(false),
            log: Arc::clone(log),
        });
        gc.call_method0("disable")?;
        let watching = Arc::clone(&collector);
        // Not the thread that attends: a call that keeps the interpreter must not keep the worker from its signals.
        let started = interpreter::spawn(
            "lockgate-collector".to_owned(),
            Box::new(move || watching.watch()),
        );
        if let Err(error) = started {
            gc.call_method0("enable")?;
            return Err(error.into());
        }
        Ok(Some(collector))
    }

    /// Looks where there are no turns. Ends when the application has taken over.
    fn watch(&self) {
        loop {
            let is_ours = Python::attach(|py| {
                py.detach(|| thread::sleep(LONGEST_WITHOUT_LOOK));
                self.look_since(py, LONGEST_WITHOUT_LOOK, &|| {})
            });
            if !is_ours {
                return;
            }
        }
    }

    /// Collects if it is time to. `let_go` is called before anything long.
    pub(crate) fn look(&self, py: Python<'_>, let_go: &dyn Fn()) {
        self.look_since(py, Duration::ZERO, let_go);
    }

    /// Has everything collected within two seconds. False when it is not ours to collect.
    pub(crate) fn collect_soon(&self) -> bool {
        self.is_full_due.store(true, Ordering::Relaxed);
        match self.ledger.try_lock() {
            Ok(place) => place.is_some(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().is_some(),
            // Another thread is collecting.
            Err(TryLockError::WouldBlock) => true,
        }
    }

    /// As [`Collector::look`], unless the last look was less than `quiet` ago. False when it is not ours to collect.
    fn look_since(&self, py: Python<'_>, quiet: Duration, let_go: &dyn Fn()) -> bool {
        let mut place = match self.ledger.try_lock() {
            Ok(place) => place,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        let Some(ledger) = place.as_mut() else {
            return false;
        };
        let now = Instant::now();
        if now.saturating_duration_since(ledger.looked_at) < quiet {
            return true;
        }
        let is_full_due = self.is_full_due.swap(false, Ordering::Relaxed);
        match (self.functions).look(py, ledger, now, is_full_due, let_go) {
            Ok(true) => return true,
            Ok(false) => {
                *place = None;
                drop(place);
                self.report(
                    py,
                    Level::Info,
                    "the application has turned the automatic garbage collector on; the server collects no more",
                );
            }
            Err(error) => {
                // Asked again, it would fail again at every turn; Python is better off by itself.
                *place = None;
                drop(place);
                let is_handed_back = self.functions.enable.bind(py).call0().is_ok();
                let traceback = exceptions::traceback(py, &error);
                self.report(
                    py,
                    Level::Error,
                    &format!("collecting garbage failed; automatic collection is on: {is_handed_back}\n{traceback}"),
                );
            }
        }
        false
    }

    /// Outside the interpreter: a log may be a pipe that nobody empties.
    fn report(&self, py: Python<'_>, level: Level, message: &str) {
        py.detach(|| self.log.write(level, message));
    }
}

impl Functions {
    /// False when the application has turned the automatic collector on.
    fn look(
        &self,
        py: Python<'_>,
        ledger: &mut Ledger,
        now: Instant,
        is_full_due: bool,
        let_go: &dyn Fn(),
    ) -> PyResult<bool> {
        let made = self.get_count.bind(py).call0()?.get_item(0)?.extract()?;
        let due = match ledger.due(made, now, resident) {
            _ if is_full_due => Due::Full,
            due => due,
        };
        if due == Due::Nothing {
            return Ok(true);
        }
        if self.is_enabled.bind(py).call0()?.is_truthy()? {
            return Ok(false);
        }
        if due == Due::Full || made > LONG {
            let_go();
        }
        let freed = self
            .collect
            .bind(py)
            .call1((due.generation(),))?
            .extract()?;
        ledger.note(due, made, freed, resident);
        Ok(true)
    }
}

/// Resident memory of this process in bytes; 0 where the system does not say, which makes no collection due.
fn resident() -> u64 {
    let Ok(text) = fs::read_to_string("/proc/self/statm") else {
        return 0;
    };
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(frozen: u64) -> (Ledger, Instant) {
        let now = Instant::now();
        (Ledger::new(2_000, frozen, 100 << 20, now), now)
    }

    #[test]
    fn little_garbage_is_left_alone() {
        let (mut ledger, now) = ledger(0);
        assert_eq!(ledger.due(1_999, now, || 0), Due::Nothing);
        assert_eq!(ledger.due(2_000, now, || 0), Due::Young);
    }

    #[test]
    fn every_tenth_collection_takes_the_middle_generation() {
        let (mut ledger, now) = ledger(0);
        for round in 1..=30 {
            let due = ledger.due(2_000, now, || 0);
            let expected = if round % 10 == 0 {
                Due::Middle
            } else {
                Due::Young
            };
            assert_eq!(due, expected, "{round}");
            ledger.note(due, 2_000, 2_000, || 0);
        }
    }

    #[test]
    fn a_full_collection_waits_for_a_quarter_more_that_stays() {
        let (mut ledger, now) = ledger(80_000);
        for _ in 0..10 {
            let due = ledger.due(2_000, now, || 0);
            assert_ne!(due, Due::Full);
            ledger.note(due, 2_000, 0, || 0);
        }
        assert_eq!(ledger.due(2_000, now, || 0), Due::Full);
        ledger.note(Due::Full, 2_000, 2_000, || 0);
        assert_eq!(ledger.long_lived, 100_000);
        assert_eq!(ledger.due(25_001, now, || 0), Due::Full);
        assert_ne!(ledger.due(25_000, now, || 0), Due::Full);
    }

    #[test]
    fn memory_is_looked_at_once_a_second_and_measured_anew_after_a_full_collection() {
        let (mut ledger, now) = ledger(0);
        let grown = 165 << 20;
        assert_eq!(ledger.due(0, now, || grown), Due::Nothing);
        let later = now + MEMORY_EVERY;
        assert_eq!(ledger.due(0, later, || grown), Due::Full);
        ledger.note(Due::Full, 0, 0, || grown);
        assert_eq!(ledger.due(0, later, || u64::MAX), Due::Nothing);
        assert_eq!(ledger.due(0, later + MEMORY_EVERY, || grown), Due::Nothing);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(!cfg!(target_os = "linux") || resident() > 1 << 20);
    }
}
