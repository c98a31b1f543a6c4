//! DATA (RFC 9113 §6.1) and the receive windows.

use super::Connection;
use crate::error::Refusal;
use crate::http2::connection_error::ConnectionError;
use crate::http2::error_code::ErrorCode;
use crate::http2::event::Event;
use crate::http2::frame::{FrameHead, StreamId, flags, push_window_update, without_padding};
use crate::http2::streams::{BodyProgress, Closed, StreamState};
use crate::limits::is_body_too_long;

impl Connection {
    pub(super) fn take_data<'i>(
        &mut self,
        frame: FrameHead,
        payload: &'i [u8],
        control: &mut Vec<u8>,
    ) -> Result<Option<Event<'i>>, ConnectionError> {
        let stream = frame.stream;
        if stream == StreamId::CONNECTION {
            return Err(ConnectionError::StreamId);
        }
        let bytes = without_padding(frame, payload)?;
        let flow = frame.length;
        let state = self.streams.state(stream);
        if state == StreamState::Idle {
            return Err(ConnectionError::IdleStream);
        }
        if !self.receive_window.receive(flow) {
            return Err(ConnectionError::WindowExceeded);
        }
        let is_last = frame.has(flags::END_STREAM);
        if bytes.is_empty() && !is_last {
            self.budgets.count_control(1)?;
        }
        let open = match state {
            StreamState::Open(index) => self.streams.at(index),
            // It was sent before the client has read RST_STREAM.
            StreamState::Closed(Closed::ByServer | Closed::Forgotten) => {
                self.release_connection(flow, control);
                return Ok(None);
            }
            // The client has ended it, and knows that.
            StreamState::Closed(Closed::Ended) => return Err(ConnectionError::StreamClosed),
            _ => {
                self.release_connection(flow, control);
                return self.stream_error(stream, ErrorCode::STREAM_CLOSED, control);
            }
        };
        if open.has_received_end {
            self.release_connection(flow, control);
            return self.stream_error(stream, ErrorCode::STREAM_CLOSED, control);
        }
        if !open.receive_window.receive(flow) {
            self.release_connection(flow, control);
            return self.stream_error(stream, ErrorCode::FLOW_CONTROL_ERROR, control);
        }
        open.has_received_end = is_last;
        if open.is_refused || (bytes.is_empty() && !is_last) {
            self.streams.close_if_ended(stream);
            self.release_capacity(stream, flow, control);
            return Ok(None);
        }
        if let Err(refusal) = open.body.advance(bytes.len() as u64, is_last) {
            self.release_connection(flow, control);
            return self.malformed(stream, refusal, control);
        }
        if let BodyProgress::Received(length) = open.body
            && is_body_too_long(length, open.body_limit)
        {
            open.is_refused = true;
            let limit = open.body_limit;
            self.release_capacity(stream, flow, control);
            return Ok(Some(Event::Refused {
                stream,
                refusal: Refusal::BodyTooLarge { limit },
                is_last,
            }));
        }
        if is_last {
            self.streams.close_if_ended(stream);
        }
        Ok(Some(Event::Data {
            stream,
            bytes,
            flow,
            is_last,
        }))
    }

    /// Replaces [`Limits::body`](crate::Limits::body) for the body of the request that [`Event::Request`] has just
    /// reported; 0: unlimited.
    ///
    /// # Errors
    ///
    /// The request announces a longer body: it is refused, and the rest of it is dropped.
    pub fn limit_body(&mut self, stream: StreamId, limit: u64) -> Result<(), Refusal> {
        let Some(open) = self.streams.get_mut(stream) else {
            return Ok(());
        };
        open.body_limit = limit;
        if let BodyProgress::Left(length) = open.body
            && is_body_too_long(length, limit)
        {
            open.is_refused = true;
            return Err(Refusal::BodyTooLarge { limit });
        }
        Ok(())
    }

    /// The bytes of [`Event::Data`] have left memory: the client may send as many more. Call it once for each, also if
    /// the stream is over. WINDOW_UPDATE is appended to `out` when half of a window can be announced.
    pub fn release_capacity(&mut self, stream: StreamId, flow: u32, out: &mut Vec<u8>) {
        self.release_connection(flow, out);
        let size = self.settings.stream_window;
        if let Some(open) = self.streams.get_mut(stream)
            && !open.has_received_end
            && let Some(increment) = open.receive_window.release(flow, size)
        {
            push_window_update(out, stream, increment);
        }
    }

    pub(super) fn release_connection(&mut self, flow: u32, out: &mut Vec<u8>) {
        let size = self.settings.connection_window;
        if let Some(increment) = self.receive_window.release(flow, size) {
            push_window_update(out, StreamId::CONNECTION, increment);
        }
    }
}
