//! `start_response`, the `write` that it returns, and `lockgate.client_disconnected`. Knows what the application said,
//! not how a body is iterated.
//!
//! What is said is checked and copied at once, so that a mistake surfaces where it is made and nothing of the
//! application's is kept. One set of function objects serves one request after the other on a thread; an application
//! that keeps one of them keeps that set, and the thread makes a new one.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockgate_http::{BadResponse, BodyLength, ResponseHead};
use lockgate_worker::Reply;
use pyo3::exceptions::{
    PyAssertionError, PyConnectionError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBool, PyBytes, PyList, PyString, PyTuple};

use crate::ffi::{Definition, reference_count, trampoline};
use crate::interpreter;
use crate::wsgi::body::queue;

/// How far a request's response has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request, or one that is over.
    Closed,
    /// `start_response` was not called, or refused what it was given.
    Silent,
    /// Status and headers are in `head`.
    Described,
    /// They are on their way: nothing can replace them.
    Committed,
}

/// What was announced and what has been said of the body so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// The application's Content-Length.
    pub(crate) announced: Option<u64>,
    /// Bytes of body that the application gave.
    pub(crate) produced: u64,
    /// More was given than announced.
    pub(crate) is_cut: bool,
    /// A `write` found out that the client has gone.
    pub(crate) is_client_gone: bool,
}

/// The `self` of both functions.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct Responder {
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    head: ResponseHead,
    /// The request's reply while the application's code runs: `write` sends by it, `client_disconnected` asks it.
    reply: Option<Reply>,
    /// Whether the request is not over.
    is_current: bool,
    /// Whether that call is going on.
    is_lent: bool,
    progress: Progress,
    /// The function that `start_response` returns. A cycle, which `Responder::retire` breaks.
    write: Option<Py<PyAny>>,
    scratch: Vec<u8>,
}

impl Responder {
    fn lock<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, State> {
        self.state
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what `start_response` was given into the reply. `false` when there is nothing.
    pub(crate) fn commit(&self, py: Python<'_>, reply: &mut Reply) -> bool {
        self.lock(py).commit(reply)
    }

    /// Runs code of the application between two pieces of its body: it may ask after its client, but not write.
    pub(crate) fn lend_between_pieces<T>(
        &self,
        py: Python<'_>,
        reply: &mut Reply,
        ask: impl FnOnce() -> T,
    ) -> T {
        self.lock(py).reply = Some(mem::take(reply));
        let loan = Loan {
            py,
            responder: self,
            reply,
        };
        let answer = ask();
        drop(loan);
        answer
    }

    /// Makes all functions useless for good.
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
    fn commit(&mut self, reply: &mut Reply) -> bool {
        if self.phase != Phase::Described {
            return false;
        }
        self.phase = Phase::Committed;
        mem::swap(reply.head(), &mut self.head);
        true
    }
}

/// One thread's set of functions.
pub(crate) struct Functions {
    responder: Py<Responder>,
    start_response: Py<PyAny>,
    client_disconnected: Py<PyAny>,
}

impl Functions {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let state = State {
            phase: Phase::Closed,
            head: ResponseHead::default(),
            reply: None,
            is_current: false,
            is_lent: false,
            progress: Progress::default(),
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

    /// The request is over. Says whether the application still holds one of the functions.
    pub(crate) fn end_request(&self, py: Python<'_>) -> bool {
        // One reference to start_response is ours, one to write is the responder's; the third function is ours and
        // stands in the template of the environ.
        let is_write_kept = {
            let mut state = self.responder.get().lock(py);
            state.is_current = false;
            state
                .write
                .as_ref()
                .is_some_and(|write| reference_count(write.bind(py)) != 1)
        };
        is_write_kept
            || reference_count(self.start_response.bind(py)) != 1
            || reference_count(self.client_disconnected.bind(py)) != 2
    }

    /// What `lockgate.client_disconnected` is in the environ.
    pub(crate) fn client_disconnected<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.client_disconnected.bind(py)
    }

    /// Leaves the set to whoever holds it.
    pub(crate) fn retire(&self, py: Python<'_>) {
        self.responder.get().retire(py);
    }

