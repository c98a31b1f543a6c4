//! `start_response`, the `write` that it returns, and `lockgate.client_disconnected`.
//!
//! Arguments are validated and copied at once, so that a mistake raises where it is made and no object of the
//! application is kept. One set of function objects serves all requests of a thread, one after the other; an
//! application that keeps one of the functions keeps that set, and the thread makes a new one.

use std::mem::{self, ManuallyDrop};
use std::os::fd::IntoRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use lockgate_http::{BodyLength, ResponseHead};
use lockgate_worker::{NotTaken, Reply};
use pyo3::exceptions::{PyAssertionError, PyConnectionError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBool, PyBytes, PyCFunction};

use super::head::{sequence_of, set_headers, set_status, wrong_type};
use super::progress::{Progress, Said, queue};
use crate::failures;
use crate::ffi::{Definition, is_unshared, trampoline};
use crate::interpreter::deferred_drops;

/// The state of a request's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request, or one that is over.
    Closed,
    /// `start_response` was not called, or rejected its arguments.
    Silent,
    /// Status and headers are in `head`.
    Described(Outcome),
    /// They have been handed to the reply and can no longer be replaced.
    Committed(Outcome),
}

/// What a status says of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Below 500.
    Served,
    /// 5xx. It is recorded as failed.
    Failed,
}

/// Which code of the application runs while the reply is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loaned {
    /// The call of the application: any of its threads may write.
    ToCall,
    /// Iteration: the next piece is being produced. Only the iterating thread may write, which keeps the body in order.
    ToIteration,
}

/// The `self` of all three functions.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct Responder {
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    head: ResponseHead,
    /// The request's reply while it is lent and no `write` is sending through it; otherwise a spare one. Lending swaps
    /// the two, so nothing is constructed or dropped.
    reply: Reply,
    /// Whether `reply` is the request's.
    has_reply: bool,
    /// Whether the request is still running.
    is_current: bool,
    loan: Option<Loaned>,
    progress: Progress,
    /// The thread that calls the application and iterates over what it returns.
    thread: ThreadId,
    /// The function that `start_response` returns. A reference cycle, which `Responder::retire` breaks.
    write: Option<Py<PyCFunction>>,
    scratch: Vec<u8>,
}

impl Responder {
    fn lock<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, State> {
        self.state
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves status and headers into the reply. `false` when there are none.
    pub(crate) fn commit(&self, py: Python<'_>, reply: &mut Reply) -> bool {
        self.lock(py).commit(reply)
    }

    /// What the application has said of a call that has failed.
    pub(crate) fn said(&self, py: Python<'_>, progress: &Progress) -> Said {
        let failed = [
            Phase::Described(Outcome::Failed),
            Phase::Committed(Outcome::Failed),
        ];
        Said {
            is_client_gone: progress.is_client_gone,
            is_failure: failed.contains(&self.lock(py).phase),
        }
    }

    /// Runs code that produces the body, and lends the reply to `write` and `client_disconnected` meanwhile.
    pub(crate) fn lend_to_iteration<T>(
        &self,
        py: Python<'_>,
        reply: &mut Reply,
        progress: &mut Progress,
        iterate: impl FnOnce() -> T,
    ) -> T {
        (self.lock(py)).lend(reply, *progress, Loaned::ToIteration);
        let loan = Loan {
            py,
            responder: self,
            reply,
        };
        let made = iterate();
        *progress = loan.end();
        made
    }

    /// Disables all functions permanently.
    fn retire(&self, py: Python<'_>) {
        let write = {
            let mut state = self.lock(py);
            state.phase = Phase::Closed;
            state.is_current = false;
            state.write.take()
        };
        drop(write);
    }
}

impl State {
    fn lend(&mut self, reply: &mut Reply, progress: Progress, to: Loaned) {
        mem::swap(&mut self.reply, reply);
        self.has_reply = true;
        self.progress = progress;
        self.loan = Some(to);
    }

