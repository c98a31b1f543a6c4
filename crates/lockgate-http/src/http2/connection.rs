//! A connection of HTTP/2 as a sans-I/O state machine: received frames in, events out; answers and responses are
//! appended to buffers of the caller.
//!
//! Invariants: the same bytes give the same events wherever they are cut; an error is final, and its GOAWAY is written
//! once; a frame is taken whole; nothing that a peer sends makes the memory of a connection grow beyond its streams, one
//! header block and the dynamic table.

mod control_frames;
mod data;
mod header_blocks;
mod sending;

use std::sync::Arc;
use std::time::Instant;

use crate::error::Refusal;
use crate::http2::abuse::{Budgets, CONTROL_LIMIT};
use crate::http2::connection_error::ConnectionError;
use crate::http2::error_code::ErrorCode;
use crate::http2::event::Event;
use crate::http2::flow_control::{INITIAL_WINDOW, ReceiveWindow, SendWindow};
use crate::http2::frame::{
    FRAME_HEAD, FrameHead, FrameKind, MAX_FRAME_SIZE, StreamId, flags, push_go_away, push_reset,
    push_window_update,
};
use crate::http2::hpack::Decoder;
use crate::http2::priority::Priority;
use crate::http2::request_fields::PseudoHeaders;
use crate::http2::settings::{Http2Settings, PeerSettings, TABLE_SIZE};
use crate::http2::streams::{Stream, Streams};
use crate::limits::Limits;
use crate::request::RequestHead;

/// The beginning of each connection (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One connection, the side of the server.
#[derive(Debug)]
pub struct Connection {
    /// Shared by all connections.
    limits: Arc<Limits>,
    settings: Http2Settings,
    is_https: bool,
    progress: Progress,
    failed: Option<ConnectionError>,
    decoder: Decoder,
    block: Option<Box<header_blocks::HeaderBlock>>,
    streams: Streams,
    /// Requests that were reported and whose streams are reset, but which the caller still runs.
    abandoned: u32,
    /// PRIORITY_UPDATE of streams that are not open yet.
    early_priorities: Vec<(StreamId, Priority)>,
    receive_window: ReceiveWindow,
    send_window: SendWindow,
    peer: PeerSettings,
    table_update: TableUpdate,
    /// The last stream that is served, after the final GOAWAY.
    last_accepted: Option<StreamId>,
    /// The PING that the client has not answered.
    ping: Option<u64>,
    budgets: Budgets,
}

/// How far the client has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Preface,
    FirstFrame,
    Frames,
}

/// Whether the next block must announce that the encoder has no dynamic table (RFC 7541 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TableUpdate {
    NotNeeded,
    Pending,
    Sent,
}

/// Buffers for decoding, which any connection may use in turn.
#[derive(Debug, Default)]
pub struct Scratch {
    texts: Vec<u8>,
    pseudo: PseudoHeaders,
}

/// Which GOAWAY to send (RFC 9113 §6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoAway {
    /// The client is asked to open no more streams; those that it has opened before it reads this are served.
    Graceful,
    /// Streams above the last one that was received are dropped. The client may send their requests again elsewhere.
    Final,
}

impl Connection {
    /// A new connection. Appends the server's preface to `control`. `now` is the start of its budgets.
    pub fn new(
        settings: Http2Settings,
        limits: impl Into<Arc<Limits>>,
        is_https: bool,
        now: Instant,
        control: &mut Vec<u8>,
    ) -> Self {
        let limits = limits.into();
        let settings = settings.within_protocol();
        settings.write(&limits, control);
        let more = settings.connection_window - INITIAL_WINDOW;
        if more > 0 {
            push_window_update(control, StreamId::CONNECTION, more);
        }
        Self {
            limits,
            settings,
            is_https,
            progress: Progress::Preface,
            failed: None,
            decoder: Decoder::new(TABLE_SIZE),
            block: None,
            streams: Streams::default(),
            abandoned: 0,
            early_priorities: Vec::new(),
            receive_window: ReceiveWindow::new(settings.connection_window),
            send_window: SendWindow::new(INITIAL_WINDOW),
            peer: PeerSettings::default(),
            table_update: TableUpdate::NotNeeded,
            last_accepted: None,
            ping: None,
            budgets: Budgets::new(now),
        }
    }

    /// Sets the time, by which the budgets against floods are refilled. Once per turn of the event loop is enough.
    pub fn begin_turn(&mut self, now: Instant) {
        self.budgets.set_now(now);
    }

