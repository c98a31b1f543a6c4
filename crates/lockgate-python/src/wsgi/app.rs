//! One request through a WSGI application: environ, call, body, close. This module holds their order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lockgate_observe::Level;
use lockgate_worker::app::{IfDue, ThreadBody};
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{App, DetachedWork, Reply, Request};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::applications::Applications;
use super::logged_environ::LoggedEnviron;
use super::request_hooks::RequestHooks;
use super::response::body::{Failure, Transmission};
use super::response::progress::{Progress, Said};
use super::shared::{Settings, Shared};
use super::thread_state::{ThreadState, drop_thread_state};
use super::upgrade::{self, OfferedConnection};
use crate::interpreter::async_exception::RequestTimeout;
use crate::interpreter::gc::IdleGc;
use crate::interpreter::thread_local_gc::ThreadLocalGc;
use crate::interpreter::{self, async_exception, deferred_drops, exceptions, threads};
use crate::process::children;
use crate::{failures, ffi};

/// The WSGI applications as the server's `App`.
pub(crate) struct WsgiApp {
    applications: Applications,
    /// Present when the server collects garbage.
    collector: Option<Arc<IdleGc>>,
    thread_local_gc: Arc<ThreadLocalGc>,
    /// How threads are started in a process that is not the server's own.
    start_thread: Option<Py<PyAny>>,
    shared: Arc<Shared>,
    /// Hooks of gunicorn around each request, if there are any.
    hooks: Option<RequestHooks>,
    /// Has the environ of the thread's request as its attribute, for functions of the module `uwsgi`.
    current: Option<Py<PyAny>>,
}

impl WsgiApp {
    pub(crate) fn new(
        applications: Applications,
        collector: Option<Arc<IdleGc>>,
        settings: Settings,
        log: Arc<ErrorLog>,
    ) -> Self {
        Self {
            applications,
            thread_local_gc: ThreadLocalGc::new(collector.clone(), Arc::clone(&log)),
            collector,
            start_thread: None,
            shared: Arc::new(Shared::new(settings, log)),
            hooks: None,
            current: None,
        }
    }

    /// Serves in a process that is not the server's own: threads are started by this function, which takes the function
    /// to run and a name, and garbage is left to Python.
    pub(crate) fn embedded(self, start_thread: Py<PyAny>) -> Self {
        Self {
            start_thread: Some(start_thread),
            ..self
        }
    }

    /// From now on each request has these hooks.
    pub(crate) fn set_hooks(&mut self, hooks: Option<RequestHooks>) {
        self.hooks = hooks;
    }

    /// From now on the attribute `environ` of this object becomes None at the end of each request.
    pub(crate) fn set_current(&mut self, current: Option<Py<PyAny>>) {
        self.current = current;
    }

    /// From now on errors of requests are collected instead of logged.
    pub(crate) fn capture_errors(&self) {
        *self.shared.captured() = Some(Vec::new());
    }

    /// Returns what was collected; errors are logged again.
    pub(crate) fn take_captured_errors(&self) -> Vec<String> {
        self.shared.captured().take().unwrap_or_default()
    }

    fn serve(&self, py: Python<'_>, request: &mut Request, reply: &mut Reply) {
        let mut thread = match ThreadState::take(py, &self.shared) {
            Ok(thread) => thread,
            Err(error) => {
                let failure = Failure::Raised(error);
                return self.end_incomplete(py, request, reply, Said::default(), failure);
            }
        };
        if let Err(error) = self.handle(py, request, reply, &mut thread) {
            let failure = Failure::Raised(error);
            self.end_incomplete(py, request, reply, Said::default(), failure);
        }
        thread.errors.get().end_line(py);
        thread.give_back(py);
    }

