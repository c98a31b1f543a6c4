//! What the server sends: heads, DATA, RST_STREAM and GOAWAY.

use super::{Connection, GoAway, TableUpdate};
use crate::error::BadResponse;
use crate::http1::encode::ResponseContext;
use crate::http1::response_body::ResponseBody;
use crate::http2::error_code::ErrorCode;
use crate::http2::frame::{
    FRAME_HEAD, FrameKind, StreamId, flags, frame_head, push_frame, push_go_away, push_reset,
};
use crate::http2::hpack::encode_empty_table;
use crate::http2::response_fields::{encode_interim, encode_response, encode_trailers};
use crate::response::ResponseHead;
use crate::rules::content::BodyLength;

/// The highest number of a stream.
const LAST_STREAM: StreamId = StreamId(i32::MAX as u32);

impl Connection {
    /// Appends the final head of a response, and the end of the stream if no body follows it
    /// ([`ResponseBody::is_complete`]). `None`: the stream is over, or has a head.
    ///
    /// The body is cut at its announced length, and found too short, as in HTTP/1.
    pub fn send_head(
        &mut self,
        stream: StreamId,
        head: &ResponseHead,
        length: BodyLength,
        context: &ResponseContext<'_>,
        out: &mut Vec<u8>,
    ) -> Option<ResponseBody> {
        let open = self.streams.get_mut(stream)?;
        if open.has_sent_head {
            return None;
        }
        open.has_sent_head = true;
        out.reserve(head.block().len() + 128);
        let start = self.begin_block(out);
        let body = encode_response(head, length, context, out);
        let is_last = body.is_complete();
        self.end_block(stream, start, is_last, out);
        if is_last {
            self.end_stream(stream);
        }
        Some(body)
    }

    /// As [`Connection::send_head`], with a block that [`encode_response_head`](crate::http2::encode_response_head) has
    /// made; returns whether it did. `is_last`: no body follows.
    #[must_use]
    pub fn send_head_block(
        &mut self,
        stream: StreamId,
        block: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        match self.streams.get_mut(stream) {
            Some(open) if !open.has_sent_head => open.has_sent_head = true,
            _ => return false,
        }
        let start = self.begin_block(out);
        out.extend_from_slice(block);
        self.end_block(stream, start, is_last, out);
        if is_last {
            self.end_stream(stream);
        }
        true
    }

    /// Appends PING. The client answers it after all that was sent before ([`Event::PingAck`]).
    ///
    /// [`Event::PingAck`]: crate::http2::Event::PingAck
    pub fn ping(&mut self, payload: u64, out: &mut Vec<u8>) {
        self.ping = Some(payload);
        let payload = payload.to_be_bytes();
        push_frame(out, FrameKind::Ping, 0, StreamId::CONNECTION, &payload);
    }

