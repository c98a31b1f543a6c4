//! The only crate that knows Python: the WSGI bridge and the composition root.
//!
//! Reading order: `entry` puts everything together, `hooks` is what the supervisor asks of Python, `wsgi` is the
//! bridge, `interpreter` the threads. Unsafe code lives in `ffi`, and nowhere else.
#![deny(unsafe_code)]

mod admin;
mod boot;
mod children;
mod collector;
mod entry;
mod hooks;
mod loading;
mod machine;
mod privileges;
mod process_title;
mod reading;
mod shutdown;
mod signals;
mod stack_log;
mod stacks;
mod stream_check;
mod sweeper;
mod warming;
mod wsgi;

mod exceptions;
mod ffi;
mod frames;
mod interpreter;
mod interruption;

/// The extension module `lockgate._lockgate`.
// The GIL is used for now: nothing here relies on it for its own memory safety, but the bridge has not been measured
// or tested on a free-threaded build yet.
#[pyo3::pymodule(gil_used = true)]
mod _lockgate {
    use std::ffi::OsString;

    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;

    use crate::entry;
    #[pymodule_export]
    use crate::interruption::RequestTimeout;
    use crate::reading::Sources;
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

    /// Where `admin_bind` in the environment or in lockgate.toml says that a server answers operators.
    #[pyfunction]
    fn admin_address() -> PyResult<Option<String>> {
        let sources = Sources::new(&["lockgate".into()], std::process::id());
        (sources.admin_address()).map_err(|mistakes| PyValueError::new_err(mistakes.join("\n")))
    }

    /// Runs the command line; gives the exit code of the process. In a worker it does not return.
    #[pyfunction]
    fn run(py: Python<'_>, arguments: Vec<OsString>) -> i32 {
        entry::run(py, &arguments)
    }
}
