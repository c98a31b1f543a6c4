//! `[session]`: applications are called through `lockgate.sessions.SessionMiddleware`.

use lockgate_config::{SameSite, SessionConfig, SessionSecret};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What wraps the applications of a worker; they share its store.
pub(crate) struct SessionWrapper(Option<Py<PyAny>>);

impl SessionWrapper {
    /// Without settings it wraps nothing.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub(crate) fn new(py: Python<'_>, config: Option<&SessionConfig>) -> PyResult<Self> {
        let Some(config) = config else {
            return Ok(Self(None));
        };
        let options = options(py, config)?;
        let wrapper = py
            .import("lockgate.sessions.configured")?
            .call_method1("wrapper", (config.store.url(), options))?;
        Ok(Self(Some(wrapper.unbind())))
    }

    /// The application with sessions.
    ///
    /// # Errors
    /// When Python raises an exception.
    pub(crate) fn wrap(&self, py: Python<'_>, application: Py<PyAny>) -> PyResult<Py<PyAny>> {
        match &self.0 {
            Some(wrapper) => wrapper.call1(py, (application,)),
            None => Ok(application),
        }
    }
}

/// The keyword arguments of the middleware.
fn options<'py>(py: Python<'py>, config: &SessionConfig) -> PyResult<Bound<'py, PyDict>> {
    let options = PyDict::new(py);
    let secrets: Vec<&str> = config.secrets.iter().map(SessionSecret::reveal).collect();
    options.set_item("secrets", secrets)?;
    options.set_item("store_timeout", config.store_timeout.as_secs_f64())?;
    options.set_item("idle_lifetime", config.idle.map(|time| time.as_secs()))?;
    options.set_item(
        "absolute_lifetime",
        config.absolute.map(|time| time.as_secs()),
    )?;
    options.set_item("persistent", config.is_persistent)?;
    let cookie = &config.cookie;
    options.set_item("name", &cookie.name)?;
    options.set_item("path", &cookie.path)?;
    options.set_item("domain", cookie.domain.as_deref())?;
    options.set_item("secure", cookie.secure)?;
    options.set_item("http_only", cookie.http_only)?;
    options.set_item("same_site", cookie.same_site.map(SameSite::name))?;
    Ok(options)
}
