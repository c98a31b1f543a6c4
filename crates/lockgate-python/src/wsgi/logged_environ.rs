//! Values of environ that the access log shows, as they are at the end of the response.

use lockgate_worker::Reply;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// The environ of one request, and the keys that the access log shows.
pub(crate) struct LoggedEnviron<'a, 'py> {
    names: &'a [String],
    environ: &'a Bound<'py, PyDict>,
}

impl<'a, 'py> LoggedEnviron<'a, 'py> {
    /// None if the access log shows no key.
    pub(crate) fn of(names: &'a [String], environ: &'a Bound<'py, PyDict>) -> Option<Self> {
        (!names.is_empty()).then_some(Self { names, environ })
    }

    /// Passes the values to the access log; only those that are text now.
    pub(crate) fn record(&self, reply: &mut Reply) {
        let value = |name: &String| {
            let value = match self.environ.get_item(name).ok()? {
                Some(value) => value,
                // As in gunicorn, case does not matter: `{raw_uri}e` is RAW_URI.
                None => self.environ.get_item(name.to_ascii_uppercase()).ok()??,
            };
            let value = value
                .cast::<PyString>()
                .ok()?
                .to_string_lossy()
                .into_owned();
            Some((name.clone(), value))
        };
        reply.record_environ(self.names.iter().filter_map(value).collect());
    }
}