    /// Ends the loan. If another thread's `write` is sending, `reply` stays the spare one, which is over.
    fn give_back(&mut self, reply: &mut Reply) -> Progress {
        self.loan = None;
        if mem::take(&mut self.has_reply) {
            mem::swap(&mut self.reply, reply);
        }
        self.progress
    }

    fn commit(&mut self, reply: &mut Reply) -> bool {
        let Phase::Described(outcome) = self.phase else {
            return false;
        };
        self.phase = Phase::Committed(outcome);
        mem::swap(reply.head(), &mut self.head);
        true
    }
}

/// One thread's set of functions.
pub(crate) struct Functions {
    responder: Py<Responder>,
    start_response: Py<PyCFunction>,
    client_disconnected: Py<PyCFunction>,
}

impl Functions {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let state = State {
            phase: Phase::Closed,
            head: ResponseHead::default(),
            reply: Reply::default(),
            has_reply: false,
            is_current: false,
            loan: None,
            progress: Progress::default(),
            thread: thread::current().id(),
            write: None,
            scratch: Vec::new(),
        };
        let responder = Bound::new(
            py,
            Responder {
                state: Mutex::new(state),
            },
        )?;
        let write = WRITE.bind(responder.as_any())?;
        responder.get().lock(py).write = Some(write.unbind());
        let start_response = START_RESPONSE.bind(responder.as_any())?.unbind();
        let client_disconnected = CLIENT_DISCONNECTED.bind(responder.as_any())?.unbind();
        Ok(Self {
            responder: responder.unbind(),
            start_response,
            client_disconnected,
        })
    }

    /// Ends the request. Returns whether the application can still reach one of the functions.
    pub(crate) fn end_request(&self, py: Python<'_>) -> bool {
        // One reference to start_response is ours, one to write is the responder's; client_disconnected has ours and
        // one in the environ template.
        let is_write_kept = {
            let mut state = self.responder.get().lock(py);
            state.is_current = false;
            (state.write.as_ref()).is_some_and(|write| !is_unshared(write.bind(py), 1))
        };
        is_write_kept
            || !is_unshared(self.start_response.bind(py), 1)
            || !is_unshared(self.client_disconnected.bind(py), 2)
    }

    /// The value of `lockgate.client_disconnected` in environ.
    pub(crate) fn client_disconnected<'py>(&self, py: Python<'py>) -> &Bound<'py, PyCFunction> {
        self.client_disconnected.bind(py)
    }

    /// A function that takes over the connection of the request that is lent.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn take_over<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCFunction>> {
        TAKE_OVER.bind(self.responder.bind(py).as_any())
    }

    /// Disables the set, which the application still holds.
    pub(crate) fn retire(&self, py: Python<'_>) {
        self.responder.get().retire(py);
    }

    pub(crate) fn responder(&self) -> &Responder {
        self.responder.get()
    }

    /// Opens the set for a request and calls the application, with the reply lent to `write` meanwhile.
    pub(crate) fn lend<'py, T>(
        &self,
        py: Python<'py>,
        reply: &mut Reply,
        call: impl FnOnce(&Bound<'py, PyCFunction>) -> T,
    ) -> (T, Progress) {
        let responder = self.responder.get();
        {
            let mut state = responder.lock(py);
            state.phase = Phase::Silent;
            state.is_current = true;
            state.lend(reply, Progress::default(), Loaned::ToCall);
        }
        let loan = Loan {
            py,
            responder,
            reply,
        };
        let result = call(self.start_response.bind(py));
        (result, loan.end())
    }
}

/// Returns the reply, also when the call panics: the thread pool answers an unfinished request.
struct Loan<'a, 'py> {
    py: Python<'py>,
    responder: &'a Responder,
    reply: &'a mut Reply,
}

impl Loan<'_, '_> {
    fn end(self) -> Progress {
        // `drop` would lock a second time.
        let mut loan = ManuallyDrop::new(self);
        let responder = loan.responder;
        responder.lock(loan.py).give_back(loan.reply)
    }
}

