//! Frames on the wire (RFC 9113 §4.1, §6): their heads, kinds, flags and padding.

use std::fmt;

use crate::http2::connection_error::ConnectionError;
use crate::http2::error_code::ErrorCode;

/// The length of a frame's head.
pub(crate) const FRAME_HEAD: usize = 9;

/// The longest payload that is accepted: SETTINGS_MAX_FRAME_SIZE has its initial value (RFC 9113 §6.5.2).
pub(crate) const MAX_FRAME_SIZE: u32 = 16_384;

/// The number of a stream, 31 bits wide; 0 is the connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    pub(crate) const CONNECTION: Self = Self(0);

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Whether a client may open it.
    pub(crate) fn is_from_client(self) -> bool {
        self.0 % 2 == 1
    }

    /// Without the reserved bit, whose value is ignored (RFC 9113 §4.1).
    pub(crate) fn read(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes) & 0x7fff_ffff)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// RFC 9218 §7.1.
    PriorityUpdate,
    /// Ignored (RFC 9113 §4.1, §5.5).
    Unknown,
}

impl From<u8> for FrameKind {
    #[inline]
    fn from(number: u8) -> Self {
        match number {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::RstStream,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            0x10 => Self::PriorityUpdate,
            _ => Self::Unknown,
        }
    }
}

/// The flags of a frame, which mean different things on different kinds.
pub(crate) mod flags {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) length: u32,
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    pub(crate) stream: StreamId,
}

impl FrameHead {
    /// The head at the start of `input`, if all of it is there.
    #[inline]
    pub(crate) fn read(input: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = input.first_chunk::<FRAME_HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: FrameKind::from(kind),
            flags,
            stream: StreamId::read([s0, s1, s2, s3]),
        })
    }

    #[inline]
    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The head of a frame to send.
#[inline]
pub(crate) fn frame_head(
    length: usize,
    kind: FrameKind,
    flags: u8,
    stream: StreamId,
) -> [u8; FRAME_HEAD] {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.0.to_be_bytes();
    let kind = match kind {
        FrameKind::PriorityUpdate | FrameKind::Unknown => 0x10,
        kind => kind as u8,
    };
    [l0, l1, l2, kind, flags, s0, s1, s2, s3]
}

/// Appends a frame to `out`.
#[inline]
pub(crate) fn push_frame(
    out: &mut Vec<u8>,
    kind: FrameKind,
    flags: u8,
    stream: StreamId,
    payload: &[u8],
) {
    out.reserve(FRAME_HEAD + payload.len());
    out.extend_from_slice(&frame_head(payload.len(), kind, flags, stream));
    out.extend_from_slice(payload);
}

/// Appends RST_STREAM.
pub(crate) fn push_reset(out: &mut Vec<u8>, stream: StreamId, code: ErrorCode) {
    push_frame(out, FrameKind::RstStream, 0, stream, &code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE.
pub(crate) fn push_window_update(out: &mut Vec<u8>, stream: StreamId, increment: u32) {
    push_frame(
        out,
        FrameKind::WindowUpdate,
        0,
        stream,
        &increment.to_be_bytes(),
    );
}

/// Appends GOAWAY; `text` is for a reader of a trace.
pub(crate) fn push_go_away(out: &mut Vec<u8>, last: StreamId, code: ErrorCode, text: &str) {
    let length = 8 + text.len();
    out.extend_from_slice(&frame_head(
        length,
        FrameKind::GoAway,
        0,
        StreamId::CONNECTION,
    ));
    out.extend_from_slice(&last.0.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The payload of DATA or HEADERS without its padding (RFC 9113 §6.1, §6.2).
#[inline]
pub(crate) fn without_padding(head: FrameHead, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    if !head.has(flags::PADDED) {
        return Ok(payload);
    }
    let Some((&padding, rest)) = payload.split_first() else {
        return Err(ConnectionError::FrameSize);
    };
    match rest.len().checked_sub(usize::from(padding)) {
        Some(length) => Ok(&rest[..length]),
        None => Err(ConnectionError::Padding),
    }
}
