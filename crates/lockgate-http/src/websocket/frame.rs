//! Frames on the wire (RFC 6455 §5.2): their heads, opcodes and masks.

use crate::websocket::protocol_error::ProtocolError;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub(crate) const MAX_CONTROL: usize = 125;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    fn read(number: u8) -> Result<Self, ProtocolError> {
        Ok(match number {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return Err(ProtocolError::Opcode),
        })
    }

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) is_final: bool,
    pub(crate) opcode: Opcode,
    pub(crate) length: u64,
    pub(crate) mask: [u8; 4],
}

impl FrameHead {
    /// The head at the start of `input` and its length, if all of it is there. A fault is found with its first byte.
    pub(crate) fn read(input: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(ProtocolError::ReservedBit);
        }
        let (is_final, opcode) = (first & 0x80 != 0, Opcode::read(first & 0x0f)?);
        if opcode.is_control() && !is_final {
            return Err(ProtocolError::FragmentedControl);
        }
        let Some(&second) = input.get(1) else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(ProtocolError::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(ProtocolError::LongControl);
        }
        let rest = &input[2..];
        let (length, least, width) = match short {
            126 => match rest.first_chunk() {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 126, 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 0x1_0000, 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0, 0),
        };
        if length < least || length > i64::MAX as u64 {
            return Err(ProtocolError::Length);
        }
        Ok(rest[width..].first_chunk().map(|&mask| {
            let head = Self {
                is_final,
                opcode,
                length,
                mask,
            };
            (head, 2 + width + mask.len())
        }))
    }
}

/// Appends `payload` without its mask; its first byte is number `offset` of the frame.
pub(crate) fn push_unmasked(out: &mut Vec<u8>, payload: &[u8], mask: [u8; 4], offset: u64) {
    let mut mask = mask;
    mask.rotate_left((offset % 4) as usize);
    let start = out.len();
    out.extend_from_slice(payload);
    let (words, rest) = out[start..].as_chunks_mut::<4>();
    let key = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// Appends an unmasked frame, as a server sends it.
pub(crate) fn push_frame(out: &mut Vec<u8>, is_final: bool, opcode: Opcode, payload: &[u8]) {
    out.reserve(10 + payload.len());
    out.push((u8::from(is_final) << 7) | opcode as u8);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
