//! Thread dumps, samples and profiles of this worker for operators, made on separate threads and without signals to
//! other threads. Samples and profiles are those of [`profiling`].
//!
//! Reading stacks without the GIL while threads run Python code reads memory that they free, and crashes (seen within
//! seconds). So a dump waits for the GIL. If the GIL is not released for a second, longer with many threads, C code
//! holds it and no Python code runs: then `faulthandler`'s signal handler writes the stacks without the GIL, for a
//! signal that the dumping thread sends to itself.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use lockgate_observe::{Level, native_id_line};
use lockgate_supervisor::{StackAnswer, StackPlace, StackPlaces, StackRequest};
use lockgate_worker::Handle;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::register_ahead;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::fs::{OFlags, fcntl_setfl};
use signal_hook::low_level::raise;

use crate::ffi;
use crate::interpreter::{self, exceptions};
use crate::profiling::{self, LateProfiler, Profiler, Requests};

/// The minimum time to wait for the GIL.
const GIL_TIMEOUT: Duration = Duration::from_secs(1);

/// A CPU-bound thread releases the GIL after the switch interval, to any of the threads that wait, so a dump waits for
/// several turns of each thread. Before: a crash every 30 dumps, with 30 recursing threads and an interval of 100 ms.
const TURNS: u32 = 4;

/// The wait is counted in steps and not by the clock: while the whole process is frozen (CPU quota of its control
/// group, a suspended machine), no thread can release the GIL.
const STEP: Duration = Duration::from_millis(10);

/// The signal of a dump without the GIL, counted down from SIGRTMAX. Real-time signals have no meaning to the kernel.
/// The C library uses the first ones, valgrind the last; other programs usually take one at either end.
const FROM_LAST: i32 = 3;

/// Starts the thread that answers requests for thread dumps. Call when the application is loaded.
///
/// # Errors
/// When the system cannot create a descriptor or a thread.
pub(crate) fn answer_requests(
    py: Python<'_>,
    places: StackPlaces,
    requests: &Requests,
    log: &Arc<ErrorLog>,
    worker: &Handle,
) -> PyResult<()> {
    let StackPlaces {
        stacks: mut place,
        mut profiles,
    } = places;
    let mut dumper = ThreadDumper {
        with_gil: Arc::new(collecting_file(&place)?),
        without_gil: DumpWithoutGil::register(py, collecting_file(&place)?, log)?,
        switch_interval: interpreter::switch_interval(py)?,
        pending: None,
    };
    let checked = profiling::check(py);
    let mut samples = LateProfiler::new(&checked, requests);
    let mut profiler = LateProfiler::new(&checked, requests);
    let dump_log = Arc::clone(log);
    let body = move || {
        loop {
            let answer = match place.wait() {
                Ok(StackRequest::Dump) => dumper.dump(),
                Ok(_) => samples.get().and_then(Profiler::sample),
                Err(error) => {
                    let message =
                        format!("thread dumps of this worker are no longer available: {error}");
                    return dump_log.write(Level::Warning, &message);
                }
            };
            place.answer(&answer);
        }
    };
    worker.spawn_helper("lockgate-stacks", body)?;
    let log = Arc::clone(log);
    let body = move || {
        loop {
            let (duration, rate) = match profiles.wait() {
                Ok(StackRequest::Profile { duration, rate }) => (duration, rate),
                Ok(_) => continue,
                Err(error) => {
                    let message =
                        format!("profiles of this worker are no longer available: {error}");
                    return log.write(Level::Warning, &message);
                }
            };
            let is_superseded = || profiles.is_superseded();
            let answer = match profiler.get() {
                Ok(profiler) => profiler.profile(duration, rate, is_superseded),
                Err(why) => Some(Err(why)),
            };
            if let Some(answer) = answer {
                profiles.answer(&answer);
            }
        }
    };
    Ok(worker.spawn_helper("lockgate-profile", body)?)
}

