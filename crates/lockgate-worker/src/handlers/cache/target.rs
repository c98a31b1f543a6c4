//! The URI of a request, as clients see it.

use lockgate_cache::key;

use crate::exchange::request::Request;

/// See the module documentation.
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
}

/// The primary key of a request.
pub(super) fn key(request: &Request, ignored_parameters: &[String]) -> Vec<u8> {
    let head = &request.head;
    let (scheme, host) = (request.scheme().as_bytes(), head.host().unwrap_or_default());
    // The usual case, without copies.
    if head.target().starts_with(b"/") && head.script_name().is_empty() {
        return key::primary(scheme, host, head.target(), ignored_parameters);
    }
    let path_and_query = Target::of(request).path_and_query;
    key::primary(scheme, host, &path_and_query, ignored_parameters)
}