    /// Runs a request in Python, from environ to close.
    ///
    /// # Errors
    /// When the application could not be called.
    fn handle(
        &self,
        py: Python<'_>,
        request: &mut Request,
        reply: &mut Reply,
        thread: &mut ThreadState,
    ) -> PyResult<()> {
        // Dropped last, so that destructors of the application's objects run in the request's context.
        let application = self.applications.of(request)?;
        let _context = application.enter_context(py)?;
        let _current = Current(self.current.as_ref().map(|current| current.bind(py)));
        let mount_point = application.mount_point();
        let environ =
            (thread.environ).build(py, request, reply.deadline(), &self.shared, mount_point)?;
        let offered = match thread.environ.has_upgrade() {
            true => self.offer_connection(&environ, request, thread)?,
            false => None,
        };
        let application = application.callable(py);
        let begin = |hooks: &RequestHooks| hooks.begin(&environ, reply);
        let hooked = self.hooks.as_ref().map(begin).transpose()?;
        let (returned, progress) =
            thread
                .functions
                .lend(py, reply, |start_response| match &hooked {
                    None => application.call1((&environ, start_response)),
                    Some(hooked) => hooked.call(application, start_response),
                });
        children::exit_if_child(py, &self.shared.log, returned.as_ref().map(drop));
        if let Some(offered) = offered {
            if reply.is_taken_over() {
                thread.environ.close_stream();
                // The connection ends last: a worker that stops waits for it, and so for close() and the hooks.
                let outcome = returned.and_then(|result| close(&result));
                self.report_upgraded(py, request, outcome);
                if let Some(hooked) = &hooked {
                    self.run_hook(py, request, reply, |reply| {
                        hooked.responded(reply, &progress)
                    });
                    self.run_hook(py, request, reply, |_| hooked.ended());
                }
                self.report_upgraded(py, request, offered.end());
                return Ok(());
            }
            offered.end()?;
        }
        let logged = LoggedEnviron::of(&self.shared.settings.environ_names, &environ);
        if let Some(logged) = &logged {
            logged.record(reply);
        }
        let result = match returned {
            Ok(result) => result,
            Err(error) => {
                let held = hooked.is_some().then(|| reply.hold()).flatten();
                let failure = Failure::Raised(error).after(py, thread.environ.stream_failure());
                let said = thread.functions.responder().said(py, &progress);
                self.end_incomplete(py, request, reply, said, failure);
                thread.environ.close_stream();
                if let Some(hooked) = &hooked {
                    self.run_hook(py, request, reply, |reply| {
                        hooked.responded(reply, &progress)
                    });
                    self.run_hook(py, request, reply, |_| hooked.ended());
                }
                drop(held);
                return Ok(());
            }
        };
        // Held until close() returns: the client's next request then sees what close() commits.
        let is_sequence = is_sequence(&result);
        let is_held = hooked.is_some() || !is_sequence;
        let held = is_held.then(|| reply.hold()).flatten();
        let mut transmission = Transmission {
            py,
            responder: thread.functions.responder(),
            reply,
            request: &request.head,
            progress,
            missing: None,
            // The application continues while other results are sent.
            logged: logged.filter(|_| !is_sequence),
            is_head: request.head.method() == b"HEAD",
            is_sendfile_on: self.shared.settings.is_sendfile_on,
        };
        let outcome = transmission.send(&result);
        let (progress, missing) = (transmission.progress, transmission.missing);
        match outcome {
            Ok(()) => self.report_length(py, request, &progress, missing),
            Err(failure) => {
                let failure = failure.after(py, thread.environ.stream_failure());
                let said = thread.functions.responder().said(py, &progress);
                self.end_incomplete(py, request, reply, said, failure);
            }
        }
        thread.environ.close_stream();
        if let Some(hooked) = &hooked {
            self.run_hook(py, request, reply, |reply| {
                hooked.responded(reply, &progress)
            });
        }
        // After the end of the reply, so that the client does not wait for the application's close().
        if let Err(error) = close(&result)
            && !is_interruption(py, reply, &error)
        {
            failures::raised(py, 0, &error);
            self.log_error(py, request, &exceptions::traceback(py, &error));
        }
        if let Some(hooked) = &hooked {
            self.run_hook(py, request, reply, |_| hooked.ended());
        }
        drop(held);
        Ok(())
    }

