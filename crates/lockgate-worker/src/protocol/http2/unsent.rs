//! What a writer has collected of its response: most responses are passed on to their connection at once, when they are
//! complete.

use lockgate_http::http2::StreamId;

use super::outgoing::Piece;
use super::record::Ended;
use super::state::State;

/// What was not passed on to the connection.
#[derive(Default)]
pub(super) struct UnsentResponse {
    /// The header block, and the beginning of the body behind it.
    pub(super) buffer: Vec<u8>,
    pub(super) head_length: usize,
    pub(super) has_head: bool,
    /// What follows in the body.
    pub(super) pieces: Vec<Piece>,
}

impl UnsentResponse {
    pub(super) fn push_copy(&mut self, bytes: &[u8]) {
        match self.pieces.last_mut() {
            None => self.buffer.extend_from_slice(bytes),
            Some(Piece::Copied(last)) => last.extend_from_slice(bytes),
            Some(_) => self.pieces.push(Piece::Copied(bytes.to_vec())),
        }
    }

    /// Bytes of the body that were not passed on.
    pub(super) fn body_bytes(&self) -> u64 {
        let in_buffer = self.buffer.len().saturating_sub(self.head_length);
        in_buffer as u64 + self.pieces.iter().map(Piece::len).sum::<u64>()
    }

    /// Passes everything on. False: the stream is over.
    #[inline]
    pub(super) fn pass_on(
        &mut self,
        stream: StreamId,
        is_last: bool,
        ended: Option<Ended>,
        state: &mut State,
    ) -> bool {
        if !state.is_open(stream) {
            return false;
        }
        let (block, body) = self.buffer.split_at(self.head_length);
        let is_empty = body.is_empty() && self.pieces.is_empty();
        if self.has_head {
            let is_last = is_last && is_empty;
            let State {
                connection, output, ..
            } = state;
            if !connection.send_head_block(stream, block, is_last, output) {
                return false;
            }
            self.has_head = false;
            if is_last {
                state.ended.extend(ended);
                return true;
            }
        }
        if self.pieces.is_empty() {
            if is_last || !is_empty {
                state.send_body(stream, body, is_last, ended);
            }
        } else {
            let outgoing = state.outgoing_of(stream);
            outgoing.push_copy(body);
            for piece in self.pieces.drain(..) {
                outgoing.push(piece);
            }
            state.end_outgoing(stream, is_last, ended);
        }
        self.buffer.clear();
        self.head_length = 0;
        true
    }
}
