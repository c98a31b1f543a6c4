//! The URI of a request, as clients see it.

use lockgate_cache::key;

use crate::exchange::request::Request;

/// Before the mount point in a key. No URL has it.
pub(super) const MOUNT: u8 = 2;

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

/// The primary key of a request. A mount point is part of it, since the application sees its URL in two parts then.
pub(super) fn key(request: &Request, ignored_parameters: &[String]) -> Vec<u8> {
    let head = &request.head;
    let (scheme, host) = (request.scheme().as_bytes(), head.host().unwrap_or_default());
    let mount = head.script_name();
    // The usual case, without copies. A web server in front (`uwsgi_pass`) may have another path than that of the target.
    if head.target().starts_with(b"/") && mount.is_empty() && !request.local().is_uwsgi {
        return key::primary(scheme, host, head.target(), ignored_parameters);
    }
    let path_and_query = Target::of(request).path_and_query;
    let mut key = key::primary(scheme, host, &path_and_query, ignored_parameters);
    if !mount.is_empty() {
        key.push(MOUNT);
        key.extend_from_slice(mount);
    }
    if request.local().is_uwsgi && head.target() != path_and_query {
        // REQUEST_URI, which the application sees, too.
        key.push(MOUNT);
        key.extend_from_slice(head.target());
    }
    key
}
