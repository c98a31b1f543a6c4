//! The state of a connection that its streams share: the engine, and what is queued.

use lockgate_http::http2::{Connection, ErrorCode, StreamId};
use lockgate_http::{
    BodyLength, LocalResponse, ResponseBody, ResponseContext, ResponseHead, Version,
};

use super::incoming::Incoming;
use super::open_response::SubscribedStream;
use super::outgoing::{OUTPUT_AHEAD, Outgoing};
use super::record::Ended;
use crate::date::with_date;
use crate::event_loop::context::Context;
use crate::exchange::body::stream::BodyError;
use crate::exchange::request::Request;
use crate::exchange::response_rules::without_request_id;
use crate::protocol::intake::Rejection;

/// What is behind the lock of a connection.
pub(super) struct State {
    pub(super) connection: Connection,
    /// Frames that the event loop has not taken yet.
    pub(super) output: Vec<u8>,
    /// Bodies, or parts of them, that wait for their turn or for their windows.
    pub(super) outgoing: Vec<Box<Outgoing>>,
    /// Bodies that the application reads while the client sends them.
    pub(super) incoming: Vec<Box<Incoming>>,
    /// Responses whose last frame is in `output`.
    pub(super) ended: Vec<Ended>,
    /// Streams that were reset while their requests were with the application.
    pub(super) abandoned: Vec<StreamId>,
    /// Bytes of bodies that were queued and not sent when their streams ended, while their writers are there.
    pub(super) unsent: Vec<(StreamId, u64)>,
    /// Requests that are with the application, also after their streams have ended.
    pub(super) running: usize,
    /// The event loop knows that only requests run whose streams have ended: it waits for the last of them, from which
    /// on the connection is idle.
    is_last_awaited: bool,
    /// Responses that wait for messages from now on; the event loop takes them.
    pub(super) subscribed: Vec<Box<SubscribedStream>>,
    /// Threads that wait for a change.
    pub(super) waiting: usize,
    /// Counts the parts of bodies that were framed.
    pub(super) turns: u64,
    /// The connection is encrypted.
    is_https: bool,
    pub(super) is_marked: bool,
    /// The socket takes no more at the moment.
    pub(super) is_socket_full: bool,
    /// All streams are over.
    pub(super) is_over: bool,
    /// The connection has left the event loop; its slot is free when no request runs any more.
    pub(super) is_closed: bool,
}

impl State {
    pub(super) fn new(connection: Connection, output: Vec<u8>, is_https: bool) -> Self {
        Self {
            connection,
            output,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            ended: Vec::new(),
            abandoned: Vec::new(),
            unsent: Vec::new(),
            running: 0,
            is_last_awaited: false,
            subscribed: Vec::new(),
            waiting: 0,
            turns: 0,
            is_https,
            is_marked: false,
            is_socket_full: false,
            is_over: false,
            is_closed: false,
        }
    }

    /// Whether the response of this stream may still be sent.
    #[inline]
    pub(super) fn is_open(&self, stream: StreamId) -> bool {
        !self.is_over && self.connection.is_open(stream)
    }

    pub(super) fn shrink(&mut self, spare: usize) {
        self.connection.release_memory();
        if self.output.is_empty() {
            self.output = Vec::new();
        }
        self.outgoing.shrink_to(spare);
        self.incoming.shrink_to(spare);
        self.ended.shrink_to(spare);
        self.abandoned.shrink_to(spare);
        self.unsent.shrink_to(spare);
    }

    /// For the event loop: the numbers of streams that are open, and of requests that are with the application.
    pub(super) fn counts(&mut self) -> (usize, usize) {
        let open_streams = self.connection.open_streams();
        self.is_last_awaited = open_streams == 0 && self.running > 0;
        (open_streams, self.running)
    }

    /// Whether the connection has become idle, and the event loop does not know that.
    pub(super) fn has_become_idle(&self) -> bool {
        self.is_last_awaited && self.running == 0
    }

