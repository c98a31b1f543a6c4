//! The connection of a request that asks for an upgrade (RFC 9110 §7.8): `gunicorn.socket` and `werkzeug.socket` in
//! environ, by which simple-websocket, flask-sock and python-engineio speak WebSocket.
//!
//! Both are one object of `lockgate.upgraded`, which takes the connection over when the application uses it first; a
//! request that never does gets its response as any other.

use lockgate_http::{RequestHead, Version};
use lockgate_worker::Request;
use pyo3::exceptions::{PyConnectionError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

/// The object in environ. The application may keep it longer than the request.
pub(crate) struct OfferedConnection<'py>(Bound<'py, PyAny>);

/// Whether the request has the form of an upgrade: a server ignores Upgrade in HTTP/1.0.
pub(crate) fn is_upgrade(head: &RequestHead) -> bool {
    let names_upgrade = |value: &[u8]| {
        value
            .split(|&byte| byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    head.version() == Version::Http11
        && head
            .headers()
            .any(|(name, value)| name.eq_ignore_ascii_case(b"connection") && names_upgrade(value))
}

impl<'py> OfferedConnection<'py> {
    /// Adds the object to environ; `take` takes the connection over and returns a descriptor.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn new(
        environ: &Bound<'py, PyDict>,
        request: &Request,
        take: Bound<'py, PyCFunction>,
    ) -> PyResult<Self> {
        let py = environ.py();
        let client = address(request.client().host(), request.client().port());
        let local = request.local();
        let server = address(&local.server_name, &local.server_port);
        let object = py
            .import(pyo3::intern!(py, "lockgate.upgraded"))?
            .getattr(pyo3::intern!(py, "UpgradedSocket"))?
            .call1((take, client, server))?;
        environ.set_item(pyo3::intern!(py, "gunicorn.socket"), &object)?;
        environ.set_item(pyo3::intern!(py, "werkzeug.socket"), &object)?;
        Ok(Self(object))
    }

    /// The call has ended: the application's thread may write no more, and what it has written is sent.
    ///
    /// # Errors
    /// An exception from outside, such as that of a signal handler.
    pub(crate) fn end(&self) -> PyResult<()> {
        let py = self.0.py();
        self.0
            .call_method0(pyo3::intern!(py, "_end_of_request"))
            .map(drop)
    }
}

/// Whether the exception says only that the connection has ended: `StopIteration` under gunicorn, a `ConnectionError`
/// under Werkzeug.
pub(crate) fn is_end_of_connection(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyStopIteration>(py) || error.is_instance_of::<PyConnectionError>(py)
}

/// As `getpeername` has it; the port of a client on a unix socket is empty.
fn address(host: &str, port: &str) -> Option<(String, u16)> {
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_http::{Limits, RequestParser};

    #[test]
    fn an_upgrade_is_named_in_connection_and_needs_http_1_1() {
        for (version, connection, expected) in [
            ("1.1", "Connection: Upgrade", true),
            ("1.1", "Connection: keep-alive, upgrade", true),
            (
                "1.1",
                "Connection: keep-alive\r\nConnection: UPGRADE ",
                true,
            ),
            ("1.1", "Connection: keep-alive", false),
            ("1.1", "Connection: upgraded", false),
            ("1.1", "Accept: upgrade", false),
            ("1.0", "Connection: upgrade", false),
        ] {
            let mut head = RequestHead::default();
            let text = format!(
                "GET / HTTP/{version}\r\nHost: a\r\nUpgrade: websocket\r\n{connection}\r\n\r\n"
            );
            RequestParser::new(Limits::default())
                .step(text.as_bytes(), &mut head)
                .unwrap();
            assert_eq!(is_upgrade(&head), expected, "{version} {connection}");
        }
    }
}