    /// Gives the application the connection of a request that asks for an upgrade. With one thread nothing would pass its
    /// bytes on during the call.
    #[cold]
    fn offer_connection<'py>(
        &self,
        environ: &Bound<'py, PyDict>,
        request: &Request,
        thread: &ThreadState,
    ) -> PyResult<Option<OfferedConnection<'py>>> {
        // Over the uwsgi protocol the connection is not the client's.
        if !upgrade::is_upgrade(&request.head) || request.parameters().is_some() {
            return Ok(None);
        }
        let py = environ.py();
        if self.shared.settings.has_single_threads {
            self.shared.warn_of_single_thread(py);
            return Ok(None);
        }
        let take = thread.functions.take_over(py)?;
        OfferedConnection::new(environ, request, take).map(Some)
    }

    /// Logs how a call has failed that has taken its connection over; nothing that it returns is sent.
    #[cold]
    fn report_upgraded(&self, py: Python<'_>, request: &Request, outcome: PyResult<()>) {
        if let Err(error) = outcome
            && !upgrade::is_end_of_connection(py, &error)
        {
            self.log_error(py, request, &exceptions::traceback(py, &error));
        }
    }

    /// Runs what follows a response; it cannot fail the response any more.
    fn run_hook(
        &self,
        py: Python<'_>,
        request: &Request,
        reply: &mut Reply,
        hook: impl FnOnce(&mut Reply) -> PyResult<()>,
    ) {
        if let Err(error) = hook(reply)
            && !is_interruption(py, reply, &error)
        {
            self.log_error(py, request, &exceptions::traceback(py, &error));
        }
    }

    /// Ends a reply that the application left incomplete.
    fn end_incomplete(
        &self,
        py: Python<'_>,
        request: &Request,
        reply: &mut Reply,
        said: Said,
        failure: Failure,
    ) {
        let raised = match &failure {
            Failure::Raised(error) if self.hooks.is_some() => Some(error.clone_ref(py)),
            _ => None,
        };
        let text = match failure {
            Failure::Refused { status } if !reply.is_over() => {
                return reply.fail_and_close(status);
            }
            Failure::ClientGone | Failure::Refused { .. } => None,
            // The application did not catch the exception of write(), or raised another because of it.
            Failure::Raised(_) if said.is_client_gone => None,
            // The stack was logged at the interruption.
            Failure::Raised(error) if is_interruption(py, reply, &error) => None,
            Failure::Raised(error) => {
                if !said.is_failure {
                    let status = if reply.is_over() { 0 } else { 500 };
                    failures::raised(py, status, &error);
                }
                let mut text = exceptions::traceback(py, &error);
                if let Some(hint) = exceptions::hint(&text) {
                    text.push('\n');
                    text.push_str(hint);
                }
                Some(text)
            }
            Failure::Violation(rule) => {
                if !said.is_failure {
                    failures::violated(&rule);
                }
                Some(rule)
            }
        };
        match text {
            None => {
                reply.abort();
                self.shared.log(
                    py,
                    Level::Debug,
                    &format!("Client has gone: {}", self.shared.described(request)),
                );
            }
            Some(text) => {
                // A response that was complete before the application failed stands.
                if !reply.is_over() {
                    reply.fail(500);
                }
                let is_logged = self
                    .hooks
                    .as_ref()
                    .zip(raised)
                    .is_some_and(|(hooks, error)| {
                        hooks.log_exception(py, &self.shared.described(request), &error)
                    });
                if !is_logged {
                    self.log_error(py, request, &text);
                }
            }
        }
    }

    fn log_error(&self, py: Python<'_>, request: &Request, text: &str) {
        let message = format!(
            "Error handling request {}\n{text}",
            self.shared.described(request)
        );
        if let Some(messages) = &mut *self.shared.captured() {
            return messages.push(message);
        }
        self.shared.log_exception(py, &message);
    }

    /// Logs a body whose length differs from its Content-Length.
    fn report_length(
        &self,
        py: Python<'_>,
        request: &Request,
        progress: &Progress,
        missing: Option<u64>,
    ) {
        let announced = progress.announced.unwrap_or(0);
        let message = if let Some(missing) = missing {
            let sent = announced.saturating_sub(missing);
            format!(
                "Response to {} is shorter than its Content-Length: announced {announced} bytes, sent {sent}; \
                 the connection is closed",
                self.shared.described(request)
            )
        } else if progress.is_cut {
            let produced = progress.produced;
            format!(
                "Response to {} is longer than its Content-Length: announced {announced} bytes, given {produced}, \
                 sent {announced}",
                self.shared.described(request)
            )
        } else {
            return;
        };
        self.shared.log(py, Level::Error, &message);
    }
}

