//! Another user and group for the workers. Asks the Python face, which has the system's own lookups and calls.

use lockgate_config::Config;
use pyo3::prelude::*;

/// The numbers of the user and the group of the configuration; `None` where it leaves them as they are.
///
/// # Errors
/// When there is no such user or group: a sentence with the setting and its value.
pub(crate) fn identity(py: Python<'_>, config: &Config) -> Result<Option<(u32, u32)>, String> {
    let found = call(py, config, "identify").and_then(|identity| match identity {
        Some(identity) => {
            let (_name, user, group) = identity.extract::<(Option<String>, u32, u32)>()?;
            Ok(Some((user, group)))
        }
        None => Ok(None),
    });
    found.map_err(|error| error.value(py).to_string())
}

/// Becomes that user and group, supplementary groups included. Before the application is loaded, so that not a line
/// of it runs as root.
///
/// # Errors
/// When the system refuses.
pub(crate) fn become_configured(py: Python<'_>, config: &Config) -> PyResult<()> {
    call(py, config, "become").map(drop)
}

/// Whether the user that this process has become can import anything.
///
/// # Errors
/// When a directory of the interpreter or of Lockgate is closed to that user: a sentence that names it.
pub(crate) fn check_interpreter(py: Python<'_>, config: &Config) -> Result<(), String> {
    call(py, config, "check_interpreter")
        .map(drop)
        .map_err(|error| error.value(py).to_string())
}

/// `None`: there is nothing to do.
fn call<'py>(
    py: Python<'py>,
    config: &Config,
    function: &str,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if config.user.is_none() && config.group.is_none() {
        return Ok(None);
    }
    py.import("lockgate.privileges")?
        .call_method1(function, (config.user.as_deref(), config.group.as_deref()))
        .map(Some)
}
