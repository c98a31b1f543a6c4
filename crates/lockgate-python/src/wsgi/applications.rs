//! The applications of a worker, and which of them answers a request.

use lockgate_config::{MountedApp, RouteConfig};
use lockgate_worker::Request;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::context::ImportedContext;
use super::environ::mount_point::MountPoint;
use crate::ffi::ContextScope;

/// One application.
pub(crate) struct Application {
    callable: Py<PyAny>,
    context: ImportedContext,
    /// Of a mounted one.
    mount_point: Option<MountPoint>,
}

impl Application {
    /// That of the server.
    pub(crate) fn of_server(callable: Py<PyAny>, context: ImportedContext) -> Self {
        Self {
            callable,
            context,
            mount_point: None,
        }
    }

    /// That of a mount.
    pub(crate) fn mounted(
        py: Python<'_>,
        callable: Py<PyAny>,
        context: ImportedContext,
        (route, mount): (&RouteConfig, &MountedApp),
    ) -> Self {
        Self {
            mount_point: Some(MountPoint::new(py, &route.path, &mount.env)),
            ..Self::of_server(callable, context)
        }
    }

    pub(super) fn callable<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.callable.bind(py)
    }

    /// Enters the context that its requests begin with.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn enter_context<'py>(&self, py: Python<'py>) -> PyResult<ContextScope<'py>> {
        self.context.enter(py)
    }

    pub(super) fn mount_point(&self) -> Option<&MountPoint> {
        self.mount_point.as_ref()
    }
}

/// All applications of a worker.
pub(crate) struct Applications {
    server: Application,
    /// In the order of `RoutesConfig::mounts`.
    mounts: Box<[Application]>,
}

impl Applications {
    pub(crate) fn new(server: Application, mounts: Vec<Application>) -> Self {
        Self {
            server,
            mounts: mounts.into(),
        }
    }

    /// The application that answers this request.
    ///
    /// # Errors
    /// When the routes have more mounts than there are applications.
    #[inline]
    pub(super) fn of(&self, request: &Request) -> PyResult<&Application> {
        match request.mount() {
            0 => Ok(&self.server),
            number => self.mounted(number),
        }
    }

    #[inline(never)]
    fn mounted(&self, number: u16) -> PyResult<&Application> {
        let index = usize::from(number) - 1;
        (self.mounts.get(index))
            .ok_or_else(|| PyRuntimeError::new_err(format!("there is no mount {number}")))
    }
}
