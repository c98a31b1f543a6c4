//! Where frames of WebSocket end (RFC 6455 §5.2): only there may another frame be added.

/// A client's Close frame with the code 1001, "going away", masked with zero (RFC 6455 §5.5.1, §7.4.1).
pub(super) const GOING_AWAY: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// A server's Close frame with the same code, which is not masked.
pub(super) const SERVER_GOES_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// A server's Close frame with the code 1000, "normal closure".
pub(super) const SERVER_CLOSES: [u8; 4] = [0x88, 0x02, 0x03, 0xe8];

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
    /// A Close frame has begun: no other frame follows it.
    is_closing: bool,
}

impl FrameBoundary {
    /// Takes what this side has sent.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.payload > 0 {
                let count = usize::try_from(self.payload)
                    .map_or(bytes.len(), |payload| payload.min(bytes.len()));
                self.payload -= count as u64;
                bytes = &bytes[count..];
                continue;
            }
            self.head[usize::from(self.head_len)] = *first;
            self.head_len += 1;
            bytes = rest;
            let head = &self.head[..usize::from(self.head_len)];
            if let Some(payload) = payload_of(head) {
                self.is_closing |= head.first().is_some_and(|first| first & 0x0f == 8);
                self.payload = payload;
                self.head_len = 0;
            }
        }
    }

    /// Whether this side has sent a whole Close frame.
    pub(super) fn has_closed(&self) -> bool {
        self.head_len == 0 && self.payload == 0 && self.is_closing
    }

    /// Whether another frame may be added: the last one is complete, and it is no Close frame.
    pub(super) fn may_close(&self) -> bool {
        self.head_len == 0 && self.payload == 0 && !self.is_closing
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
}
