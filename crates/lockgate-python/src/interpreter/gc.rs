//! Cyclic garbage collection: the setting `gc`, and collections between turns of the event loop. `Counts` decides, from counts and a time that are passed in; `IdleGc` calls Python and collects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::Collection;
use lockgate_observe::Level;
use lockgate_supervisor::process_memory;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

use super::{exceptions, threads};
use crate::ffi;

/// Containers allocated since the last collection that make a young collection due, unless the application's own
/// threshold is higher. The default of CPython 3.13 and later; earlier versions use 700.
const YOUNG: u64 = 2_000;

/// After this many young collections the middle generation is collected as well: CPython's threshold.
const YOUNG_PER_MIDDLE: u32 = 10;

/// The long-lived containers must grow by a quarter before a full collection: CPython's rule, which keeps work linear.
const GROWTH: u64 = 4;

/// The minimum of that growth: after a freeze there is almost nothing to take a quarter of.
const LEAST_GROWTH: u64 = 10_000;

/// A reference cycle of few objects can hold large buffers, which no count shows: growth of resident memory by this
/// much since the last full collection makes one due.
const MEMORY_GROWTH: u64 = 64 << 20;

/// Interval between readings of resident memory, which cost up to three system calls.
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// After this time without a turn, garbage of long requests and of the application's own threads is collected anyway.
const LONGEST_WITHOUT_CHECK: Duration = Duration::from_secs(1);

/// A young collection of more containers than this may take longer than waking a thread.
const LONG: u64 = 10_000;

/// Which collection is due.
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

/// Counts of containers created and freed, as far as they can be observed.
#[derive(Debug)]
struct Counts {
    young: u64,
    /// Containers that survived the last full collection, frozen ones included.
    long_lived: u64,
    /// Containers created since then that still exist.
    pending: u64,
    since_middle: u32,
    /// Resident memory after the last full collection, in bytes.
    resident: u64,
    next_memory: Instant,
    checked_at: Instant,
}

impl Counts {
    fn new(young: u64, frozen: u64, resident: u64, now: Instant) -> Self {
        Self {
            young,
            long_lived: frozen,
            pending: 0,
            since_middle: 0,
            resident,
            next_memory: now + MEMORY_EVERY,
            checked_at: now,
        }
    }

