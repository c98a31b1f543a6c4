//! The `contextvars` context of requests: each runs in a copy of its own of what the import of the application has left.
//!
//! Of that, requests see plain values, and decimal's context as a copy. A variable that holds any other object belongs
//! to the thread that imported: shared by requests on several threads, a pushed Flask application context would give
//! them one `g`, and Django's caches one client (docs/decisions/0029).

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyFloat, PyFrozenSet, PyInt, PyString, PyTuple};

use crate::ffi::ContextScope;

/// What requests begin with.
pub(crate) struct ImportedContext {
    context: Py<PyAny>,
    /// decimal's variable and the context in it, which arithmetic changes: it is copied for each request.
    decimal: Option<(Py<PyAny>, Py<PyAny>)>,
    /// Variables that requests do not see.
    left_out: Vec<String>,
}

impl ImportedContext {
    /// Takes what is set in the present thread's context: the one that has imported the application.
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

    /// Variables that the import has set and requests do not see.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Makes a copy the present context.
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

/// Whether nothing can be changed in the value, so that threads may share it.
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