    /// Whether no request runs and nothing is queued.
    pub(super) fn is_quiet(&self) -> bool {
        self.running == 0 && self.output.is_empty() && self.outgoing.is_empty()
    }

    /// Queues a whole response of the server itself. Returns the number of bytes of its body; `None`: the stream is
    /// over.
    pub(super) fn respond(
        &mut self,
        stream: StreamId,
        response: &LocalResponse,
        is_head_request: bool,
        context: &Context,
        ended: Option<Ended>,
    ) -> Option<u64> {
        let mut head = ResponseHead::default();
        response.write_head(&mut head);
        let length = BodyLength::Known(response.body.len() as u64);
        let mut block = Vec::new();
        let body = encode_head(
            &mut block,
            &head,
            length,
            is_head_request,
            self.is_https,
            None,
            context,
        );
        let content: &[u8] = if body.allows_body() {
            &response.body
        } else {
            b""
        };
        if !(self.connection).send_head_block(stream, &block, content.is_empty(), &mut self.output)
        {
            return None;
        }
        if content.is_empty() {
            self.ended.extend(ended);
        } else {
            self.send_body(stream, content, true, ended);
        }
        Some(content.len() as u64)
    }

    /// Queues the last bytes of a body, or some more, which are few.
    #[inline]
    pub(super) fn send_body(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        is_last: bool,
        ended: Option<Ended>,
    ) {
        let is_at_once = self.outgoing.is_empty()
            && !self.is_socket_full
            && self.output.len() < OUTPUT_AHEAD
            && bytes.len() <= self.connection.send_capacity(stream);
        if is_at_once {
            let State {
                connection, output, ..
            } = self;
            if connection.send_data_head(stream, bytes.len(), is_last, output) {
                output.extend_from_slice(bytes);
            }
            self.ended.extend(ended);
        } else {
            self.outgoing_of(stream).push_copy(bytes);
            self.end_outgoing(stream, is_last, ended);
        }
    }

    /// Resets a stream and forgets what was queued for it.
    pub(super) fn reset(&mut self, stream: StreamId, code: ErrorCode) {
        self.connection.reset(stream, code, &mut self.output);
        self.remove_outgoing(stream);
        self.fail_incoming(stream, BodyError::Ended);
    }

    /// Limits the body of a request as its route does. Returns why it is refused, if it announces a longer one.
    pub(super) fn limit_body(
        &mut self,
        stream: StreamId,
        request: &Request,
        context: &Context,
    ) -> Option<Rejection> {
        let limits = context.route_limits()?;
        if request.admitted.refusal.is_some() {
            return None;
        }
        let limit = limits.of_request(request).max_body;
        let refusal = self.connection.limit_body(stream, limit).err()?;
        Some(refusal.into())
    }

    /// The response has ended: what the client still sends of its request is not needed (RFC 9113 §8.1).
    pub(super) fn end_request_body(&mut self, stream: StreamId) {
        self.fail_incoming(stream, BodyError::Ended);
        if !self.has_outgoing(stream) && self.connection.is_open(stream) {
            self.connection
                .reset(stream, ErrorCode::NO_ERROR, &mut self.output);
        }
    }
}

/// Encodes the head of a response; `request_id`: the id of its request, if requests have one.
pub(super) fn encode_head(
    block: &mut Vec<u8>,
    head: &ResponseHead,
    length: BodyLength,
    is_head_request: bool,
    is_https: bool,
    request_id: Option<&[u8]>,
    context: &Context,
) -> ResponseBody {
    let stripped = request_id.and_then(|_| without_request_id(head));
    let head = stripped.as_ref().unwrap_or(head);
    with_date(|date| {
        let context = ResponseContext {
            version: Version::Http2,
            is_head: is_head_request,
            keep_alive: true,
            omits_connection: false,
            date,
            server: context.server_header.as_deref(),
            hsts: context.hsts.as_deref().filter(|_| is_https),
            request_id,
        };
        lockgate_http::http2::encode_response_head(block, head, length, &context)
    })
}