    pub(crate) fn responder(&self) -> &Responder {
        self.responder.get()
    }

    /// Opens the set for a request and makes the call, with the reply lent to `write` meanwhile.
    pub(crate) fn lend<'py, T>(
        &self,
        py: Python<'py>,
        reply: &mut Reply,
        call: impl FnOnce(&Bound<'py, PyAny>) -> T,
    ) -> (T, Progress) {
        {
            let mut state = self.responder.get().lock(py);
            state.phase = Phase::Silent;
            state.progress = Progress::default();
            state.reply = Some(mem::take(reply));
            state.is_current = true;
            state.is_lent = true;
        }
        let loan = Loan {
            py,
            responder: self.responder.get(),
            reply,
        };
        let result = call(self.start_response.bind(py));
        (result, loan.end())
    }
}

/// Brings the reply back, also when the call panics: the crew answers for what is left undone.
struct Loan<'a, 'py> {
    py: Python<'py>,
    responder: &'a Responder,
    reply: &'a mut Reply,
}

impl Loan<'_, '_> {
    fn end(self) -> Progress {
        self.responder.lock(self.py).progress
    }
}

impl Drop for Loan<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.responder.lock(self.py);
        state.is_lent = false;
        if let Some(reply) = state.reply.take() {
            *self.reply = reply;
        }
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
    c"client_disconnected()\n--\n\nWhether nobody waits for the response any more; looks at the connection.",
);

trampoline!(write_entry, ["data"], write);
trampoline!(client_disconnected_entry, [], client_disconnected);

fn client_disconnected<'py>(
    receiver: &Bound<'py, PyAny>,
    []: [Option<Borrowed<'_, 'py, PyAny>>; 0],
) -> PyResult<Bound<'py, PyAny>> {
    let py = receiver.py();
    let mut state = receiver.cast::<Responder>()?.get().lock(py);
    let has_left = match &mut state.reply {
        Some(reply) => reply.has_client_left(),
        // Without a reply at hand either the request is over, or a piece is being sent: that finds out by itself.
        None => !state.is_current,
    };
    Ok(PyBool::new(py, has_left).to_owned().into_any())
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
    let mut state = receiver.cast::<Responder>()?.get().lock(py);
    match state.phase {
        Phase::Closed => {
            return Err(PyRuntimeError::new_err(
                "start_response() was called after its request was over",
            ));
        }
        Phase::Committed | Phase::Described if exc_info.is_none() => {
            return Err(PyAssertionError::new_err(
                "start_response() was called a second time, without exc_info",
            ));
        }
        Phase::Committed => {
            drop(state);
            return Err(exc_info.map_or_else(
                || PyAssertionError::new_err(()),
                |exc_info| given_error(&exc_info),
            ));
        }
        Phase::Silent | Phase::Described => {}
    }
    // A refusal below leaves nothing said, neither the new nor the old.
    state.phase = Phase::Silent;
    let State { head, scratch, .. } = &mut *state;
    head.clear();
    set_status(head, scratch, &status)?;
    set_headers(head, scratch, &headers)?;
    state.phase = Phase::Described;
    match &state.write {
        Some(write) => Ok(write.bind(py).clone()),
        None => Err(PyRuntimeError::new_err(
            "start_response() was called after its request was over",
        )),
    }
}

/// The exception of an `exc_info` triple, to be raised again.
fn given_error(exc_info: &Bound<'_, PyAny>) -> PyErr {
    let parts = exc_info.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>)>();
    match parts {
        Ok((_, value, traceback)) if !value.is_none() => {
            // It carries its traceback already, unless somebody cut it off; the triple's is the one that counts.
            let _ = value.setattr("__traceback__", traceback);
            PyErr::from_value(value)
        }
        Ok((kind, ..)) => PyErr::from_value(kind),
        Err(error) => error,
    }
}

