//! User and group of the workers, resolved and set by `lockgate.privileges` through Python's pwd, grp and os.

use lockgate_config::Config;
use pyo3::prelude::*;

/// User and group ID of the configuration; `None` when neither is set.
///
/// # Errors
/// When there is no such user or group: `UnusableIdentity` of `lockgate.privileges`.
pub(crate) fn identity(py: Python<'_>, config: &Config) -> PyResult<Option<(u32, u32)>> {
    call(py, config, "identify").and_then(|identity| match identity {
        Some(identity) => {
            let (_name, user, group) = identity.extract::<(Option<String>, u32, u32)>()?;
            Ok(Some((user, group)))
        }
        None => Ok(None),
    })
}

/// Changes to the configured user and group, supplementary groups included. Before the application is loaded, so that
/// none of its code runs as root.
///
/// # Errors
/// When the system call fails.
pub(crate) fn change_user(py: Python<'_>, config: &Config) -> PyResult<()> {
    call(py, config, "become").map(drop)
}

/// Checks that the new user can import modules.
///
/// # Errors
/// When the user has no access to a directory of the interpreter or of Lockgate: a sentence that names it.
pub(crate) fn check_interpreter(py: Python<'_>, config: &Config) -> Result<(), String> {
    call(py, config, "check_interpreter")
        .map(drop)
        .map_err(|error| error.value(py).to_string())
}

/// `None`: neither user nor group is set.
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
