//! Loads the applications through `lockgate.loading`, and turns its exceptions into text for the operator.

use std::path::Path;

use lockgate_config::{AppSpec, Attribute, Config, MountedApp};
use lockgate_supervisor::LoadFailure;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi::ContextScope;
use crate::interpreter::exceptions;
use crate::reloading::FileReports;
use crate::wsgi::ImportedContext;

/// The exit code of a failed import.
const IMPORT_FAILED: i32 = 3;

/// The applications of a process, as they were imported.
pub(crate) struct Loaded {
    /// That of the server.
    pub(crate) server: Py<PyAny>,
    /// In the order of `RoutesConfig::mounts`.
    pub(crate) mounts: Vec<LoadedMount>,
}

/// An application of a mount.
pub(crate) struct LoadedMount {
    pub(crate) application: Py<PyAny>,
    /// What its import has set.
    pub(crate) context: ImportedContext,
}

/// Loads the application that the configuration names, or calls `provide` for it, and then those of the mounts. What was
/// loaded is reported to the watcher, if there is one.
///
/// # Errors
/// With the text for the operator: a traceback without the server's frames, or a sentence, and hints.
pub(crate) fn load(
    py: Python<'_>,
    config: &Config,
    provide: Option<&Py<PyAny>>,
    reports: Option<&FileReports>,
) -> Result<Loaded, LoadFailure> {
    if let Some(reports) = reports {
        reports.begin_loading(py);
    }
    let loaded = load_all(py, config, provide);
    match (&loaded, reports) {
        (Ok(_), Some(reports)) => reports.finish_loading(py),
        (Err((_, error)), Some(reports)) => reports.fail_loading(py, error),
        (_, None) => {}
    }
    loaded.map_err(|(place, error)| {
        let failure = failure(py, &error);
        LoadFailure {
            text: format!("{place}{}", failure.text),
            ..failure
        }
    })
}

/// The error comes with its place, which the text begins with.
fn load_all(
    py: Python<'_>,
    config: &Config,
    provide: Option<&Py<PyAny>>,
) -> Result<Loaded, (String, PyErr)> {
    let of_server = |error| (String::new(), error);
    guard_names(py, config, provide.is_some()).map_err(of_server)?;
    refuse_patched_threads(
        py,
        config,
        "before the application was imported, as by sitecustomize or a .pth file",
    )
    .map_err(of_server)?;
    let server = load_one(py, config, &config.app, provide).map_err(of_server)?;
    let mut mounts = Vec::new();
    for (route, mount) in config.routes.mounts() {
        let loaded = load_mount(py, config, mount);
        let loaded = match config.is_development {
            true => in_development(py, &route.to_string(), loaded),
            false => loaded,
        };
        mounts.push(loaded.map_err(|error| (format!("mount {route}: "), error))?);
    }
    Ok(Loaded { server, mounts })
}

fn failure(py: Python<'_>, error: &PyErr) -> LoadFailure {
    let value = error.value(py);
    let code = (value.getattr("exit_code")).and_then(|code| code.extract::<i32>());
    match code {
        Ok(code) => LoadFailure {
            code,
            text: value.to_string(),
        },
        Err(_) => LoadFailure {
            code: IMPORT_FAILED,
            text: exceptions::traceback(py, error),
        },
    }
}

/// Has Python refuse modules that several applications have under one name.
fn guard_names(py: Python<'_>, config: &Config, is_program: bool) -> PyResult<()> {
    if config.routes.mounts().next().is_none() {
        return Ok(());
    }
    // Keeps the variables as they were before the first import.
    py.import("lockgate.mounting")?;
    let mut applications = vec![("the server's application".to_owned(), None, &config.app)];
    for (route, mount) in config.routes.mounts() {
        let chdir = mount.chdir.as_deref();
        applications.push((format!("mount {route}"), chdir, &mount.app));
    }
    let applications: Vec<(String, Option<&Path>, Option<&Path>)> = applications
        .into_iter()
        .map(|(name, chdir, app)| (name, chdir, file_of(app)))
        .collect();
    py.import("lockgate.module_names")?
        .call_method1("guard", (applications, &config.pythonpath, is_program))
        .map(drop)
}

