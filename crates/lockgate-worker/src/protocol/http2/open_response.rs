//! What is left of a writer when its response waits for messages.

use lockgate_http::ResponseBody;
use lockgate_http::http2::StreamId;

use crate::exchange::request_id::RequestId;
use crate::exchange::subscription::Subscription;
use crate::log::access_log::Entry;

/// See the module documentation.
pub(super) struct SubscribedStream {
    pub(super) subscription: Box<Subscription>,
    pub(super) response: OpenResponse,
}

/// A response that is not complete.
pub(super) struct OpenResponse {
    pub(super) stream: StreamId,
    /// The body in progress; `None`: the response has not begun.
    pub(super) body: Option<ResponseBody>,
    pub(super) is_head_request: bool,
    pub(super) entry: Option<Box<Entry>>,
    /// The id of its request, if requests have one.
    pub(super) request_id: Option<RequestId>,
    pub(super) status: u16,
    /// It is in the counters already.
    pub(super) is_counted: bool,
}
