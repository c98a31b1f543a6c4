//! What environ has of a TLS connection: HTTPS, mod_ssl's SSL_* variables, and REMOTE_USER from the certificate of the
//! client.

use std::sync::Arc;

use lockgate_tls::TlsInfo;
use lockgate_worker::Request;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::ffi;
use crate::wsgi::shared::Settings;

/// The variables of the last connection: clients send several requests on one.
#[derive(Default)]
pub(super) struct TlsVariables {
    connection: Option<Arc<TlsInfo>>,
    variables: Vec<(Py<PyString>, Py<PyString>)>,
}

impl TlsVariables {
    /// Adds the variables of the request's connection to its environ.
    pub(super) fn set(
        &mut self,
        environ: &Bound<'_, PyDict>,
        request: &Request,
        settings: &Settings,
    ) -> PyResult<()> {
        let Some(connection) = request.tls() else {
            return Ok(());
        };
        let is_known = |known: &Arc<TlsInfo>| Arc::ptr_eq(known, connection);
        if !self.connection.as_ref().is_some_and(is_known) {
            self.connection = None;
            self.variables = variables(environ.py(), connection, request, settings)?;
            self.connection = Some(Arc::clone(connection));
        }
        (self.variables.iter()).try_for_each(|(name, value)| environ.set_item(name, value))
    }
}

fn variables(
    py: Python<'_>,
    connection: &TlsInfo,
    request: &Request,
    settings: &Settings,
) -> PyResult<Vec<(Py<PyString>, Py<PyString>)>> {
    let mut variables = Vec::new();
    let mut add = |name: &str, value: &str| -> PyResult<()> {
        // As everywhere in environ: the bytes as Latin-1 (PEP 3333), here those of UTF-8, as with mod_ssl.
        let value = ffi::latin1(py, value.as_bytes())?;
        variables.push((PyString::intern(py, name).unbind(), value.unbind()));
        Ok(())
    };
    if settings.has_ssl_variables {
        add("HTTPS", "on")?;
        for (name, value) in connection.variables() {
            add(&name, &value)?;
        }
    }
    let part = settings.certificate_user;
    if let Some(user) = part.and_then(|part| request.certificate_user(part)) {
        add("REMOTE_USER", user)?;
    }
    Ok(variables)
}
