//! Where frames of WebSocket end (RFC 6455 §5.2): only there may another frame be added. And what answers a Close frame.

/// A client's Close frame with the code 1001, "going away", masked with zero (RFC 6455 §5.5.1, §7.4.1).
pub(super) const GOING_AWAY: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// A server's Close frame with the same code, which is not masked.
pub(super) const SERVER_GOES_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// The first byte of a Close frame.
const CLOSE: u8 = 0x88;
/// "Protocol error".
const PROTOCOL_ERROR: u16 = 1002;
/// "Invalid frame payload data".
const INVALID_PAYLOAD: u16 = 1007;

/// The longest payload of a Close frame (RFC 6455 §5.5).
const LONGEST_CLOSE: usize = 125;

/// The longest head of a frame: two bytes, eight of length, four of mask.
const LONGEST_HEAD: usize = 14;

/// Follows the frames of one side.
#[derive(Debug, Default)]
pub(super) struct FrameBoundary {
    head: [u8; LONGEST_HEAD],
    /// Bytes of the present frame's head so far.
    head_len: u8,
    /// Bytes of the present frame's payload that are still to come.
    payload: u64,
    /// The Close frame that has begun: no other frame follows it.
    close: Option<CloseFrame>,
}

#[derive(Debug)]
struct CloseFrame {
    first: u8,
    mask: Option<[u8; 4]>,
    /// Masked; at most one byte more than is allowed.
    payload: Vec<u8>,
}

impl FrameBoundary {
    /// Takes what this side has sent.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        if self.has_closed() {
            return;
        }
        while let [first, rest @ ..] = bytes {
            if self.payload > 0 {
                let count = usize::try_from(self.payload)
                    .map_or(bytes.len(), |payload| payload.min(bytes.len()));
                self.payload -= count as u64;
                if let Some(close) = &mut self.close {
                    let room = LONGEST_CLOSE + 1 - close.payload.len();
                    (close.payload).extend_from_slice(&bytes[..count.min(room)]);
                    if self.payload == 0 {
                        return;
                    }
                }
                bytes = &bytes[count..];
                continue;
            }
            self.head[usize::from(self.head_len)] = *first;
            self.head_len += 1;
            bytes = rest;
            let head = &self.head[..usize::from(self.head_len)];
            if let Some(payload) = payload_of(head) {
                self.close = CloseFrame::with_head(head);
                self.payload = payload;
                self.head_len = 0;
                if self.has_closed() {
                    return;
                }
            }
        }
    }

    /// Whether this side has sent a whole Close frame.
    pub(super) fn has_closed(&self) -> bool {
        self.head_len == 0 && self.payload == 0 && self.close.is_some()
    }

    /// The server's Close frame that answers the one that this side has sent.
    pub(super) fn close_answer(&self) -> Option<Vec<u8>> {
        let close = self.close.as_ref().filter(|_| self.has_closed())?;
        Some(match close.answer() {
            None => vec![CLOSE, 0],
            Some(code) => [&[CLOSE, 2], &code.to_be_bytes()[..]].concat(),
        })
    }

    /// Whether another frame may be added: the last one is complete, and it is no Close frame.
    pub(super) fn may_close(&self) -> bool {
        self.head_len == 0 && self.payload == 0 && self.close.is_none()
    }
}

impl CloseFrame {
    fn with_head(head: &[u8]) -> Option<Self> {
        let [first, second, ..] = *head else {
            return None;
        };
        (first & 0x0f == CLOSE & 0x0f).then(|| Self {
            first,
            mask: match second & 0x80 {
                0 => None,
                _ => head.last_chunk().copied(),
            },
            payload: Vec::new(),
        })
    }

    /// The code that a server answers with (RFC 6455 §5.5.1, §7.4): the client's, if it is one that may be sent.
    fn answer(&self) -> Option<u16> {
        let Some(mask) = self.mask.filter(|_| self.first == CLOSE) else {
            return Some(PROTOCOL_ERROR);
        };
        let mask = mask.iter().cycle();
        let payload: Vec<u8> = self.payload.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        match &payload[..] {
            [] => None,
            [high, low, reason @ ..] if payload.len() <= LONGEST_CLOSE => {
                let code = u16::from_be_bytes([*high, *low]);
                Some(match code {
                    1000..=1003 | 1007..=1014 | 3000..=4999 => match str::from_utf8(reason) {
                        Ok(_) => code,
                        Err(_) => INVALID_PAYLOAD,
                    },
                    _ => PROTOCOL_ERROR,
                })
            }
            _ => Some(PROTOCOL_ERROR),
        }
    }
}