impl Drop for Loan<'_, '_> {
    fn drop(&mut self) {
        self.responder.lock(self.py).give_back(self.reply);
    }
}

static START_RESPONSE: Definition = Definition::fast(
    c"start_response",
    start_response_entry,
    c"start_response(status, headers, exc_info=None)\n--\n\nBegins the response (PEP 3333); returns write(data).",
);

static WRITE: Definition = Definition::fast(
    c"write",
    write_entry,
    c"write(data)\n--\n\nTransmits bytes of the body at once (PEP 3333).",
);

trampoline!(
    start_response_entry,
    ["status", "headers", "exc_info"],
    start_response
);
static CLIENT_DISCONNECTED: Definition = Definition::fast(
    c"client_disconnected",
    client_disconnected_entry,
    c"client_disconnected()\n--\n\nWhether the client has disconnected; checks the connection.",
);

static TAKE_OVER: Definition = Definition::fast(
    c"take_over",
    take_over_entry,
    c"take_over()\n--\n\nTakes the connection over from HTTP; returns a descriptor.",
);

trampoline!(write_entry, ["data"], write);
trampoline!(take_over_entry, [], take_over);
trampoline!(client_disconnected_entry, [], client_disconnected);

fn client_disconnected<'py>(
    receiver: &Bound<'py, PyAny>,
    []: [Option<Borrowed<'_, 'py, PyAny>>; 0],
) -> PyResult<Bound<'py, PyAny>> {
    let py = receiver.py();
    let mut state = receiver.cast::<Responder>()?.get().lock(py);
    let has_left = if state.has_reply {
        state.reply.has_client_left()
    } else {
        // The request is over, or a piece is being sent, which detects a disconnect itself.
        !state.is_current
    };
    Ok(PyBool::new(py, has_left).to_owned().into_any())
}

fn take_over<'py>(
    receiver: &Bound<'py, PyAny>,
    []: [Option<Borrowed<'_, 'py, PyAny>>; 0],
) -> PyResult<Bound<'py, PyAny>> {
    let py = receiver.py();
    let mut state = receiver.cast::<Responder>()?.get().lock(py);
    let taken = match state.has_reply {
        true => state.reply.take_over(),
        false => Err(NotTaken::Responded),
    };
    drop(state);
    let socket = taken.map_err(|error| PyConnectionError::new_err(error.to_string()))?;
    Ok(socket.into_raw_fd().into_pyobject(py)?.into_any())
}

fn start_response<'py>(
    receiver: &Bound<'py, PyAny>,
    arguments: [Option<Borrowed<'_, 'py, PyAny>>; 3],
) -> PyResult<Bound<'py, PyAny>> {
    let py = receiver.py();
    let [Some(status), Some(headers), exc_info] = arguments else {
        return Err(PyTypeError::new_err(
            "start_response() needs a status and a list of headers",
        ));
    };
    let exc_info = exc_info.filter(|exc_info| !exc_info.is_none());
    // Before locking: an iterable of the application may call start_response() itself.
    let headers = sequence_of(headers);
    let mut state = receiver.cast::<Responder>()?.get().lock(py);
    match state.phase {
        Phase::Closed => {
            return Err(PyRuntimeError::new_err(
                "start_response() was called after its request was over",
            ));
        }
        Phase::Committed(_) | Phase::Described(_) if exc_info.is_none() => {
            return Err(PyAssertionError::new_err(
                "start_response() was called a second time, without exc_info",
            ));
        }
        Phase::Committed(_) => {
            drop(state);
            return Err(exc_info.map_or_else(
                || PyAssertionError::new_err(()),
                |exc_info| exception_of(&exc_info),
            ));
        }
        Phase::Silent | Phase::Described(_) => {}
    }
    // After an error below neither the new nor the old status and headers remain.
    state.phase = Phase::Silent;
    let State { head, scratch, .. } = &mut *state;
    head.clear();
    set_status(head, scratch, &status)?;
    set_headers(head, scratch, &headers?)?;
    let status = head.status();
    let outcome = match status >= 500 {
        true => Outcome::Failed,
        false => Outcome::Served,
    };
    state.phase = Phase::Described(outcome);
    let Some(write) = &state.write else {
        return Err(PyRuntimeError::new_err(
            "start_response() was called after its request was over",
        ));
    };
    let write = write.bind(py).clone().into_any();
    // After unlocking: the text of an exception is made by code of the application.
    drop(state);
    if outcome == Outcome::Failed {
        let raised = exc_info.and_then(|exc_info| exc_info.get_item(1).ok());
        failures::responded(status, raised.filter(|raised| !raised.is_none()).as_ref());
    }
    Ok(write)
}

