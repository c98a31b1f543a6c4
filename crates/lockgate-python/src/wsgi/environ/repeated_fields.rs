//! Header fields that a request has more than once: their values are joined.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::ffi;

/// The values of repeated fields. They are joined once, at the end: joining at each field would copy the earlier values
/// each time.
#[derive(Default)]
pub(super) struct RepeatedFields<'py> {
    /// Maps each key to the list of its values.
    values: Option<Bound<'py, PyDict>>,
}

impl<'py> RepeatedFields<'py> {
    /// Adds the value of a field whose key is in `environ`.
    #[cold]
    pub(super) fn add(
        &mut self,
        environ: &Bound<'py, PyDict>,
        key: &Bound<'py, PyString>,
        value: &[u8],
    ) -> PyResult<()> {
        let py = environ.py();
        let all = self.values.get_or_insert_with(|| PyDict::new(py));
        let values = match all.get_item(key)? {
            Some(values) => values.cast_into::<PyList>()?,
            None => {
                let values = PyList::new(py, environ.get_item(key)?)?;
                all.set_item(key, &values)?;
                values
            }
        };
        values.append(ffi::latin1(py, value)?)
    }

    /// With a comma (RFC 9110 §5.3); cookies with `"; "` (RFC 6265 §5.4).
    pub(super) fn join(
        self,
        environ: &Bound<'py, PyDict>,
        cookie: &Bound<'py, PyString>,
    ) -> PyResult<()> {
        for (key, values) in self.values.into_iter().flatten() {
            let separator = if key.is(cookie) { "; " } else { "," };
            let separator = PyString::new(environ.py(), separator);
            environ.set_item(key, separator.call_method1("join", (values,))?)?;
        }
        Ok(())
    }
}
