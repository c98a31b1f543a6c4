//! Warm-up: asks the application in a new worker for the configured paths before it says that it is ready.
//! Knows how an answer is judged, not how a request is made.

use lockgate_config::{BindAddress, Config};
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{Local, warm_up};
use pyo3::prelude::*;

use crate::wsgi::{WsgiApp, forget_thread};

/// From here on the server is to blame (RFC 9110 §15.6).
const FIRST_FAILURE: u16 = 500;

/// Asks for every path in turn.
///
/// # Errors
/// With what the operator should know of the first that failed, its traceback included.
pub(crate) fn warm_up(
    py: Python<'_>,
    app: &WsgiApp,
    config: &Config,
    address: Option<&BindAddress>,
    log: &ErrorLog,
) -> Result<(), String> {
    for path in &config.warmup {
        app.overhear();
        let status = warm_up::ask(app, path, local(address), config);
        let overheard = app.stop_overhearing();
        // This thread runs no request later.
        forget_thread(py);
        let outcome = match status {
            Some(status) if status < FIRST_FAILURE => {
                if status >= 400 {
                    log.write(
                        Level::Warning,
                        &format!("warmup: {path} was answered with {status}"),
                    );
                }
                // Complaints about a good answer are no reason to stay away.
                for complaint in overheard {
                    log.write(Level::Error, &complaint);
                }
                continue;
            }
            Some(status) => format!("was answered with {status}"),
            None => "was not answered in full".to_owned(),
        };
        let lines: Vec<String> = std::iter::once(format!("warmup: {path} {outcome}"))
            .chain(overheard)
            .collect();
        return Err(lines.join("\n"));
    }
    Ok(())
}

/// Where such a request seems to come in.
fn local(address: Option<&BindAddress>) -> Local {
    match address {
        Some(BindAddress::Tcp { host, port }) => Local {
            server_name: host.clone(),
            server_port: port.to_string(),
        },
        Some(_) => Local {
            server_name: "localhost".to_owned(),
            server_port: String::new(),
        },
        None => Local::default(),
    }
}
