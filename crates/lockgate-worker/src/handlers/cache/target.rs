//! The URI of a request, as clients see it.

use lockgate_cache::key;

use crate::exchange::request::Request;

/// See the module documentation.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) scheme: &'static str,
    pub(super) host: Vec<u8>,
    /// With the mount point that a trusted proxy has cut off.
    pub(super) path_and_query: Vec<u8>,
}

impl Target {
    pub(super) fn of(request: &Request) -> Self {
        let head = &request.head;
        let mount = head.script_name();
        let mount = if head.path().starts_with(mount) {
            b""
        } else {
            mount
        };
        let mark: &[u8] = if head.query().is_empty() { b"" } else { b"?" };
        Self {
            scheme: request.scheme(),
            host: head.host().unwrap_or_default().to_vec(),
            path_and_query: [mount, head.path(), mark, head.query()].concat(),
        }
    }

    /// The primary key.
    pub(super) fn key(&self, ignored_parameters: &[String]) -> Vec<u8> {
        let scheme = self.scheme.as_bytes();
        key::primary(scheme, &self.host, &self.path_and_query, ignored_parameters)
    }
}
