//! The Python binding and the composition root: the only crate that depends on PyO3.
//!
//! Reading order: `entry` is the start of the program, `hooks` implements what the supervisor needs from Python, `worker`
//! is the life of a worker process, `wsgi` the WSGI bridge. Below them are `interpreter` and `process`. `ffi` is the only
//! module with unsafe code.
#![deny(unsafe_code)]

mod acme;
mod admin;
mod clock;
mod embedded;
mod entry;
mod evaluation;
mod exporter;
mod failures;
mod grip_key;
mod history_logs;
mod hook_process;
mod hooks;
mod host;
mod loading;
mod metrics;
mod preparation;
mod profiling;
mod progress;
mod purging;
mod push;
mod relay;
mod reloading;
mod sealer;
mod session_secret;
mod sessions;
mod settings_source;
mod shared_logs;
mod successor;
mod uwsgi;
mod watching;
mod worker;
mod wsgi;

mod ffi;
mod interpreter;
mod process;

/// The extension module `lockgate._lockgate`.
// A free-threaded Python keeps the GIL disabled: decision 0077 says what does not depend on it, and what was run.
#[pyo3::pymodule(gil_used = false)]
mod _lockgate {
    use std::ffi::OsString;

    use aws_lc_rs::rand;
    use lockgate_access::{Algorithm, SALT_LENGTH, new_line};
    use lockgate_compress::{Coding, encode_best};
    use lockgate_config::{AppSpec, Config};
    use pyo3::exceptions::{PyMemoryError, PyValueError};
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyDict, PyType};

    #[pymodule_export]
    use crate::embedded::EmbeddedSettings;
    #[pymodule_export]
    use crate::embedded::EmbeddedWorker;
    use crate::entry;
    use crate::interpreter::async_exception;
    #[pymodule_export]
    use crate::interpreter::async_exception::RequestTimeout;
    #[pymodule_export]
    use crate::purging::Purger;
    #[pymodule_export]
    use crate::push::Publisher;
    #[pymodule_export]
    use crate::sealer::Sealer;
    use crate::settings_source::{Program, Sources, application_settings as application};
    #[pymodule_export]
    use crate::wsgi::ErrorStream;
    #[pymodule_export]
    use crate::wsgi::FileWrapper;
    #[pymodule_export]
    use crate::wsgi::Input;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// The `admin_bind` setting, as the environment or lockgate.toml gives it.
    #[pyfunction]
    fn admin_address() -> PyResult<Option<String>> {
        let sources = Sources::new(&["lockgate".into()], std::process::id());
        (sources.admin_address()).map_err(|mistakes| PyValueError::new_err(mistakes.join("\n")))
    }

    /// Serves the application of a program with a supervisor, and returns the exit code. Each worker calls `provide` for
    /// it, or loads the one that the settings name. Does not return in a worker.
    #[pyfunction]
    fn serve(
        py: Python<'_>,
        provide: Option<Py<PyAny>>,
        keywords: String,
        config: Option<OsString>,
        reads_default_file: bool,
    ) -> PyResult<i32> {
        let program = Program {
            keywords,
            config,
            reads_default_file,
            has_application: provide.is_some(),
            is_development: false,
        };
        entry::serve_program(py, program, provide)
    }

    /// As `serve`, for `lockgate dev`.
    #[pyfunction]
    fn serve_development(
        py: Python<'_>,
        provide: Py<PyAny>,
        keywords: String,
        config: Option<OsString>,
    ) -> PyResult<i32> {
        let program = Program::of_development(keywords, config);
        entry::serve_program(py, program, Some(provide))
    }

    /// What the settings say of the application, for `lockgate dev`: `app` (None if they name none), `chdir`,
    /// `pythonpath` and `env`. Raises ValueError with every mistake.
    #[pyfunction]
    fn application_settings(
        py: Python<'_>,
        config: Option<OsString>,
    ) -> PyResult<Bound<'_, PyDict>> {
        let (app, config) =
            application(py, config).map_err(|mistakes| PyValueError::new_err(mistakes.text()))?;
        let settings = PyDict::new(py);
        settings.set_item("app", app)?;
        settings.set_item("chdir", config.chdir)?;
        settings.set_item("pythonpath", config.pythonpath)?;
        settings.set_item("env", config.env)?;
        Ok(settings)
    }

    /// A content in a coding (`zstd`, `br` or `gzip`) with the best compression. Releases the GIL.
    #[pyfunction]
    fn compress<'py>(
        py: Python<'py>,
        coding: &str,
        content: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let known = Coding::ALL
            .into_iter()
            .find(|known| known.token() == coding);
        let known = known.ok_or_else(|| PyValueError::new_err(format!("no coding: {coding}")))?;
        let compressed = py
            .detach(|| encode_best(known, content))
            .map_err(|error| PyMemoryError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &compressed))
    }

    /// The hash of a password for `basic_auth`; with a user the whole line. Releases the GIL.
    #[pyfunction]
    fn hash_password(
        py: Python<'_>,
        password: Vec<u8>,
        user: Option<String>,
        bcrypt: bool,
    ) -> PyResult<String> {
        let algorithm = match bcrypt {
            true => Algorithm::Bcrypt,
            false => Algorithm::Argon2id,
        };
        let mut salt = [0; SALT_LENGTH];
        rand::fill(&mut salt).map_err(|_| PyValueError::new_err("the system has no randomness"))?;
        py.detach(|| new_line(&password, user.as_deref(), algorithm, salt))
            .map_err(|problem| PyValueError::new_err(problem.to_string()))
    }

    /// gunicorn's settings with their defaults here, as JSON.
    #[pyfunction]
    fn gunicorn_defaults() -> String {
        let no_application = AppSpec::Module {
            module: String::new(),
            attribute: None,
        };
        lockgate_config::cfg(&Config::with_defaults(no_application))
    }

    /// Raises an exception in the Python code of a thread, by Python's identifier of the thread.
    #[pyfunction]
    fn raise_in_thread(ident: u64, exception: &Bound<'_, PyType>) {
        async_exception::raise(ident, exception);
    }

    /// Makes the kernel kill this process when its parent exits.
    #[pyfunction]
    fn die_with_parent() {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Signal, set_parent_process_death_signal};
            // Where it is unsupported, an orphan ends by itself.
            let _unsupported = set_parent_process_death_signal(Some(Signal::KILL));
        }
    }

    /// Runs the command line and returns the exit code of the process. Does not return in a worker.
    #[pyfunction]
    fn run(py: Python<'_>, arguments: Vec<OsString>) -> i32 {
        entry::run(py, &arguments)
    }
}
