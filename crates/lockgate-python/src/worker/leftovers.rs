//! What the import of the application leaves in a fork server: threads, sockets and the resource tracker.

use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;

use crate::interpreter::exceptions;

/// The sockets before the import, which are the server's.
pub(super) struct Leftovers<'py> {
    sockets: PyResult<Bound<'py, PyAny>>,
}

impl<'py> Leftovers<'py> {
    pub(super) fn before_import(py: Python<'py>) -> Self {
        Self {
            sockets: call(py, "sockets", ()),
        }
    }

    /// Lets workers use the semaphores of a process pool that the import has made, and warns of what they cannot use.
    pub(super) fn settle(self, py: Python<'_>, log: &ErrorLog) {
        if let Err(error) = call(py, "share_resource_tracker", ()) {
            let problem = exceptions::summary(py, &error);
            let message = format!(
                "the resource tracker of multiprocessing cannot be shared with workers: {problem}"
            );
            log.write(Level::Warning, &message);
        }
        let found = self
            .sockets
            .and_then(|sockets| call(py, "leftovers", (sockets,))?.extract::<Vec<String>>());
        let message = match found {
            Ok(found) if found.is_empty() => return,
            Ok(found) => format!(
                "preload: the import of the application has left threads or sockets in the fork server: {}; \
                 start and open them at their first use, or by os.register_at_fork",
                found.join("; ")
            ),
            Err(error) => {
                let problem = exceptions::summary(py, &error);
                format!(
                    "cannot list the threads and sockets that the import has left in the fork server: {problem}"
                )
            }
        };
        log.write(Level::Warning, &message);
    }
}

fn call<'py>(
    py: Python<'py>,
    name: &str,
    arguments: impl pyo3::call::PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import("lockgate.fork_server")?
        .call_method1(name, arguments)
}