fn file_of(app: &AppSpec) -> Option<&Path> {
    match app {
        AppSpec::File { path, .. } => Some(path),
        AppSpec::Module { .. } | AppSpec::Paste { .. } => None,
    }
}

fn load_mount(py: Python<'_>, config: &Config, mount: &MountedApp) -> PyResult<LoadedMount> {
    let variables = PyDict::new(py);
    for (name, value) in &mount.env {
        variables.set_item(name, value)?;
    }
    let scope = py.import("lockgate.mounting")?.call_method1(
        "ImportScope",
        (&mount.chdir, variables, file_of(&mount.app)),
    )?;
    let empty = py.import("contextvars")?.getattr("Context")?.call0()?;
    let _context = ContextScope::enter_copy(&empty)?;
    scope.call_method0("enter")?;
    let loaded = load_one(py, config, &mount.app, None);
    let left = scope.call_method0("leave");
    let application = loaded?;
    left?;
    Ok(LoadedMount {
        application,
        context: ImportedContext::take(py)?,
    })
}

/// Under `lockgate dev`: the application in what that puts around it, or the page that says why it did not load.
fn in_development(
    py: Python<'_>,
    route: &str,
    loaded: PyResult<LoadedMount>,
) -> PyResult<LoadedMount> {
    let serving = py.import("lockgate.dev.serving")?;
    let (application, context) = match loaded {
        Ok(LoadedMount {
            application,
            context,
        }) => (serving.call_method1("mounted", (application,))?, context),
        Err(error) => {
            let arguments = (route, error.value(py));
            let page = serving.call_method1("failed_mount", arguments)?;
            (page, ImportedContext::empty(py)?)
        }
    };
    Ok(LoadedMount {
        application: application.unbind(),
        context,
    })
}

fn refuse_patched_threads(py: Python<'_>, config: &Config, when: &str) -> PyResult<()> {
    if config.allow_patched_threads {
        return Ok(());
    }
    let patching = py.import("lockgate.patching")?;
    patching.call_method1("refuse", (when,)).map(drop)
}

fn load_one(
    py: Python<'_>,
    config: &Config,
    app: &AppSpec,
    provide: Option<&Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let loading = py.import("lockgate.loading")?;
    let application = match (provide, app) {
        (Some(provide), _) => {
            let arguments = (provide, app.to_string(), &config.pythonpath);
            loading.call_method1("provided", arguments)?
        }
        (None, AppSpec::Paste { file, name }) => {
            let arguments = (file, name, config.paste_global.clone(), &config.pythonpath);
            py.import("lockgate.paste")?
                .call_method1("load", arguments)?
        }
        (None, AppSpec::Module { module, attribute }) => {
            let options = options(py, config, attribute.as_ref())?;
            options.set_item("module", module)?;
            loading.call_method("load", (), Some(&options))?
        }
        (None, AppSpec::File { path, attribute }) => {
            let options = options(py, config, attribute.as_ref())?;
            options.set_item("file", path)?;
            loading.call_method("load", (), Some(&options))?
        }
    };
    refuse_patched_threads(py, config, "by the import of the application")?;
    Ok(application.unbind())
}

fn options<'py>(
    py: Python<'py>,
    config: &Config,
    attribute: Option<&Attribute>,
) -> PyResult<Bound<'py, PyDict>> {
    let options = PyDict::new(py);
    if let Some(attribute) = attribute {
        options.set_item("attribute", &attribute.path)?;
        options.set_item("arguments", attribute.call.as_deref())?;
    }
    options.set_item("pythonpath", &config.pythonpath)?;
    Ok(options)
}