/// The length of the payload, once the head is complete.
fn payload_of(head: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = head else {
        return None;
    };
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let (length, size) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        short => (u64::from(short), 0),
    };
    (rest.len() >= size + mask).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(masked: bool, payload: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x81];
        match payload {
            0..=125 => frame.push(mask | payload as u8),
            126..=0xffff => {
                frame.push(mask | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0x55; payload + if masked { 4 } else { 0 }]);
        frame
    }

    #[test]
    fn the_boundary_is_after_each_frame_and_nowhere_else() {
        for masked in [true, false] {
            for payload in [0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000] {
                let frame = frame(masked, payload);
                for step in [1, 2, 7, 1000, frame.len()] {
                    let mut boundary = FrameBoundary::default();
                    let mut seen = 0;
                    for piece in frame.chunks(step) {
                        boundary.advance(piece);
                        seen += piece.len();
                        let expected = seen == frame.len();
                        assert_eq!(boundary.may_close(), expected, "{payload} {seen}");
                    }
                }
            }
        }
    }

    #[test]
    fn several_frames_in_one_read_and_the_end_of_the_last_are_seen() {
        let mut bytes = frame(true, 3);
        bytes.extend(frame(true, 200));
        let mut boundary = FrameBoundary::default();
        boundary.advance(&bytes);
        assert!(boundary.may_close());
        boundary.advance(&GOING_AWAY[..3]);
        assert!(!boundary.may_close());
        boundary.advance(&GOING_AWAY[3..]);
        assert!(!boundary.may_close() && boundary.has_closed());
    }

    /// A client's Close frame.
    fn close(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 0xf4];
        let mut frame = vec![first, 0x80 | payload.len().min(126) as u8];
        if payload.len() > LONGEST_CLOSE {
            frame.extend((payload.len() as u16).to_be_bytes());
        }
        frame.extend(mask);
        let masked = payload.iter().zip(mask.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn a_close_frame_is_answered_with_its_code_or_the_error_that_it_is() {
        let with_code = |code: u16, reason: &[u8]| [&code.to_be_bytes(), reason].concat();
        let long = with_code(1000, &[b'x'; 124]);
        let mut rows = vec![
            (0x88, vec![], None),
            (0x88, vec![3], Some(1002)),
            (0x88, with_code(1000, b"bye"), Some(1000)),
            (0x88, with_code(1000, &[b'x'; 123]), Some(1000)),
            (0x88, long, Some(1002)),
            (0x88, with_code(1000, b"\xce\xba\xed\xa0"), Some(1007)),
            (0xf8, with_code(1000, b""), Some(1002)),
            (0x08, with_code(1000, b""), Some(1002)),
        ];
        for code in [1001, 1003, 1007, 1011, 1014, 3000, 4999] {
            rows.push((0x88, with_code(code, b""), Some(code)));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000] {
            rows.push((0x88, with_code(code, b""), Some(1002)));
        }
        for (first, payload, expected) in rows {
            let bytes = [frame(true, 3), close(first, &payload), frame(true, 9)].concat();
            let answer = match expected {
                None => vec![0x88, 0],
                Some(code) => [&[0x88, 2], &u16::to_be_bytes(code)[..]].concat(),
            };
            for step in [1, 3, bytes.len()] {
                let mut boundary = FrameBoundary::default();
                bytes.chunks(step).for_each(|piece| boundary.advance(piece));
                assert_eq!(boundary.close_answer(), Some(answer.clone()), "{payload:?}");
                assert!(!boundary.may_close());
            }
        }
        let mut unmasked = FrameBoundary::default();
        unmasked.advance(&SERVER_GOES_AWAY);
        assert_eq!(unmasked.close_answer(), Some(vec![0x88, 2, 0x03, 0xea]));
        let mut half = FrameBoundary::default();
        half.advance(&GOING_AWAY[..7]);
        assert_eq!(half.close_answer(), None);
    }
}
