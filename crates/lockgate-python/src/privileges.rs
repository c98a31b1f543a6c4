//! Another user and group for the workers. Asks the Python face, which has the system's own lookups and calls.

use lockgate_config::Config;
use pyo3::prelude::*;

/// Whether the user and the group of the configuration exist.
///
/// # Errors
/// A sentence with the setting and its value.
pub(crate) fn check(py: Python<'_>, config: &Config) -> Result<(), String> {
    call(py, config, "identify").map_err(|error| error.value(py).to_string())
}

/// Becomes that user and group, supplementary groups included. Before the application is loaded, so that not a line
/// of it runs as root.
///
/// # Errors
/// When the system refuses.
pub(crate) fn become_configured(py: Python<'_>, config: &Config) -> PyResult<()> {
    call(py, config, "become")
}

fn call(py: Python<'_>, config: &Config, function: &str) -> PyResult<()> {
    if config.user.is_none() && config.group.is_none() {
        return Ok(());
    }
    py.import("lockgate.privileges")?
        .call_method1(function, (config.user.as_deref(), config.group.as_deref()))
        .map(drop)
}