impl App for WsgiApp {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        Python::attach(|py| {
            deferred_drops::run(py);
            self.serve(py, request, reply);
            // Also a child that was forked while the body was produced.
            children::exit_if_child(py, &self.shared.log, Ok(()));
        });
    }

    fn detached(&self, work: DetachedWork<'_>) {
        Python::attach(|py| ffi::detach(py, work));
    }

    fn between_turns(&self, hand_off: &dyn Fn()) {
        if let Some(collector) = &self.collector {
            Python::attach(|py| collector.collect_if_due(py, hand_off));
        }
    }

    fn thread(&self) -> u64 {
        // Without thread support there are no stacks to read. No thread has the number 0.
        Python::attach(|py| async_exception::current_thread_id(py).unwrap_or(0))
    }

    fn stack(&self, thread: u64) -> Option<String> {
        let frames =
            Python::attach(|py| async_exception::traceback_of(py, thread, &self.shared.log));
        frames.map(|frames| frames.text())
    }

    fn interrupt(&self, thread: u64, if_due: IfDue<'_>) -> Option<String> {
        Python::attach(|py| {
            // Formatted at once: as soon as the GIL is released the thread continues, and its end is logged as well.
            let stack = async_exception::traceback_of(py, thread, &self.shared.log);
            let stack = stack.map(|frames| frames.text());
            // Reading the stack allocates, which can trigger a collection: the thread may have run on in the meantime.
            let mut raise = || async_exception::raise_in(py, thread);
            if_due(stack.is_some(), &mut raise).then_some(stack)?
        })
    }

    fn forget_interruption(&self) {
        Python::attach(async_exception::cancel);
    }

    fn set_switch_interval(&self, interval: Duration) {
        Python::attach(|py| interpreter::set_switch_interval(py, interval, &self.shared.log));
    }

    fn thread_ends(&self) {
        if self.start_thread.is_none() {
            Python::attach(|py| self.thread_local_gc.on_thread_end(py));
        }
    }

    fn spawn(&self, name: String, body: ThreadBody) -> io::Result<()> {
        let body = move || {
            body();
            // While still attached: thread-local destructors run after Python has deleted the thread state.
            Python::attach(drop_thread_state);
        };
        match &self.start_thread {
            Some(start) => threads::spawn_with(start, name, Box::new(body)),
            None => threads::spawn(name, Box::new(body)),
        }
    }
}

/// Forgets the request of this thread when it is dropped: the thread may wait long for its next one, and the environ has
/// the body, in memory or on disk.
struct Current<'a, 'py>(Option<&'a Bound<'py, PyAny>>);

impl Drop for Current<'_, '_> {
    fn drop(&mut self) {
        if let Some(current) = self.0 {
            // Without bytecode in between, so that no exception from outside can come first.
            let _forgotten =
                current.setattr(pyo3::intern!(current.py(), "environ"), current.py().None());
        }
    }
}

/// Whether the request's deadline, and not the application, raised this exception.
fn is_interruption(py: Python<'_>, reply: &Reply, error: &PyErr) -> bool {
    error.is_instance_of::<RequestTimeout>(py) && reply.is_expired()
}

/// Calls the result's `close`, if it has one.
fn close(result: &Bound<'_, PyAny>) -> PyResult<()> {
    if is_sequence(result) {
        return Ok(());
    }
    match result.getattr_opt(pyo3::intern!(result.py(), "close"))? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

/// Whether the result is a plain list or tuple, which has no `close`.
fn is_sequence(result: &Bound<'_, PyAny>) -> bool {
    result.is_exact_instance_of::<PyList>() || result.is_exact_instance_of::<PyTuple>()
}