/// `ddd reason`; the space must be there, the reason may be empty (PEP 3333, RFC 9112 §4).
fn set_status(
    head: &mut ResponseHead,
    scratch: &mut Vec<u8>,
    status: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Ok(status) = status.cast::<PyString>() else {
        return Err(wrong_type("status", "a str", status));
    };
    let text = latin1_bytes(status, scratch, "status")?;
    let (code, rest) = text.split_at_checked(3).ok_or_else(bad_status)?;
    let [b' ', reason @ ..] = rest else {
        return Err(bad_status());
    };
    if !code.iter().all(u8::is_ascii_digit) {
        return Err(bad_status());
    }
    let code = code
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    head.set_status(code, reason).map_err(refused)
}

fn set_headers(
    head: &mut ResponseHead,
    scratch: &mut Vec<u8>,
    headers: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Ok(headers) = headers.cast::<PyList>() else {
        return Err(wrong_type("headers", "a list", headers));
    };
    for header in headers {
        let Ok(pair) = header.cast::<PyTuple>() else {
            return Err(wrong_type("a header", "a tuple", &header));
        };
        if pair.len() != 2 {
            return Err(PyTypeError::new_err(
                "a header must be a tuple of a name and a value",
            ));
        }
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        let Ok(name) = name.cast::<PyString>() else {
            return Err(wrong_type("a header's name", "a str", &name));
        };
        let Ok(value) = value.cast::<PyString>() else {
            return Err(wrong_type("a header's value", "a str", &value));
        };
        // A name outside ASCII is no token; what it is in UTF-8 is refused as well as what it is in latin-1.
        let name = name
            .to_str()
            .map_err(|_| refused(BadResponse::InvalidHeaderName))?
            .as_bytes();
        head.push(name, latin1_bytes(&value, scratch, "a header's value")?)
            .map_err(refused)?;
    }
    Ok(())
}

/// The bytes that a `str` stands for in WSGI; ASCII, which nearly all are, is not copied.
fn latin1_bytes<'a>(
    text: &'a Bound<'_, PyString>,
    scratch: &'a mut Vec<u8>,
    what: &str,
) -> PyResult<&'a [u8]> {
    let outside = || PyValueError::new_err(format!("{what} has a character outside latin-1"));
    let text = text.to_str().map_err(|_| outside())?;
    if text.is_ascii() {
        return Ok(text.as_bytes());
    }
    scratch.clear();
    for character in text.chars() {
        scratch.push(u8::try_from(character).map_err(|_| outside())?);
    }
    Ok(scratch)
}

// None of these says what the value was: it may be what an attacker wants to see in a log or an error page.

fn wrong_type(what: &str, wanted: &str, given: &Bound<'_, PyAny>) -> PyErr {
    let given = given
        .get_type()
        .name()
        .map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{what} must be {wanted}, not {given}"))
}

fn bad_status() -> PyErr {
    PyValueError::new_err("status must be three digits, a space and a reason")
}

fn refused(fault: BadResponse) -> PyErr {
    PyValueError::new_err(fault.to_string())
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
    // Taken out while it works, because it may wait outside the interpreter and a lock must not be held then.
    let (mut reply, mut progress) = {
        let mut state = responder.lock(py);
        let lent = if state.is_lent {
            state.reply.take()
        } else {
            None
        };
        let Some(mut reply) = lent else {
            return Err(PyRuntimeError::new_err(
                "write() works only while the application is being called",
            ));
        };
        // Empty pieces send no headers, as in an iterable.
        if !data.as_bytes().is_empty() && state.commit(&mut reply) {
            state.progress.announced = reply.head().content_length();
            reply.start(BodyLength::Unknown);
        }
        (reply, state.progress)
    };
    let outcome = if data.as_bytes().is_empty() || !reply.is_started() {
        Ok(())
    } else {
        queue(&mut reply, data.to_owned(), &mut progress).and_then(|_| reply.flush())
    };
    progress.is_client_gone = outcome.is_err();
    interpreter::empty_graveyard(py);
    let mut state = responder.lock(py);
    state.progress = progress;
    if state.is_lent {
        state.reply = Some(reply);
        drop(state);
    } else {
        // Called on another thread, and the application did not wait for it: nobody knows what is still to come.
        drop(state);
        reply.abort();
    }
    outcome.map_err(|gone| PyConnectionError::new_err(gone.to_string()))?;
    Ok(py.None().into_bound(py))
}
