//! HEADERS and CONTINUATION (RFC 9113 §6.2, §6.10): heads of requests, and trailers.

use super::{Connection, Scratch};
use crate::error::Refusal;
use crate::http2::abuse::CONTINUATIONS;
use crate::http2::connection_error::ConnectionError;
use crate::http2::error_code::ErrorCode;
use crate::http2::event::Event;
use crate::http2::flow_control::{ReceiveWindow, SendWindow};
use crate::http2::frame::{FrameHead, StreamId, flags, without_padding};
use crate::http2::hpack::DecodeError;
use crate::http2::malformed::is_malformed;
use crate::http2::request_fields::{RequestFields, TrailerFields};
use crate::http2::streams::{BodyProgress, Closed, Stream, StreamState};
use crate::request::{Framing, RequestHead};

/// A header block longer than the longest head by this much ends the connection, as its fields cannot be skipped.
const BLOCK_SLACK: usize = 16_384;

/// The overhead of a field in the size of a list (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// A header block whose end was not received.
#[derive(Debug)]
pub(super) struct HeaderBlock {
    opening: Opening,
    continuations: u8,
    bytes: Vec<u8>,
}

/// What HEADERS says besides the fields.
#[derive(Debug, Clone, Copy)]
struct Opening {
    stream: StreamId,
    is_last: bool,
    depends_on_itself: bool,
}

type Taken = Result<Option<Event<'static>>, ConnectionError>;

impl Connection {
    pub(super) fn take_headers(
        &mut self,
        frame: FrameHead,
        payload: &[u8],
        head: &mut RequestHead,
        scratch: &mut Scratch,
        control: &mut Vec<u8>,
    ) -> Taken {
        let stream = frame.stream;
        if !stream.is_from_client() {
            return Err(ConnectionError::StreamId);
        }
        let mut fragment = without_padding(frame, payload)?;
        let mut depends_on_itself = false;
        if frame.has(flags::PRIORITY) {
            let Some((&[s0, s1, s2, s3, _], rest)) = fragment.split_first_chunk::<5>() else {
                return Err(ConnectionError::FrameSize);
            };
            depends_on_itself = StreamId::read([s0, s1, s2, s3]) == stream;
            fragment = rest;
        }
        let opening = Opening {
            stream,
            is_last: frame.has(flags::END_STREAM),
            depends_on_itself,
        };
        if frame.has(flags::END_HEADERS) {
            return self.take_block(opening, fragment, head, scratch, control);
        }
        self.block = Some(Box::new(HeaderBlock {
            opening,
            continuations: 0,
            bytes: fragment.to_vec(),
        }));
        Ok(None)
    }

    pub(super) fn take_continuation(
        &mut self,
        frame: FrameHead,
        payload: &[u8],
        head: &mut RequestHead,
        scratch: &mut Scratch,
        control: &mut Vec<u8>,
    ) -> Taken {
        let Some(mut block) = self.block.take() else {
            return Err(ConnectionError::UnexpectedContinuation);
        };
        if block.opening.stream != frame.stream {
            return Err(ConnectionError::InterruptedHeaders);
        }
        let limit = self.limits.head.saturating_add(BLOCK_SLACK);
        block.continuations += 1;
        if block.continuations > CONTINUATIONS || block.bytes.len() + payload.len() > limit {
            return Err(ConnectionError::HeaderBlock);
        }
        block.bytes.extend_from_slice(payload);
        if frame.has(flags::END_HEADERS) {
            return self.take_block(block.opening, &block.bytes, head, scratch, control);
        }
        self.block = Some(block);
        Ok(None)
    }

    /// Every block is decoded, whatever becomes of its stream: the table depends on it (RFC 9113 §4.3).
    fn take_block(
        &mut self,
        opening: Opening,
        block: &[u8],
        head: &mut RequestHead,
        scratch: &mut Scratch,
        control: &mut Vec<u8>,
    ) -> Taken {
        let stream = opening.stream;
        match self.streams.state(stream) {
            StreamState::Idle => self.take_request(opening, block, head, scratch, control),
            StreamState::Open(index) => self.take_trailers(opening, index, block, scratch, control),
            StreamState::Closed(Closed::Skipped) => Err(ConnectionError::StreamOrder),
            StreamState::Closed(Closed::Ended) => Err(ConnectionError::StreamClosed),
            StreamState::Closed(Closed::ByServer) => {
                self.budgets.count_reset()?;
                self.skip_block(block, scratch)?;
                Ok(None)
            }
            StreamState::Closed(Closed::ByPeer | Closed::Forgotten) => {
                self.skip_block(block, scratch)?;
                self.stream_error(stream, ErrorCode::STREAM_CLOSED, control)
            }
        }
    }

