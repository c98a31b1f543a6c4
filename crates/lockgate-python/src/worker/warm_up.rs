//! Warm-up: requests the configured paths from the application in a new worker before the worker reports that it is
//! ready.

use lockgate_config::{BindAddress, Config, Endpoint, Scheme};
use lockgate_observe::Level;
use lockgate_worker::Local;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::worker::warm_up;
use pyo3::prelude::*;

use crate::wsgi::{WsgiApp, drop_thread_state};

/// Status codes from here on are server errors (RFC 9110 §15.6).
const FIRST_FAILURE: u16 = 500;

/// Requests every path in turn.
///
/// # Errors
/// With a message about the first path that failed, its traceback included.
pub(crate) fn warm_up(
    py: Python<'_>,
    app: &WsgiApp,
    config: &Config,
    endpoint: Option<&Endpoint>,
    log: &ErrorLog,
) -> Result<(), String> {
    for path in &config.warmup {
        app.capture_errors();
        let status = warm_up::ask(app, path, local(endpoint), config);
        let captured = app.take_captured_errors();
        // This thread runs no requests later.
        drop_thread_state(py);
        let outcome = match status {
            Some(status) if status < FIRST_FAILURE => {
                if status >= 400 {
                    log.write(
                        Level::Warning,
                        &format!("warmup: {path} was answered with {status}"),
                    );
                }
                // Errors logged during a good response do not keep the worker from starting.
                for error in captured {
                    log.write(Level::Error, &error);
                }
                continue;
            }
            Some(status) => format!("was answered with {status}"),
            None => "was not answered completely".to_owned(),
        };
        let lines: Vec<String> = std::iter::once(format!("warmup: {path} {outcome}"))
            .chain(captured)
            .collect();
        return Err(lines.join("\n"));
    }
    Ok(())
}

/// The local address that the request appears to come in at.
fn local(endpoint: Option<&Endpoint>) -> Local {
    let Some(endpoint) = endpoint else {
        return Local::default();
    };
    let is_tls = endpoint.scheme == Scheme::Https;
    match &endpoint.address {
        BindAddress::Tcp { host, port } => Local {
            server_name: host.clone(),
            server_port: port.to_string(),
            is_tls,
            is_uwsgi: false,
        },
        _ => Local {
            server_name: "localhost".to_owned(),
            server_port: String::new(),
            is_tls,
            is_uwsgi: false,
        },
    }
}
