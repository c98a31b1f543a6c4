//! SETTINGS (RFC 9113 §6.5): those of the server, and those that the client has sent.

use crate::http2::connection_error::ConnectionError;
use crate::http2::flow_control::INITIAL_WINDOW;
use crate::http2::frame::{FrameKind, MAX_FRAME_SIZE, StreamId, push_frame};
use crate::limits::Limits;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE_SETTING: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// RFC 9218 §2.1.
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// The size of the dynamic table, which has its initial value (RFC 9113 §6.5.2).
pub(crate) const TABLE_SIZE: u16 = 4096;

/// What the server allows a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Settings {
    /// Most requests in progress on a connection.
    pub max_concurrent_streams: u32,
    /// Bytes of one request's body that may wait in the server; at least 65,535.
    pub stream_window: u32,
    /// Bytes of the bodies of all requests of a connection that may wait in the server; at least 65,535.
    pub connection_window: u32,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 128,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
        }
    }
}

impl Http2Settings {
    /// With windows that a client may rely on before it has read them, and that the protocol has.
    pub(crate) fn within_protocol(self) -> Self {
        let window = |size: u32| size.clamp(INITIAL_WINDOW, i32::MAX as u32);
        Self {
            stream_window: window(self.stream_window),
            connection_window: window(self.connection_window),
            ..self
        }
    }

    /// Appends SETTINGS.
    pub(crate) fn write(&self, limits: &Limits, out: &mut Vec<u8>) {
        let head = u32::try_from(limits.head).unwrap_or(u32::MAX);
        let entries = [
            (MAX_CONCURRENT_STREAMS, self.max_concurrent_streams),
            (INITIAL_WINDOW_SIZE, self.stream_window),
            (MAX_HEADER_LIST_SIZE, head),
            (NO_RFC7540_PRIORITIES, 1),
        ];
        let mut payload = [0; 6 * 4];
        for (entry, (name, value)) in payload.as_chunks_mut::<6>().0.iter_mut().zip(entries) {
            entry[..2].copy_from_slice(&name.to_be_bytes());
            entry[2..].copy_from_slice(&value.to_be_bytes());
        }
        push_frame(out, FrameKind::Settings, 0, StreamId::CONNECTION, &payload);
    }
}

/// The client's settings that the server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerSettings {
    pub(crate) header_table_size: u32,
    pub(crate) initial_window: u32,
    pub(crate) max_frame_size: u32,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            header_table_size: TABLE_SIZE.into(),
            initial_window: INITIAL_WINDOW,
            max_frame_size: MAX_FRAME_SIZE,
        }
    }
}

impl PeerSettings {
    /// Applies the payload of SETTINGS, in its order.
    pub(crate) fn apply(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        let (entries, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(ConnectionError::FrameSize);
        }
        for &[n0, n1, v0, v1, v2, v3] in entries {
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                HEADER_TABLE_SIZE => self.header_table_size = value.min(self.header_table_size),
                ENABLE_PUSH | NO_RFC7540_PRIORITIES if value > 1 => {
                    return Err(ConnectionError::Setting);
                }
                INITIAL_WINDOW_SIZE if value > i32::MAX as u32 => {
                    return Err(ConnectionError::WindowTooLarge);
                }
                INITIAL_WINDOW_SIZE => self.initial_window = value,
                MAX_FRAME_SIZE_SETTING if !(MAX_FRAME_SIZE..1 << 24).contains(&value) => {
                    return Err(ConnectionError::Setting);
                }
                MAX_FRAME_SIZE_SETTING => self.max_frame_size = value,
                _ => {}
            }
        }
        Ok(())
    }
}
