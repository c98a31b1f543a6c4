//! State that a pool thread keeps between requests. Per thread, so that it is never contended.

use std::cell::Cell;
use std::sync::Arc;

use pyo3::prelude::*;

use super::environ::Environ;
use super::errors::ErrorStream;
use super::response::start_response::Functions;
use super::shared::Shared;

/// Builders and reused objects of one thread.
pub(crate) struct ThreadState {
    pub(crate) environ: Environ,
    pub(crate) functions: Functions,
    pub(crate) errors: Py<ErrorStream>,
    shared: Arc<Shared>,
}

thread_local! {
    /// Taken out while a request runs, so that no borrow is alive while Python code runs.
    static STATE: Cell<Option<Box<ThreadState>>> = const { Cell::new(None) };
}

impl ThreadState {
    /// The thread's state, made at its first request.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn take(py: Python<'_>, shared: &Arc<Shared>) -> PyResult<Box<Self>> {
        match STATE.take() {
            Some(state) if Arc::ptr_eq(&state.shared, shared) => Ok(state),
            _ => Self::new(py, shared).map(Box::new),
        }
    }

    /// Keeps the state for the next request, except for functions that the application still holds.
    pub(crate) fn give_back(mut self: Box<Self>, py: Python<'_>) {
        if self.functions.end_request(py) {
            self.functions.retire(py);
            // If memory is short, the next request creates new state.
            let Ok(functions) = Functions::new(py) else {
                return;
            };
            let function = functions.client_disconnected(py);
            if self.environ.set_client_disconnected(function).is_err() {
                return;
            }
            self.functions = functions;
        }
        STATE.set(Some(self));
    }

    fn new(py: Python<'_>, shared: &Arc<Shared>) -> PyResult<Self> {
        let errors = Bound::new(py, ErrorStream::new(Arc::clone(&shared.log)))?;
        let functions = Functions::new(py)?;
        Ok(Self {
            environ: Environ::new(py, shared, &errors, functions.client_disconnected(py))?,
            functions,
            errors: errors.unbind(),
            shared: Arc::clone(shared),
        })
    }
}

/// Drops this thread's state; called attached, when the thread ends.
pub(crate) fn drop_thread_state(py: Python<'_>) {
    if let Some(state) = STATE.take() {
        state.functions.retire(py);
    }
}