    /// Takes frames from `input`; returns how much of it was used, and one event.
    ///
    /// Call it again with the rest until [`Event::NeedInput`]. Frames are taken whole, so up to 16 KiB of a partial one
    /// stay with the caller. `head` is filled at [`Event::Request`]. Answers to control frames are appended to
    /// `control`, in which the caller leaves what was not sent so far, and nothing else: a client that lets more than
    /// [`CONTROL_LIMIT`] bytes wait there is cut off.
    ///
    /// # Errors
    ///
    /// An error is final, and its GOAWAY has been appended to `control`: send that and close. Further calls return it
    /// again.
    pub fn receive<'i>(
        &mut self,
        input: &'i [u8],
        head: &mut RequestHead,
        scratch: &mut Scratch,
        control: &mut Vec<u8>,
    ) -> Result<(usize, Event<'i>), ConnectionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let answer = self.receive_frames(input, head, scratch, control);
        if let Err(error) = answer {
            self.fail(error, control);
        }
        answer
    }

    fn receive_frames<'i>(
        &mut self,
        input: &'i [u8],
        head: &mut RequestHead,
        scratch: &mut Scratch,
        control: &mut Vec<u8>,
    ) -> Result<(usize, Event<'i>), ConnectionError> {
        let mut used = 0;
        if self.progress == Progress::Preface {
            let received = &input[..input.len().min(PREFACE.len())];
            if !PREFACE.starts_with(received) {
                return Err(ConnectionError::Preface);
            }
            if received.len() < PREFACE.len() {
                return Ok((0, Event::NeedInput));
            }
            used = PREFACE.len();
            self.progress = Progress::FirstFrame;
        }
        loop {
            let rest = &input[used..];
            let Some(frame) = FrameHead::read(rest) else {
                return Ok((used, Event::NeedInput));
            };
            self.check_frame_head(frame)?;
            let end = FRAME_HEAD + frame.length as usize;
            let Some(payload) = rest.get(FRAME_HEAD..end) else {
                return Ok((used, Event::NeedInput));
            };
            if control.len() > CONTROL_LIMIT {
                return Err(ConnectionError::UnreadAnswers);
            }
            used += end;
            let event = match frame.kind {
                FrameKind::Data => self.take_data(frame, payload, control),
                FrameKind::Headers => self.take_headers(frame, payload, head, scratch, control),
                FrameKind::Continuation => {
                    self.take_continuation(frame, payload, head, scratch, control)
                }
                _ => self.take_control_frame(frame, payload, control),
            };
            if let Some(event) = event? {
                return Ok((used, event));
            }
        }
    }

    /// What is wrong with a frame whatever its payload is. It may be called again for the same frame.
    fn check_frame_head(&self, frame: FrameHead) -> Result<(), ConnectionError> {
        if frame.length > MAX_FRAME_SIZE {
            return Err(ConnectionError::FrameSize);
        }
        if self.progress == Progress::FirstFrame
            && (frame.kind != FrameKind::Settings || frame.has(flags::ACK))
        {
            return Err(ConnectionError::FirstFrame);
        }
        if self.block.is_some() && frame.kind != FrameKind::Continuation {
            return Err(ConnectionError::InterruptedHeaders);
        }
        Ok(())
    }

    #[cold]
    fn fail(&mut self, error: ConnectionError, control: &mut Vec<u8>) {
        self.failed = Some(error);
        self.block = None;
        let last = self.last_accepted.unwrap_or(self.streams.last());
        push_go_away(control, last, error.code(), error.sentence());
    }

    /// Resets a stream because of its client (RFC 9113 §5.4.2). There is an event if the caller knows the stream.
    #[cold]
    fn stream_error(
        &mut self,
        stream: StreamId,
        code: ErrorCode,
        control: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, ConnectionError> {
        let is_known = self.reset_for_client(stream, code, control)?;
        Ok(is_known.then_some(Event::Reset { stream, code }))
    }

    /// Resets the stream of a malformed request.
    #[cold]
    fn malformed(
        &mut self,
        stream: StreamId,
        refusal: Refusal,
        control: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, ConnectionError> {
        self.reset_for_client(stream, ErrorCode::PROTOCOL_ERROR, control)?;
        Ok(Some(Event::Malformed { stream, refusal }))
    }

    fn reset_for_client(
        &mut self,
        stream: StreamId,
        code: ErrorCode,
        control: &mut Vec<u8>,
    ) -> Result<bool, ConnectionError> {
        self.budgets.count_reset()?;
        push_reset(control, stream, code);
        let removed = self.streams.reset_by_server(stream);
        if let Some(stream) = &removed {
            self.count_abandoned(stream);
        }
        Ok(removed.is_some())
    }

    /// The caller still runs the request of a stream that is no longer open.
    fn count_abandoned(&mut self, stream: &Stream) {
        if !stream.has_sent_end {
            self.abandoned += 1;
        }
    }

    /// A request that [`Event::Reset`] or [`Event::Malformed`] has ended after [`Event::Request`] or [`Event::Refused`] is
    /// no longer run or answered, and waits in no queue. Until then it counts as an open stream, so that a client that resets its streams at once
    /// starts no more requests than others (CVE-2023-44487).
    pub fn abandoned_request_ended(&mut self) {
        self.abandoned = self.abandoned.saturating_sub(1);
    }

    /// The last stream that the client has opened; 0 if there is none.
    pub fn last_stream(&self) -> StreamId {
        self.streams.last()
    }

    /// How many streams are open, half-closed ones included.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether the stream is open or half-closed.
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.streams.get(stream).is_some()
    }

    /// The priority of an open stream.
    pub fn priority(&self, stream: StreamId) -> Option<Priority> {
        self.streams.get(stream).map(|stream| stream.priority)
    }

    /// Whether a header block was received in part.
    pub fn is_reading_headers(&self) -> bool {
        self.block.is_some()
    }

    /// Whether the client's preface and its SETTINGS were received.
    pub fn has_preface(&self) -> bool {
        self.progress == Progress::Frames
    }

    /// Gives back memory that an idle connection does not need.
    pub fn release_memory(&mut self) {
        self.streams.shrink();
        self.early_priorities.shrink_to_fit();
    }
}