/// The file that a dump is written to; appends, because readers share its offset.
fn collecting_file(place: &StackPlace) -> PyResult<File> {
    let file: OwnedFd = place.scratch_file()?;
    fcntl_setfl(&file, OFlags::APPEND).map_err(std::io::Error::from)?;
    // Open until the process ends; children that the application forks close it.
    register_ahead(&file);
    Ok(file.into())
}

struct ThreadDumper {
    with_gil: Arc<File>,
    without_gil: DumpWithoutGil,
    switch_interval: Duration,
    /// A dump that still waits for the GIL.
    pending: Option<Receiver<StackAnswer>>,
}

impl ThreadDumper {
    fn dump(&mut self) -> StackAnswer {
        let still_waiting = self.pending.take().filter(|pending| {
            // A dump that finished in the meantime is out of date.
            matches!(pending.try_recv(), Err(TryRecvError::Empty))
        });
        let pending = match still_waiting {
            Some(pending) => pending,
            None => self.begin()?,
        };
        for _ in 0..steps(self.switch_interval, threads()) {
            match pending.recv_timeout(STEP) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the thread of the dump has failed".to_owned());
                }
            }
        }
        self.pending = Some(pending);
        if ffi::IS_FREE_THREADED_BUILD {
            // The signal's handler would read the frames of threads that run.
            return Err("Python has not stopped all threads for a dump".to_owned());
        }
        self.without_gil.dump()
    }

    /// On a separate thread, because it may wait for long.
    fn begin(&self) -> Result<Receiver<StackAnswer>, String> {
        let (sender, receiver) = channel();
        let file = Arc::clone(&self.with_gil);
        thread::Builder::new()
            .name("lockgate-dump".to_owned())
            .spawn(move || {
                let answer = Python::attach(|py| {
                    dump_with_gil(py, &file).map_err(|error| exceptions::summary(py, &error))
                });
                // The receiver may be gone.
                let _too_late = sender.send(answer);
            })
            .map_err(|error| format!("cannot start a thread for the dump: {error}"))?;
        Ok(receiver)
    }
}

/// With the GIL held: other threads cannot change their stacks.
fn dump_with_gil(py: Python<'_>, file: &File) -> PyResult<Vec<u8>> {
    file.set_len(0)?;
    let options = PyDict::new(py);
    options.set_item("file", file.as_raw_fd())?;
    options.set_item("all_threads", true)?;
    py.import("faulthandler")?
        .call_method("dump_traceback", (), Some(&options))?;
    let dump = whole(file)?;
    let mut text = native_ids(py)?.into_bytes();
    text.extend(dump);
    Ok(text)
}

/// One line per Python thread with its native ID: the dump has only Python's identifiers.
fn native_ids(py: Python<'_>) -> PyResult<String> {
    let threading = py.import("threading")?;
    let main: u64 = main_thread(py)?;
    let mut text = native_id_line(main, u64::from(std::process::id()));
    for thread in threading.call_method0("enumerate")?.try_iter()? {
        let thread = thread?;
        // A thread that is still starting has no IDs yet.
        let ids = (
            thread.getattr("ident")?.extract(),
            thread.getattr("native_id")?.extract(),
        );
        // Before Python 3.13, the main thread's native ID after a fork is its parent's.
        if let (Ok(ident), Ok(native)) = ids
            && ident != main
        {
            text.push_str(&native_id_line(ident, native));
        }
    }
    Ok(text)
}

fn main_thread(py: Python<'_>) -> PyResult<u64> {
    py.import("threading")?
        .call_method0("main_thread")?
        .getattr("ident")?
        .extract()
}

/// A dump without the GIL, by the signal handler of `faulthandler`.
struct DumpWithoutGil {
    /// Never closed: the handler writes to its number whenever the signal arrives.
    file: &'static File,
    /// `None` when the application handles the signal.
    signal: Option<i32>,
    /// The line with the main thread's IDs.
    main: String,
}

