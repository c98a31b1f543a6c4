//! The `contextvars` context of requests: each request runs in its own copy of the context that the import left.
//!
//! Requests see plain values of that context, and decimal's context as a copy. A variable that holds any other object
//! belongs to the importing thread: shared by requests on several threads, a pushed Flask application context would
//! give them one `g`, and Django's caches one client (docs/decisions/0029).

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyFloat, PyFrozenSet, PyInt, PyString, PyTuple};

use crate::ffi::ContextScope;

/// The context that requests start with.
pub(crate) struct ImportedContext {
    context: Py<PyAny>,
    /// decimal's variable and its context; arithmetic changes that, so it is copied for each request.
    decimal: Option<(Py<PyAny>, Py<PyAny>)>,
    /// Variables that requests do not see.
    left_out: Vec<String>,
}

impl ImportedContext {
    /// An empty context, as a thread of a program that has imported the application for other reasons has it.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn empty(py: Python<'_>) -> PyResult<Self> {
        let context = py.import("contextvars")?.getattr("Context")?.call0()?;
        Ok(Self {
            context: context.unbind(),
            decimal: None,
            left_out: Vec::new(),
        })
    }

    /// Takes the variables of the current thread's context: the thread that imported the application.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn take(py: Python<'_>) -> PyResult<Self> {
        let contextvars = py.import("contextvars")?;
        let context = contextvars.getattr("Context")?.call0()?;
        let present = contextvars.call_method0("copy_context")?;
        let decimals = py
            .import("sys")?
            .getattr("modules")?
            .call_method1("get", ("decimal",))?;
        let mut decimal = None;
        let mut left_out = Vec::new();
        for item in present.call_method0("items")?.try_iter()? {
            let (variable, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
            let is_decimal =
                !decimals.is_none() && value.is_instance(&decimals.getattr("Context")?)?;
            if is_decimal {
                decimal = Some((variable.unbind(), value.unbind()));
            } else if is_plain(&value) {
                context.call_method1("run", (variable.getattr("set")?, value))?;
            } else {
                left_out.push(variable.getattr("name")?.extract()?);
            }
        }
        Ok(Self {
            context: context.unbind(),
            decimal,
            left_out,
        })
    }

    /// Variables that the import set and requests do not see.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Enters a copy as the current context.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn enter<'py>(&self, py: Python<'py>) -> PyResult<ContextScope<'py>> {
        let scope = ContextScope::enter_copy(self.context.bind(py))?;
        if let Some((variable, context)) = &self.decimal {
            let copy = context.bind(py).call_method0(pyo3::intern!(py, "copy"))?;
            variable
                .bind(py)
                .call_method1(pyo3::intern!(py, "set"), (copy,))?;
        }
        Ok(scope)
    }
}

/// Whether the value is immutable, so that threads may share it.
fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    if let Ok(items) = value.cast_exact::<PyTuple>() {
        return items.iter().all(|item| is_plain(&item));
    }
    if let Ok(items) = value.cast_exact::<PyFrozenSet>() {
        return items.iter().all(|item| is_plain(&item));
    }
    value.is_none()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyComplex>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyBytes>()
}
