//! Failed requests of this worker, recorded for the admin listener: what was raised, and where.
//!
//! Nothing here runs for a request that succeeds. Frameworks catch exceptions and answer 500 themselves, so Flask's and
//! Django's signals for this are connected (`lockgate.failures`).

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use lockgate_history::{Cause, Failure, FailureLog, MOST_FAILURE_FRAMES, PendingFailures};
use lockgate_observe::{Running, Scoreboard, request_label};
use lockgate_profile::Frame;
use lockgate_worker::Handle;
use lockgate_worker::os::thread_id;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple, PyType};

use crate::clock::moment;
use crate::interpreter::exceptions;

/// How often records that wait are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longer tracebacks are not followed to their end.
const MOST_FOLLOWED: usize = 10_000;

/// The recorder of this worker.
static RECORDER: OnceLock<Recorder> = OnceLock::new();

thread_local! {
    /// What a framework has caught in a request that began then.
    static CAUGHT: RefCell<Option<(u64, Cause)>> = const { RefCell::new(None) };
}

struct Recorder {
    log: FailureLog,
    scoreboard: Scoreboard,
    slot: usize,
    pending: Mutex<PendingFailures>,
    has_pending: Condvar,
}

/// From now on failed requests of this worker are recorded. Call when the application is loaded.
///
/// # Errors
/// When the system cannot create a thread, or a signal of a framework cannot be connected.
pub(crate) fn record(
    py: Python<'_>,
    log: FailureLog,
    scoreboard: Scoreboard,
    slot: usize,
    worker: &Handle,
) -> PyResult<()> {
    let recorder = RECORDER.get_or_init(|| Recorder {
        log,
        scoreboard,
        slot,
        pending: Mutex::default(),
        has_pending: Condvar::new(),
    });
    worker.spawn_helper("lockgate-errors", || recorder.append_pending())?;
    let caught = |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let exception = arguments.get_item(0)?;
        if let Some(request) = RECORDER.get().and_then(Recorder::current) {
            let cause = cause(&PyErr::from_value(exception.clone()), &exception);
            CAUGHT.set(Some((request.began, cause)));
        }
        PyResult::Ok(())
    };
    let caught = PyCFunction::new_closure(py, None, None, caught)?;
    py.import("lockgate.failures")?
        .call_method1("connect", (caught,))
        .map(drop)
}

/// Records that the application has begun a response with a status of 5xx. `exception` is what it says about the reason.
#[cold]
pub(crate) fn responded(status: u16, exception: Option<&Bound<'_, PyAny>>) {
    let Some((recorder, request)) = current() else {
        return;
    };
    let caught = CAUGHT.take().filter(|(began, _)| *began == request.began);
    let cause = match (exception, caught) {
        (Some(exception), _) => cause(&PyErr::from_value(exception.clone()), exception),
        (None, Some((_, cause))) => cause,
        (None, None) => Cause::default(),
    };
    recorder.add(&request, status, cause);
}

/// Records that the application has raised an exception; `status` is 0 if the response was complete before.
#[cold]
pub(crate) fn raised(py: Python<'_>, status: u16, error: &PyErr) {
    if let Some((recorder, request)) = current() {
        let exception = exceptions::with_traceback(py, error);
        recorder.add(&request, status, cause(error, &exception));
    }
}

/// Records that the application has broken a rule of WSGI.
#[cold]
pub(crate) fn violated(rule: &str) {
    if let Some((recorder, request)) = current() {
        let cause = Cause {
            message: rule.to_owned(),
            ..Cause::default()
        };
        recorder.add(&request, 500, cause);
    }
}

/// Appends the records that wait. Call when the worker has served its last request.
pub(crate) fn append_rest() {
    if let Some(recorder) = RECORDER.get() {
        recorder.append_due(u64::MAX);
    }
}

/// The recorder, and the request that this thread runs.
fn current() -> Option<(&'static Recorder, Running)> {
    let recorder = RECORDER.get()?;
    Some((recorder, recorder.current()?))
}

impl Recorder {
    /// The request that this thread runs.
    fn current(&self) -> Option<Running> {
        let own = u64::from(thread_id());
        let mut entries = self.scoreboard.entries(self.slot);
        let entry = entries.find(|entry| entry.current().is_some_and(|(tid, _)| tid == own))?;
        entry.read()?.request
    }

    fn pending(&self) -> MutexGuard<'_, PendingFailures> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, request: &Running, status: u16, cause: Cause) {
        let failure = Failure {
            at: moment(),
            worker: self.slot,
            label: request_label(&request.method, &request.target, request.is_cut),
            status,
            request_id: request.request_id.clone(),
            cause,
            count: 1,
        };
        let due = self.pending().add(failure);
        match due {
            Some(failure) => self.append(&failure),
            None => self.has_pending.notify_one(),
        }
    }

    fn append(&self, failure: &Failure) {
        if !self.log.append(failure) {
            // Another process holds the lock. It is counted with the next one.
            self.pending().put_back(failure);
            self.has_pending.notify_one();
        }
    }

    /// Appends records that wait for a second to pass; never ends.
    fn append_pending(&self) {
        loop {
            let pending = self.pending();
            let waiting = (self.has_pending).wait_while(pending, |pending| pending.is_empty());
            drop(waiting);
            thread::sleep(INTERVAL);
            self.append_due(moment().monotonic);
        }
    }

    fn append_due(&self, now: u64) {
        let due = self.pending().due(now);
        due.iter().for_each(|failure| self.append(failure));
    }
}

/// What an exception says. Its text is made by code of the application, which may fail.
fn cause(error: &PyErr, exception: &Bound<'_, PyAny>) -> Cause {
    let py = exception.py();
    let message = exception.str();
    let message = message.map_or_else(|_| String::new(), |text| lossy(&text));
    Cause {
        exception: class_name(&error.get_type(py)).unwrap_or_else(|_| "exception".to_owned()),
        message,
        // Without a traceback the exception still says what happened.
        frames: frames(exception).unwrap_or_default(),
    }
}

/// As Python prints it.
fn class_name(class: &Bound<'_, PyType>) -> PyResult<String> {
    let name = lossy(&class.qualname()?);
    let module = lossy(&class.module()?);
    Ok(match &*module {
        "builtins" => name,
        _ => format!("{module}.{name}"),
    })
}

/// The frames of an exception's traceback, the most recent one first.
fn frames(exception: &Bound<'_, PyAny>) -> PyResult<Vec<Frame>> {
    let py = exception.py();
    let mut next = exception.getattr(pyo3::intern!(py, "__traceback__"))?;
    let mut places = Vec::new();
    while !next.is_none() && places.len() < MOST_FOLLOWED {
        places.push(next.clone());
        next = next.getattr(pyo3::intern!(py, "tb_next"))?;
    }
    let recent = places.into_iter().rev().take(MOST_FAILURE_FRAMES);
    recent
        .map(|place| {
            let code = place.getattr("tb_frame")?.getattr("f_code")?;
            // Python 3.10 has no qualified name.
            let name = match code.getattr_opt("co_qualname")? {
                Some(name) => name,
                None => code.getattr("co_name")?,
            };
            Ok(Frame {
                function: lossy(&name.cast_into::<PyString>()?),
                file: lossy(&code.getattr("co_filename")?.cast_into::<PyString>()?),
                line: place.getattr("tb_lineno")?.extract().unwrap_or(0),
            })
        })
        .collect()
}

fn lossy(text: &Bound<'_, PyString>) -> String {
    text.to_string_lossy().into_owned()
}