    /// Appends an interim head (1xx) with `headers`; returns whether it did. Once the final head was sent, none follows.
    ///
    /// # Errors
    ///
    /// A status outside 100..=199 or 101, which HTTP/2 does not have; a name or a value that is not valid. `out` is then
    /// unchanged.
    pub fn send_interim<'h>(
        &mut self,
        stream: StreamId,
        status: u16,
        headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
        out: &mut Vec<u8>,
    ) -> Result<bool, BadResponse> {
        match self.streams.get(stream) {
            Some(open) if !open.has_sent_head => {}
            _ => return Ok(false),
        }
        let table_update = self.table_update;
        let start = self.begin_block(out);
        if let Err(fault) = encode_interim(status, headers, out) {
            out.truncate(start);
            self.table_update = table_update;
            return Err(fault);
        }
        self.end_block(stream, start, false, out);
        Ok(true)
    }

    /// How many bytes of DATA may be sent on the stream now, at most as much as a frame may have.
    #[inline]
    pub fn send_capacity(&self, stream: StreamId) -> usize {
        match self.streams.get(stream) {
            Some(open) if open.has_sent_head && !open.has_sent_end => open
                .send_window
                .capacity()
                .min(self.send_window.capacity())
                .min(self.peer.max_frame_size as usize),
            _ => 0,
        }
    }

    /// Appends the head of a DATA frame, whose `length` bytes the caller appends next; returns whether it may. `length` is
    /// at most [`Connection::send_capacity`].
    #[must_use]
    pub fn send_data_head(
        &mut self,
        stream: StreamId,
        length: usize,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        let connection = self.send_window.capacity();
        let longest = self.peer.max_frame_size as usize;
        let Some(open) = self.streams.get_mut(stream) else {
            return false;
        };
        let capacity = open.send_window.capacity().min(connection).min(longest);
        if open.has_sent_end || !open.has_sent_head || length > capacity {
            return false;
        }
        open.send_window.send(length);
        self.send_window.send(length);
        self.budgets.earn_sent(length);
        let end = if is_last { flags::END_STREAM } else { 0 };
        out.extend_from_slice(&frame_head(length, FrameKind::Data, end, stream));
        if is_last {
            self.end_stream(stream);
        }
        true
    }

    /// Appends trailers, which end the stream; returns whether it did. Those that are not valid are left out.
    #[must_use]
    pub fn send_trailers<'h>(
        &mut self,
        stream: StreamId,
        fields: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
        out: &mut Vec<u8>,
    ) -> bool {
        match self.streams.get(stream) {
            Some(open) if open.has_sent_head && !open.has_sent_end => {}
            _ => return false,
        }
        let start = self.begin_block(out);
        encode_trailers(fields, out);
        self.end_block(stream, start, true, out);
        self.end_stream(stream);
        true
    }

    /// Appends RST_STREAM; returns whether the stream was open. What the client sends on it from now on is dropped.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode, out: &mut Vec<u8>) -> bool {
        let is_open = self.is_open(stream);
        if is_open {
            self.streams.reset_by_server(stream);
            push_reset(out, stream, code);
        }
        is_open
    }

    /// Appends GOAWAY.
    pub fn go_away(&mut self, kind: GoAway, code: ErrorCode, out: &mut Vec<u8>) {
        let last = match (kind, self.last_accepted) {
            // A later one may not raise the number (RFC 9113 §6.8).
            (_, Some(last)) => last,
            (GoAway::Graceful, None) => LAST_STREAM,
            (GoAway::Final, None) => *self.last_accepted.insert(self.streams.last()),
        };
        push_go_away(out, last, code, "");
    }

    fn end_stream(&mut self, stream: StreamId) {
        if let Some(open) = self.streams.get_mut(stream) {
            open.has_sent_end = true;
            self.budgets.earn_response();
            self.streams.close_if_ended(stream);
        }
    }

    /// Leaves room for the head of HEADERS; returns where it is.
    fn begin_block(&mut self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEAD]);
        if self.table_update == TableUpdate::Pending {
            self.table_update = TableUpdate::Sent;
            encode_empty_table(out);
        }
        start
    }

    /// Writes the head of HEADERS, and those of CONTINUATION into a block that is too long for one frame.
    fn end_block(&mut self, stream: StreamId, start: usize, is_last: bool, out: &mut Vec<u8>) {
        let end_stream = if is_last { flags::END_STREAM } else { 0 };
        let longest = self.peer.max_frame_size as usize;
        let length = out.len() - start - FRAME_HEAD;
        if length <= longest {
            let flags = end_stream | flags::END_HEADERS;
            let head = frame_head(length, FrameKind::Headers, flags, stream);
            out[start..start + FRAME_HEAD].copy_from_slice(&head);
            return;
        }
        let block = out.split_off(start + FRAME_HEAD);
        out.truncate(start);
        let mut parts = block.chunks(longest).peekable();
        let mut kind = (FrameKind::Headers, end_stream);
        while let Some(part) = parts.next() {
            let (kind, first) = std::mem::replace(&mut kind, (FrameKind::Continuation, 0));
            let last = match parts.peek() {
                Some(_) => 0,
                None => flags::END_HEADERS,
            };
            push_frame(out, kind, first | last, stream, part);
        }
    }
}