impl DumpWithoutGil {
    /// In processes that the application forks the handler stays installed, but the signal is never sent.
    fn register(py: Python<'_>, file: File, log: &ErrorLog) -> PyResult<Self> {
        let file: &File = Box::leak(Box::new(file));
        let main = native_id_line(main_thread(py)?, u64::from(std::process::id()));
        let last: i32 = py.import("signal")?.getattr("SIGRTMAX")?.extract()?;
        let number = last - FROM_LAST;
        if is_caught(number) {
            let message = format!(
                "the application handles signal {number}: thread dumps of this worker are unavailable while a call holds the GIL"
            );
            log.write(Level::Info, &message);
            return Ok(Self {
                file,
                signal: None,
                main,
            });
        }
        let options = PyDict::new(py);
        options.set_item("file", file.as_raw_fd())?;
        options.set_item("all_threads", true)?;
        options.set_item("chain", false)?;
        py.import("faulthandler")?
            .call_method("register", (number,), Some(&options))?;
        let signal = Some(number);
        Ok(Self { file, signal, main })
    }

    fn dump(&self) -> StackAnswer {
        const HELD: &str = "a call holds the GIL";
        let Some(signal) = self.signal else {
            return Err(format!(
                "{HELD}, and the application handles the signal for a dump without it"
            ));
        };
        let text = (self.file.set_len(0))
            // To this thread alone: when raise(3) returns, the handler has run.
            .and_then(|()| raise(signal))
            .and_then(|()| whole(self.file))
            .map_err(|error| format!("{HELD}, and the dump without it has failed: {error}"))?;
        if text.is_empty() {
            return Err(format!("{HELD}, and signal {signal} wrote no stacks"));
        }
        let mut dump = self.main.clone().into_bytes();
        dump.extend(text);
        Ok(dump)
    }
}

fn whole(file: &File) -> std::io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut text, 0)?;
    Ok(text)
}

/// How many steps to wait for the GIL with this many threads.
fn steps(switch_interval: Duration, threads: u32) -> u128 {
    let turns = switch_interval.saturating_mul(threads.saturating_mul(TURNS));
    GIL_TIMEOUT.saturating_add(turns).as_millis() / STEP.as_millis()
}

/// Number of threads of this process, those of C code included. Without /proc the number is taken to be small.
fn threads() -> u32 {
    field(&status(), "Threads:")
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

/// Whether this process handles the signal (proc(5), SigCgt). Without /proc the signal is taken to be free.
fn is_caught(number: i32) -> bool {
    caught_in(&status(), number)
}

fn status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

fn caught_in(status: &str, number: i32) -> bool {
    field(status, "SigCgt:")
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_the_gil_grows_with_the_number_of_threads() {
        for (milliseconds, threads, expected) in
            [(2, 0, 100), (2, 25, 120), (100, 30, 1300), (5000, 2, 4100)]
        {
            let interval = Duration::from_millis(milliseconds);
            assert_eq!(
                steps(interval, threads),
                expected,
                "{interval:?}, {threads}"
            );
        }
        assert!(steps(Duration::MAX, u32::MAX) > 100);
        assert_eq!(field("Name:\tx\nThreads:\t12\n", "Threads:"), Some("12"));
    }

    #[test]
    fn a_handled_signal_is_found_in_the_status() {
        let status =
            "Name:\tx\nSigIgn:\tffffffffffffffff\nSigCgt:\t1000000000000001\nThreads:\t1\n";
        for (number, is_handled) in [(1, true), (61, true), (2, false), (60, false), (64, false)] {
            assert_eq!(caught_in(status, number), is_handled, "{number}");
        }
        for broken in ["", "SigCgt:\n", "SigCgt:\txyz\n"] {
            assert!(!caught_in(broken, 1));
        }
    }
}