    /// `made`: containers allocated minus containers freed since the last collection.
    fn due(&mut self, made: u64, now: Instant, resident: impl FnOnce() -> u64) -> Due {
        self.checked_at = now;
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

    /// Records a collection that freed `freed` containers.
    fn record(&mut self, what: Due, made: u64, freed: u64, resident: impl FnOnce() -> u64) {
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

/// Freezes the existing objects once the application is loaded: they stay for good, and collections no longer visit
/// them.
///
/// # Errors
/// When Python has no garbage collector.
pub(crate) fn freeze(py: Python<'_>) -> PyResult<()> {
    let gc = py.import("gc")?;
    gc.call_method0("collect")?;
    gc.call_method0("freeze").map(drop)
}

/// Collects between turns, for `gc = "idle"`.
pub(crate) struct IdleGc {
    functions: Functions,
    /// Locked with `try_lock` only: a second thread has nothing to do here, and a finalizer may release the GIL.
    counts: Mutex<Option<Counts>>,
    /// The next check runs a full collection, whatever the counts.
    is_full_due: AtomicBool,
    log: Arc<ErrorLog>,
}

struct Functions {
    get_count: Py<PyAny>,
    is_enabled: Py<PyAny>,
    enable: Py<PyAny>,
    collect: Py<PyAny>,
}

impl IdleGc {
    /// Applies the setting `gc` once the application is loaded; returns the collector to call between turns, if any.
    ///
    /// # Errors
    /// When Python has no garbage collector.
    pub(crate) fn set_up(
        py: Python<'_>,
        collection: Collection,
        log: &Arc<ErrorLog>,
    ) -> PyResult<Option<Arc<Self>>> {
        let gc = py.import("gc")?;
        if collection != Collection::Off {
            freeze(py)?;
        }
        // A free-threaded Python stops all threads for a collection and visits all objects: its own rule for when one is
        // due takes that into account.
        let is_pythons = collection == Collection::Idle && ffi::IS_FREE_THREADED_BUILD;
        if collection == Collection::Freeze || is_pythons {
            return Ok(None);
        }
        let threshold: u64 = gc.call_method0("get_threshold")?.get_item(0)?.extract()?;
        if threshold == 0 || !gc.call_method0("isenabled")?.is_truthy()? {
            log.write(
                Level::Info,
                "the application has disabled the garbage collector; the server does not collect",
            );
            return Ok(None);
        }
        if collection == Collection::Off {
            gc.call_method0("disable")?;
            return Ok(None);
        }
        // A child that the application forks has no event loop to collect in.
        py.import("os")?.getattr("register_at_fork")?.call(
            (),
            Some(&[("after_in_child", gc.getattr("enable")?)].into_py_dict(py)?),
        )?;
        let frozen = gc.call_method0("get_freeze_count")?.extract()?;
        let counts = Counts::new(threshold.max(YOUNG), frozen, resident(), Instant::now());
        let collector = Arc::new(Self {
            functions: Functions {
                get_count: gc.getattr("get_count")?.unbind(),
                is_enabled: gc.getattr("isenabled")?.unbind(),
                enable: gc.getattr("enable")?.unbind(),
                collect: gc.getattr("collect")?.unbind(),
            },
            counts: Mutex::new(Some(counts)),
            is_full_due: AtomicBool::new(false),
            log: Arc::clone(log),
        });
        gc.call_method0("disable")?;
        let watching = Arc::clone(&collector);
        // Not on the thread that receives the supervisor's messages: a call that holds the GIL must not delay signals.
        let started = threads::spawn("lockgate-gc".to_owned(), Box::new(move || watching.watch()));
        if let Err(error) = started {
            gc.call_method0("enable")?;
            return Err(error.into());
        }
        Ok(Some(collector))
    }

    /// Collects when there are no turns. Ends when Python's automatic collector is on again.
    fn watch(&self) {
        loop {
            let is_ours = Python::attach(|py| {
                py.detach(|| thread::sleep(LONGEST_WITHOUT_CHECK));
                self.collect_if_due_since(py, LONGEST_WITHOUT_CHECK, &|| {})
            });
            if !is_ours {
                return;
            }
        }
    }

    /// Collects if a collection is due. `hand_off` is called before a long collection.
    pub(crate) fn collect_if_due(&self, py: Python<'_>, hand_off: &dyn Fn()) {
        self.collect_if_due_since(py, Duration::ZERO, hand_off);
    }

    /// Requests a full collection within two seconds. False when the server does not collect.
    pub(crate) fn collect_soon(&self) -> bool {
        self.is_full_due.store(true, Ordering::Relaxed);
        match self.counts.try_lock() {
            Ok(guard) => guard.is_some(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().is_some(),
            // Another thread is collecting.
            Err(TryLockError::WouldBlock) => true,
        }
    }

    /// As [`IdleGc::collect_if_due`], unless the last check was less than `quiet` ago. False when the server does not
    /// collect.
    fn collect_if_due_since(&self, py: Python<'_>, quiet: Duration, hand_off: &dyn Fn()) -> bool {
        let mut guard = match self.counts.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        let Some(counts) = guard.as_mut() else {
            return false;
        };
        let now = Instant::now();
        if now.saturating_duration_since(counts.checked_at) < quiet {
            return true;
        }
        let is_full_due = self.is_full_due.swap(false, Ordering::Relaxed);
        match (self.functions).collect_if_due(py, counts, now, is_full_due, hand_off) {
            Ok(true) => return true,
            Ok(false) => {
                *guard = None;
                drop(guard);
                self.report(
                    py,
                    Level::Info,
                    "the application has enabled the automatic garbage collector; the server no longer collects",
                );
            }
            Err(error) => {
                // Another attempt would fail again at every turn; Python's automatic collector takes over.
                *guard = None;
                drop(guard);
                let is_handed_back = self.functions.enable.bind(py).call0().is_ok();
                let traceback = exceptions::traceback(py, &error);
                self.report(
                    py,
                    Level::Error,
                    &format!("garbage collection failed; the automatic collector is enabled: {is_handed_back}\n{traceback}"),
                );
            }
        }
        false
    }

    /// Without the GIL: the log may be a pipe that is full.
    fn report(&self, py: Python<'_>, level: Level, message: &str) {
        py.detach(|| self.log.write(level, message));
    }
}

impl Functions {
    /// False when the application has enabled the automatic collector.
    fn collect_if_due(
        &self,
        py: Python<'_>,
        counts: &mut Counts,
        now: Instant,
        is_full_due: bool,
        hand_off: &dyn Fn(),
    ) -> PyResult<bool> {
        let made = self.get_count.bind(py).call0()?.get_item(0)?.extract()?;
        let due = match counts.due(made, now, resident) {
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
            hand_off();
        }
        let freed = self
            .collect
            .bind(py)
            .call1((due.generation(),))?
            .extract()?;
        counts.record(due, made, freed, resident);
        Ok(true)
    }
}

/// Resident memory of this process in bytes; 0 if the system does not report it, which makes no collection due.
fn resident() -> u64 {
    process_memory(std::process::id().into()).resident
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(frozen: u64) -> (Counts, Instant) {
        let now = Instant::now();
        (Counts::new(2_000, frozen, 100 << 20, now), now)
    }

    #[test]
    fn below_the_threshold_nothing_is_collected() {
        let (mut counts, now) = counts(0);
        assert_eq!(counts.due(1_999, now, || 0), Due::Nothing);
        assert_eq!(counts.due(2_000, now, || 0), Due::Young);
    }

    #[test]
    fn every_tenth_collection_includes_the_middle_generation() {
        let (mut counts, now) = counts(0);
        for round in 1..=30 {
            let due = counts.due(2_000, now, || 0);
            let expected = if round % 10 == 0 {
                Due::Middle
            } else {
                Due::Young
            };
            assert_eq!(due, expected, "{round}");
            counts.record(due, 2_000, 2_000, || 0);
        }
    }

    #[test]
    fn a_full_collection_is_due_when_long_lived_objects_grow_by_a_quarter() {
        let (mut counts, now) = counts(80_000);
        for _ in 0..10 {
            let due = counts.due(2_000, now, || 0);
            assert_ne!(due, Due::Full);
            counts.record(due, 2_000, 0, || 0);
        }
        assert_eq!(counts.due(2_000, now, || 0), Due::Full);
        counts.record(Due::Full, 2_000, 2_000, || 0);
        assert_eq!(counts.long_lived, 100_000);
        assert_eq!(counts.due(25_001, now, || 0), Due::Full);
        assert_ne!(counts.due(25_000, now, || 0), Due::Full);
    }

    #[test]
    fn memory_is_read_once_a_second_and_again_after_a_full_collection() {
        let (mut counts, now) = counts(0);
        let grown = 165 << 20;
        assert_eq!(counts.due(0, now, || grown), Due::Nothing);
        let later = now + MEMORY_EVERY;
        assert_eq!(counts.due(0, later, || grown), Due::Full);
        counts.record(Due::Full, 0, 0, || grown);
        assert_eq!(counts.due(0, later, || u64::MAX), Due::Nothing);
        assert_eq!(counts.due(0, later + MEMORY_EVERY, || grown), Due::Nothing);
    }

    #[test]
    fn resident_memory_is_read() {
        assert!(!cfg!(target_os = "linux") || resident() > 1 << 20);
    }
}
