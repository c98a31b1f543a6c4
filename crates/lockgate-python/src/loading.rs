//! Loads the application through `lockgate.loading`, and turns its exceptions into text for the operator.

use lockgate_config::{AppSpec, Config};
use lockgate_supervisor::LoadFailure;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::interpreter::exceptions;

/// The exit code of a failed import.
const IMPORT_FAILED: i32 = 3;

/// Loads the application that the configuration names, or calls `provide` for it.
///
/// # Errors
/// With the text for the operator: a traceback without the server's frames, or a sentence, and hints.
pub(crate) fn load(
    py: Python<'_>,
    config: &Config,
    provide: Option<&Py<PyAny>>,
) -> Result<Py<PyAny>, LoadFailure> {
    call(py, config, provide).map_err(|error| {
        let code = error
            .value(py)
            .getattr("exit_code")
            .and_then(|code| code.extract::<i32>());
        match code {
            Ok(code) => LoadFailure {
                code,
                text: error.value(py).to_string(),
            },
            Err(_) => LoadFailure {
                code: IMPORT_FAILED,
                text: exceptions::traceback(py, &error),
            },
        }
    })
}

fn call(py: Python<'_>, config: &Config, provide: Option<&Py<PyAny>>) -> PyResult<Py<PyAny>> {
    let paste = match &config.app {
        AppSpec::Paste { file, name } => Some((file, name)),
        _ => None,
    };
    let options = PyDict::new(py);
    let attribute = match &config.app {
        AppSpec::Module { module, attribute } => {
            options.set_item("module", module)?;
            attribute
        }
        AppSpec::File { path, attribute } => {
            options.set_item("file", path)?;
            attribute
        }
        AppSpec::Paste { .. } => &None,
    };
    if let Some(attribute) = attribute {
        options.set_item("attribute", &attribute.path)?;
        options.set_item("arguments", attribute.call.as_deref())?;
    }
    options.set_item("pythonpath", &config.pythonpath)?;
    let refuse_patched_threads = |when| {
        if config.allow_patched_threads {
            return Ok(());
        }
        let patching = py.import("lockgate.patching")?;
        patching.call_method1("refuse", (when,)).map(drop)
    };
    refuse_patched_threads(
        "before the application was imported, as by sitecustomize or a .pth file",
    )?;
    let loading = py.import("lockgate.loading")?;
    let application = match (provide, paste) {
        (Some(provide), _) => {
            let arguments = (provide, config.app.to_string(), &config.pythonpath);
            loading.call_method1("provided", arguments)?
        }
        (None, Some((file, name))) => {
            let arguments = (file, name, config.paste_global.clone(), &config.pythonpath);
            py.import("lockgate.paste")?
                .call_method1("load", arguments)?
        }
        (None, None) => loading.call_method("load", (), Some(&options))?,
    };
    refuse_patched_threads("by the import of the application")?;
    Ok(application.unbind())
}