/// The exception of an `exc_info` triple, to be raised again.
fn exception_of(exc_info: &Bound<'_, PyAny>) -> PyErr {
    let parts = exc_info.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>)>();
    match parts {
        Ok((_, value, traceback)) if !value.is_none() => {
            // The exception carries its traceback unless the application removed it; the triple's traceback takes
            // precedence.
            let _ = value.setattr("__traceback__", traceback);
            PyErr::from_value(value)
        }
        Ok((kind, ..)) => PyErr::from_value(kind),
        Err(error) => error,
    }
}

fn write<'py>(
    receiver: &Bound<'py, PyAny>,
    arguments: [Option<Borrowed<'_, 'py, PyAny>>; 1],
) -> PyResult<Bound<'py, PyAny>> {
    let py = receiver.py();
    let [Some(data)] = arguments else {
        return Err(PyTypeError::new_err("write() needs the bytes to write"));
    };
    let Ok(data) = data.cast::<PyBytes>() else {
        return Err(wrong_type("the argument of write()", "bytes", &data));
    };
    let responder = receiver.cast::<Responder>()?.get();
    // Taken out of the lock, because sending may wait without the GIL and must not hold the lock.
    let (mut reply, mut progress, loan) = {
        let mut state = responder.lock(py);
        let loan = state.loan;
        match loan {
            None => {
                return Err(PyRuntimeError::new_err(
                    "write() was called after the response's body had ended: it works in the call of the application \
                     and while the returned iterable is iterated over, not in close() or later",
                ));
            }
            Some(Loaned::ToIteration) if state.thread != thread::current().id() => {
                return Err(PyRuntimeError::new_err(
                    "write() was called on another thread while the returned iterable was iterated over: only the \
                     thread that iterates may write then",
                ));
            }
            Some(_) => {}
        }
        if !mem::take(&mut state.has_reply) {
            return Err(PyRuntimeError::new_err(
                "write() was called during a write() on another thread",
            ));
        }
        let mut reply = mem::take(&mut state.reply);
        // Empty pieces send no headers, as in an iterable.
        if !data.as_bytes().is_empty() && state.commit(&mut reply) {
            state.progress.announced = reply.head().content_length();
            reply.start(BodyLength::Unknown);
        }
        (reply, state.progress, loan)
    };
    let outcome = if data.as_bytes().is_empty() {
        Ok(())
    } else if !reply.is_started() {
        // The Content-Length was reached and the response is complete; or start_response() has rejected its arguments.
        progress.record_excess(data.as_bytes().len(), reply.is_over());
        Ok(())
    } else {
        queue(&mut reply, data.to_owned(), &mut progress).and_then(|_| reply.flush())
    };
    progress.is_client_gone = outcome.is_err();
    deferred_drops::run(py);
    let mut state = responder.lock(py);
    state.progress = progress;
    if state.loan == loan {
        state.reply = reply;
        state.has_reply = true;
        drop(state);
    } else {
        // Called on another thread, and the application did not wait for it: the rest of the body is unknown.
        drop(state);
        reply.abort();
    }
    outcome.map_err(|gone| PyConnectionError::new_err(gone.to_string()))?;
    Ok(py.None().into_bound(py))
}
