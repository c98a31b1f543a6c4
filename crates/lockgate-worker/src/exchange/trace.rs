//! The place of a request in a trace (W3C Trace Context): its trace, the sender's span and the server's own.

use lockgate_http::trace_context::TraceParent;

/// See the module documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace, the server's own span, which is the parent of the application's, and the flags.
    pub own: TraceParent,
    /// The span of the peer; `None`: the trace begins here.
    pub parent_id: Option<u64>,
}
