//! What environ has of a TLS connection: HTTPS, mod_ssl's SSL_* variables, and REMOTE_USER from the certificate of the
//! client.

use std::sync::Arc;

use lockgate_config::ClientCertificateUser;
use lockgate_tls::{PeerCertificate, TlsInfo};
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
    /// Adds the variables of this connection to an environ.
    pub(super) fn set(
        &mut self,
        environ: &Bound<'_, PyDict>,
        connection: &Arc<TlsInfo>,
        settings: &Settings,
    ) -> PyResult<()> {
        let is_known = |known: &Arc<TlsInfo>| Arc::ptr_eq(known, connection);
        if !self.connection.as_ref().is_some_and(is_known) {
            self.connection = None;
            self.variables = variables(environ.py(), connection, settings)?;
            self.connection = Some(Arc::clone(connection));
        }
        (self.variables.iter()).try_for_each(|(name, value)| environ.set_item(name, value))
    }
}

fn variables(
    py: Python<'_>,
    connection: &TlsInfo,
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
    let user = settings
        .certificate_user
        .and_then(|part| user_of(connection.peer()?, part));
    if let Some(user) = user {
        add("REMOTE_USER", user)?;
    }
    Ok(variables)
}

/// `None` if the certificate lacks this part.
fn user_of(peer: &PeerCertificate, part: ClientCertificateUser) -> Option<&str> {
    let user = match part {
        ClientCertificateUser::CommonName => peer.common_name(),
        ClientCertificateUser::Email => peer.variable("SSL_CLIENT_SAN_Email_0"),
        ClientCertificateUser::DistinguishedName => Some(peer.subject()),
    };
    user.filter(|user| !user.is_empty())
}