    fn skip_block(&mut self, block: &[u8], scratch: &mut Scratch) -> Result<(), ConnectionError> {
        match self.decoder.decode(block, 0, &mut scratch.texts, |_, _| {}) {
            Ok(()) | Err(DecodeError::ListTooLarge) => Ok(()),
            Err(_) => Err(ConnectionError::Compression),
        }
    }

    fn take_request(
        &mut self,
        opening: Opening,
        block: &[u8],
        head: &mut RequestHead,
        scratch: &mut Scratch,
        control: &mut Vec<u8>,
    ) -> Taken {
        let Opening {
            stream, is_last, ..
        } = opening;
        self.streams.advance(stream);
        let update = self.take_early_priority(stream);
        if self.last_accepted.is_some() {
            // The client learns from GOAWAY that the stream was not served.
            self.budgets.count_control(1)?;
            self.streams.reset_by_server(stream);
            self.skip_block(block, scratch)?;
            return Ok(None);
        }
        let in_progress = self.streams.len() + self.abandoned as usize;
        if in_progress >= self.settings.max_concurrent_streams as usize {
            self.skip_block(block, scratch)?;
            return self.stream_error(stream, ErrorCode::REFUSED_STREAM, control);
        }
        let limits = &*self.limits;
        let mut fields = RequestFields::new(head, &mut scratch.pseudo, limits, self.is_https);
        let limit = list_limit(limits.head, limits.fields);
        let decoded = self
            .decoder
            .decode(block, limit, &mut scratch.texts, |name, value| {
                fields.add(name, value);
            });
        let built = match decoded {
            Ok(()) => fields.finish(is_last),
            Err(DecodeError::ListTooLarge) => Err(fields
                .refusal()
                .unwrap_or(Refusal::HeadTooLarge { limit: limits.head })),
            Err(_) => return Err(ConnectionError::Compression),
        };
        if opening.depends_on_itself {
            return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR, control);
        }
        let (priority, refusal) = match built {
            Ok(priority) => (priority, None),
            Err(refusal) if is_malformed(refusal) => {
                return self.malformed(stream, refusal, control);
            }
            Err(refusal) => (None, Some(refusal)),
        };
        // RFC 9218 §7: PRIORITY_UPDATE overrides the field.
        let priority = update.or(priority).unwrap_or_default();
        self.streams.push(Stream {
            id: stream,
            send_window: SendWindow::new(self.peer.initial_window),
            receive_window: ReceiveWindow::new(self.settings.stream_window),
            body: match head.framing() {
                Framing::Length(length) => BodyProgress::Left(length),
                _ => BodyProgress::Received(0),
            },
            body_limit: limits.body,
            priority,
            has_received_end: is_last,
            has_sent_end: false,
            has_sent_head: false,
            is_refused: refusal.is_some(),
        });
        Ok(Some(match refusal {
            None => Event::Request {
                stream,
                is_last,
                priority,
            },
            Some(refusal) => Event::Refused {
                stream,
                refusal,
                is_last,
            },
        }))
    }

    fn take_trailers(
        &mut self,
        opening: Opening,
        index: usize,
        block: &[u8],
        scratch: &mut Scratch,
        control: &mut Vec<u8>,
    ) -> Taken {
        let stream = opening.stream;
        let limits = &*self.limits;
        let mut fields = TrailerFields::new(limits);
        let limit = list_limit(limits.trailers, limits.fields);
        let decoded = self
            .decoder
            .decode(block, limit, &mut scratch.texts, |name, value| {
                fields.add(name, value);
            });
        let checked = match decoded {
            Ok(()) => fields.finish(),
            Err(DecodeError::ListTooLarge) => fields.finish().and(Err(Refusal::TrailersTooLarge {
                limit: limits.trailers,
            })),
            Err(_) => return Err(ConnectionError::Compression),
        };
        let open = self.streams.at(index);
        if open.has_received_end {
            return self.stream_error(stream, ErrorCode::STREAM_CLOSED, control);
        }
        if opening.depends_on_itself {
            return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR, control);
        }
        let malformed = match checked {
            _ if !opening.is_last => Some(Refusal::TrailersWithoutEnd),
            _ if open.is_refused => None,
            Err(refusal) if is_malformed(refusal) => Some(refusal),
            _ => open.body.advance(0, true).err(),
        };
        if let Some(refusal) = malformed {
            return self.malformed(stream, refusal, control);
        }
        let was_refused = std::mem::replace(&mut open.is_refused, checked.is_err());
        open.is_refused |= was_refused;
        open.has_received_end = true;
        self.streams.close_if_ended(stream);
        Ok(match checked {
            _ if was_refused => None,
            Ok(()) => Some(Event::Trailers { stream }),
            Err(refusal) => Some(Event::Refused {
                stream,
                refusal,
                is_last: true,
            }),
        })
    }
}

/// The largest list whose fields are looked at. Those of a head within its limits are below it.
fn list_limit(length: usize, fields: usize) -> usize {
    length.saturating_add(fields.saturating_mul(FIELD_OVERHEAD))
}
