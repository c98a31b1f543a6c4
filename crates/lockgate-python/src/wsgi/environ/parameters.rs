//! Variables that a web server adds to a request over the uwsgi protocol, such as nginx with `uwsgi_param`.
//!
//! Invariant: none replaces a key of the server, or of WSGI.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi;

/// Keys that begin so belong to WSGI (PEP 3333) and to this server.
const RESERVED: [&[u8]; 2] = [b"wsgi.", b"lockgate."];

/// Adds the variables that do not exist yet. The last one of several with the same name comes first.
#[cold]
pub(super) fn add<'a>(
    environ: &Bound<'_, PyDict>,
    parameters: impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])>,
) -> PyResult<()> {
    let py = environ.py();
    for (name, value) in parameters.rev() {
        if RESERVED.iter().any(|reserved| name.starts_with(reserved)) {
            continue;
        }
        let key = ffi::latin1(py, name)?;
        if !environ.contains(&key)? {
            environ.set_item(key, ffi::latin1(py, value)?)?;
        }
    }
    Ok(())
}
