//! What all threads of a worker share: the settings of the bridge, and the error log.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockgate_config::ClientCertificateUser;
use lockgate_http::RequestHead;
use lockgate_observe::{Level, escape_into};
use lockgate_worker::Request;
use lockgate_worker::log::{ErrorLog, described, shown_target};
use pyo3::prelude::*;

/// Settings of the bridge.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// `wsgi.multithread`
    pub(crate) is_multithread: bool,
    /// Whether each event loop has one thread.
    pub(crate) has_single_threads: bool,
    /// `wsgi.multiprocess`
    pub(crate) is_multiprocess: bool,
    /// Whether sendfile(2) may be used for files.
    pub(crate) is_sendfile_on: bool,
    /// The default mount point of the application, percent-encoded; empty: the root.
    pub(crate) root_path: String,
    /// Keys of environ that the access log uses.
    pub(crate) environ_names: Vec<String>,
    /// Whether query strings may appear in the error log.
    pub(crate) shows_queries: bool,
    /// Whether environ has HTTPS and SSL_* for requests over TLS.
    pub(crate) has_ssl_variables: bool,
    /// The part of a client's certificate that becomes REMOTE_USER.
    pub(crate) certificate_user: Option<ClientCertificateUser>,
}

/// What all threads of the worker share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) log: Arc<ErrorLog>,
    /// Header names with an underscore that were already warned about.
    warned: Mutex<HashSet<Vec<u8>>>,
    /// Errors of requests, while they are collected instead of logged.
    captured: Mutex<Option<Vec<String>>>,
}

/// Clients invent header names; after this many there are no more warnings.
const MOST_WARNINGS: usize = 32;

impl Shared {
    pub(crate) fn new(settings: Settings, log: Arc<ErrorLog>) -> Self {
        Self {
            settings,
            log,
            warned: Mutex::default(),
            captured: Mutex::default(),
        }
    }

    /// Errors of requests, while they are collected instead of logged.
    pub(crate) fn captured(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns, once for each name, that header fields were dropped.
    pub(crate) fn warn_of_underscores(&self, py: Python<'_>, head: &RequestHead) {
        let kept: HashSet<&[u8]> = (head.headers())
            .map(|(name, _)| name)
            .filter(|name| name.contains(&b'_'))
            .collect();
        for line in head.head_bytes().split(|&byte| byte == b'\n').skip(1) {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            let is_dropped = name.contains(&b'_') && !kept.contains(name);
            if is_dropped && self.is_first_warning(name) {
                let name = escaped(name);
                self.log(
                    py,
                    Level::Warning,
                    &format!(
                        "Dropped request header {name}: with its underscore it would pass for another header; \
                         a trusted proxy may send it if forwarder_headers allows it"
                    ),
                );
            }
        }
    }

    /// Warns, once, that a request for an upgrade gets no socket.
    pub(crate) fn warn_of_single_thread(&self, py: Python<'_>) {
        if self.is_first_warning(b"upgrade") {
            self.log(
                py,
                Level::Warning,
                "a request asks for WebSocket, and the application gets no socket for it, because threads = 1: a \
                 WebSocket would keep all other requests waiting; set threads to 2 or more (logged once)",
            );
        }
    }

    fn is_first_warning(&self, name: &[u8]) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.len() < MOST_WARNINGS && warned.insert(name.to_ascii_lowercase())
    }

    /// Method and target for a log line.
    pub(crate) fn described(&self, request: &Request) -> String {
        let target = shown_target(request.head.target(), self.settings.shows_queries);
        let mut text = described(request.head.method(), target);
        if let Some(id) = request.id() {
            text.push_str(" (id ");
            text.push_str(id);
            text.push(')');
        }
        text
    }

    /// Writes to the error log without the GIL: the log may be a pipe that is full.
    pub(crate) fn log(&self, py: Python<'_>, level: Level, message: &str) {
        py.detach(|| self.log.write(level, message));
    }

    /// Logs an exception of the application with its traceback.
    pub(crate) fn log_exception(&self, py: Python<'_>, message: &str) {
        py.detach(|| self.log.write_exception(Level::Error, message));
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len());
    escape_into(&mut text, bytes);
    String::from_utf8_lossy(&text).into_owned()
}
