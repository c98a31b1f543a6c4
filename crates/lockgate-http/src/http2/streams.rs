//! The streams of a connection (RFC 9113 §5.1): those that are open, and how the last ones were closed.
//!
//! Invariant: `open` is sorted by number, since a client opens streams in ascending order (§5.1.1).

use crate::error::Refusal;
use crate::http2::flow_control::{ReceiveWindow, SendWindow};
use crate::http2::frame::StreamId;
use crate::http2::priority::Priority;

/// An open or half-closed stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) send_window: SendWindow,
    pub(crate) receive_window: ReceiveWindow,
    pub(crate) body: BodyProgress,
    /// Longest body; 0: unlimited.
    pub(crate) body_limit: u64,
    pub(crate) priority: Priority,
    /// The client has ended its side.
    pub(crate) has_received_end: bool,
    /// The server has ended its side.
    pub(crate) has_sent_end: bool,
    /// The final head of the response was sent.
    pub(crate) has_sent_head: bool,
    /// The request was refused: the rest of its body is dropped.
    pub(crate) is_refused: bool,
}

/// The body of a request as far as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyProgress {
    /// This many bytes of a Content-Length are left.
    Left(u64),
    /// This many bytes were received of a body without a length.
    Received(u64),
}

impl BodyProgress {
    /// Counts received bytes. `is_last`: they end the body.
    pub(crate) fn advance(&mut self, bytes: u64, is_last: bool) -> Result<(), Refusal> {
        match self {
            Self::Left(left) => {
                *left = left.checked_sub(bytes).ok_or(Refusal::BodyBeyondLength)?;
                if is_last && *left > 0 {
                    return Err(Refusal::TruncatedBody);
                }
            }
            Self::Received(received) => *received += bytes,
        }
        Ok(())
    }
}

/// Where a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// It was not opened so far.
    Idle,
    /// Open or half-closed; its position in the table.
    Open(usize),
    Closed(Closed),
}

/// How a stream was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// A higher number was opened before it (RFC 9113 §5.1.1), or that is possible.
    Skipped,
    /// Both sides have ended it.
    Ended,
    /// The client has reset it.
    ByPeer,
    /// The server has reset it, or has dropped it after GOAWAY: frames that were sent before the client has read that
    /// are ignored.
    ByServer,
    /// Too long ago to know how.
    Forgotten,
}

/// The table of streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Vec<Stream>,
    /// The highest number that the client has opened.
    last: StreamId,
    /// Whether a number was ever left out.
    has_skipped: bool,
    history: History,
}

/// The last 128 numbers that a client could have opened: bit k stands for the number 2k below the last one.
#[derive(Debug, Default)]
struct History {
    opened: u128,
    by_peer: u128,
    by_server: u128,
}

impl Streams {
    #[inline]
    pub(crate) fn state(&self, id: StreamId) -> StreamState {
        // The server opens no stream, so that even numbers stay idle.
        if id > self.last || !id.is_from_client() {
            return StreamState::Idle;
        }
        match self.open.binary_search_by_key(&id, |stream| stream.id) {
            Ok(index) => StreamState::Open(index),
            Err(_) => StreamState::Closed(self.closed(id)),
        }
    }

    fn closed(&self, id: StreamId) -> Closed {
        let Some(bit) = self.bit(id) else {
            return match self.has_skipped {
                true => Closed::Skipped,
                false => Closed::Forgotten,
            };
        };
        let History {
            opened,
            by_peer,
            by_server,
        } = self.history;
        if by_server & bit != 0 {
            Closed::ByServer
        } else if by_peer & bit != 0 {
            Closed::ByPeer
        } else if opened & bit != 0 {
            Closed::Ended
        } else {
            Closed::Skipped
        }
    }

    fn bit(&self, id: StreamId) -> Option<u128> {
        let below = self.last.0.checked_sub(id.0)?;
        1_u128.checked_shl(below / 2)
    }

    /// Records that the client has used `id`, which is idle.
    pub(crate) fn advance(&mut self, id: StreamId) {
        // The first number is 1.
        let steps = match self.last {
            StreamId::CONNECTION => id.0.div_ceil(2),
            last => (id.0 - last.0) / 2,
        };
        self.has_skipped |= steps > 1;
        let History {
            opened,
            by_peer,
            by_server,
        } = &mut self.history;
        for bits in [&mut *opened, by_peer, by_server] {
            *bits = bits.checked_shl(steps).unwrap_or(0);
        }
        *opened |= 1;
        self.last = id;
    }

    /// Adds a stream, whose number is the last one.
    pub(crate) fn push(&mut self, stream: Stream) {
        debug_assert_eq!(stream.id, self.last);
        self.open.push(stream);
    }

    #[inline]
    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        match self.state(id) {
            StreamState::Open(index) => self.open.get(index),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        match self.state(id) {
            StreamState::Open(index) => self.open.get_mut(index),
            _ => None,
        }
    }

    /// The stream at a position that [`Streams::state`] has returned.
    #[inline]
    pub(crate) fn at(&mut self, index: usize) -> &mut Stream {
        &mut self.open[index]
    }

    /// Removes the stream if both sides have ended it.
    #[inline]
    pub(crate) fn close_if_ended(&mut self, id: StreamId) {
        if let StreamState::Open(index) = self.state(id)
            && self.open[index].has_received_end
            && self.open[index].has_sent_end
        {
            self.open.remove(index);
        }
    }

    /// The client has reset the stream.
    pub(crate) fn reset_by_peer(&mut self, id: StreamId) -> Option<Stream> {
        if let Some(bit) = self.bit(id) {
            self.history.by_peer |= bit;
        }
        self.remove(id)
    }

    /// The server resets or drops the stream, which may be closed.
    pub(crate) fn reset_by_server(&mut self, id: StreamId) -> Option<Stream> {
        if let Some(bit) = self.bit(id) {
            self.history.by_server |= bit;
        }
        self.remove(id)
    }

    fn remove(&mut self, id: StreamId) -> Option<Stream> {
        match self.state(id) {
            StreamState::Open(index) => Some(self.open.remove(index)),
            _ => None,
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn last(&self) -> StreamId {
        self.last
    }

    /// Gives back memory that no open stream needs, but for the first allocation.
    pub(crate) fn shrink(&mut self) {
        self.open.shrink_to(4);
    }
}
