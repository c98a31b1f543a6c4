//! Where a mounted application is in the path, and the variables of its environ.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// See the module documentation.
pub(crate) struct MountPoint {
    /// Decoded, without a slash at the end; empty: the mount is for whole hosts.
    path: Vec<u8>,
    variables: Vec<(Py<PyString>, Py<PyString>)>,
}

impl MountPoint {
    pub(crate) fn new(py: Python<'_>, path: &str, variables: &[(String, String)]) -> Self {
        let variables = variables.iter().map(|(name, value)| {
            let value = PyString::new(py, value).unbind();
            (PyString::intern(py, name).unbind(), value)
        });
        Self {
            path: path.as_bytes().to_vec(),
            variables: variables.collect(),
        }
    }

    /// The decoded path of the mount.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// What follows the mount in a decoded path.
    ///
    /// # Errors
    /// When the path is outside of the mount, which contradicts the routes.
    pub(super) fn rest<'p>(&self, path: &'p [u8]) -> PyResult<&'p [u8]> {
        below(path, &self.path).ok_or_else(|| {
            let mount = String::from_utf8_lossy(&self.path);
            PyRuntimeError::new_err(format!("the path is outside of its mount {mount}"))
        })
    }

    /// Sets the variables. The settings refuse names that requests set; those of a web server (`uwsgi_param`) they
    /// replace.
    pub(super) fn set_variables(&self, environ: &Bound<'_, PyDict>) -> PyResult<()> {
        (self.variables.iter()).try_for_each(|(name, value)| environ.set_item(name, value))
    }
}

/// What follows this prefix in a decoded path, if the path is the prefix or below it.
pub(super) fn below<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    path.strip_prefix(prefix)
        .filter(|rest| matches!(rest, [] | [b'/', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_divided_between_segments() {
        let cases: [(&str, &str, Option<&str>); 9] = [
            ("/admin/x", "/admin", Some("/x")),
            ("/admin/", "/admin", Some("/")),
            ("/admin", "/admin", Some("")),
            ("/administrator", "/admin", None),
            ("/Admin/x", "/admin", None),
            ("//admin/x", "/admin", None),
            ("/admin//x", "/admin", Some("//x")),
            ("/x", "", Some("/x")),
            ("*", "", None),
        ];
        for (path, prefix, expected) in cases {
            let rest = below(path.as_bytes(), prefix.as_bytes());
            assert_eq!(rest, expected.map(str::as_bytes), "{path} {prefix}");
        }
    }
}
