//! Response bodies that wait: for a flow-control window, for the socket, or for their turn (RFC 9218).
//!
//! Invariant: a body that is here is sent from here to its end, so that its parts stay in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::http2::{Priority, StreamId};

use super::record::Ended;
use super::state::State;
use crate::exchange::body::minimum_rate::{ClientRate, MinimumRate};
use crate::transport::outbox::{Outbox, SharedBytes};
use crate::transport::page_cache::FileRead;
use lockgate_files::SharedFile;

/// A writer waits while more than this is queued of its stream's body.
pub(super) const QUEUED_AT_MOST: u64 = 128 << 10;

/// Bodies are framed while less than this waits for the socket: a response that is more urgent comes soon after.
pub(super) const OUTPUT_AHEAD: usize = 64 << 10;

/// Smaller pieces are joined.
const JOINED: usize = 16 << 10;

/// A part of a body.
pub(super) enum Piece {
    Copied(Vec<u8>),
    Shared(Arc<dyn SharedBytes>),
    File {
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    },
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Copied(bytes) => bytes.len() as u64,
            Self::Shared(bytes) => bytes.bytes().len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// The rest of one response.
pub(super) struct Outgoing {
    pub(super) stream: StreamId,
    pub(super) priority: Priority,
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that were framed.
    taken: u64,
    /// Bytes that were not framed.
    queued: u64,
    /// Nothing follows: the last frame ends the stream.
    is_complete: bool,
    ended: Option<Ended>,
    /// When a part of it was framed last.
    turn: u64,
    /// Another thread reads the next part of its file.
    read: Option<FileRead>,
    /// How fast the client opens its windows, and until when it has to.
    rate: ClientRate,
    framed: u64,
    deadline: Option<Instant>,
}

impl Outgoing {
    fn new(stream: StreamId, priority: Priority) -> Self {
        Self {
            stream,
            priority,
            pieces: VecDeque::new(),
            taken: 0,
            queued: 0,
            is_complete: false,
            ended: None,
            turn: 0,
            read: None,
            rate: ClientRate::default(),
            framed: 0,
            deadline: None,
        }
    }

    /// The record of its response, which is not sent in full.
    fn into_ended(self) -> Option<Ended> {
        let mut ended = self.ended?;
        ended.body_bytes = ended.body_bytes.saturating_sub(self.queued);
        Some(ended)
    }

    pub(super) fn push(&mut self, piece: Piece) {
        let length = piece.len();
        if length > 0 {
            self.queued += length;
            self.pieces.push_back(piece);
        }
    }

    pub(super) fn push_copy(&mut self, bytes: &[u8]) {
        self.queued += bytes.len() as u64;
        match self.pieces.back_mut() {
            Some(Piece::Copied(last)) if last.len() < JOINED => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push_back(Piece::Copied(bytes.to_vec())),
        }
    }

    /// Whether there is anything to frame.
    fn is_waiting(&self) -> bool {
        (self.queued > 0 || self.is_complete) && !self.is_being_read()
    }

    fn is_being_read(&self) -> bool {
        self.read.as_ref().is_some_and(|read| !read.is_done())
    }

    fn advance(&mut self, count: u64) {
        self.queued -= count;
        self.framed += count;
        self.taken += count;
        if self
            .pieces
            .front()
            .is_some_and(|piece| piece.len() == self.taken)
        {
            self.pieces.pop_front();
            self.taken = 0;
        }
    }

    /// Records that the client's windows have no room for it.
    fn record_blocked(&mut self, rate: &MinimumRate, now: Instant) {
        let framed = std::mem::take(&mut self.framed);
        let deadline = self.deadline.unwrap_or(now);
        self.deadline = Some(self.rate.record_blocked(rate, deadline, framed, now));
    }

    fn record_clear(&mut self, rate: &MinimumRate, now: Instant) {
        if let Some(deadline) = self.deadline.take() {
            let framed = std::mem::take(&mut self.framed);
            self.rate.record_clear(rate, deadline, framed, now);
        }
    }
}

/// The order of two bodies that can be sent (RFC 9218 §10): by urgency; then those that are useful only as a whole, one
/// after the other; then the incremental ones in turns.
fn rank(priority: Priority, stream: u32, turn: u64) -> (u8, bool, u64) {
    let position = match priority.incremental {
        true => turn,
        false => stream.into(),
    };
    (priority.urgency, priority.incremental, position)
}

/// The result of framing a part of a body.
pub(super) enum Framed {
    /// No body can be sent.
    Nothing,
    /// A frame was queued.
    Frame,
    /// This part of a file comes next. It is read without the lock.
    File(FilePart),
}

/// A part of a file.
pub(super) struct FilePart {
    pub(super) stream: StreamId,
    pub(super) file: Arc<SharedFile>,
    pub(super) offset: u64,
    pub(super) count: usize,
    /// Another thread has just read it.
    pub(super) was_read: bool,
}

impl State {
    /// The queue of a stream's body; made if there is none.
    pub(super) fn outgoing_of(&mut self, stream: StreamId) -> &mut Outgoing {
        let position = self.outgoing.iter().position(|one| one.stream == stream);
        let index = position.unwrap_or_else(|| {
            let priority = self.connection.priority(stream).unwrap_or_default();
            self.outgoing
                .push(Box::new(Outgoing::new(stream, priority)));
            self.outgoing.len() - 1
        });
        &mut self.outgoing[index]
    }

    /// `is_last`: nothing follows what was queued.
    pub(super) fn end_outgoing(&mut self, stream: StreamId, is_last: bool, ended: Option<Ended>) {
        let outgoing = self.outgoing_of(stream);
        outgoing.is_complete = is_last;
        outgoing.ended = ended;
    }

    /// Whether a part of this stream's body waits.
    pub(super) fn has_outgoing(&self, stream: StreamId) -> bool {
        self.outgoing.iter().any(|one| one.stream == stream)
    }

    /// Bytes of a stream's body that were not framed.
    pub(super) fn queued(&self, stream: StreamId) -> u64 {
        let of_stream = self.outgoing.iter().find(|one| one.stream == stream);
        of_stream.map_or(0, |outgoing| outgoing.queued)
    }

    /// Forgets what was queued of a body. Returns whether the application had finished with it, and its record.
    pub(super) fn remove_outgoing(&mut self, stream: StreamId) -> Option<(bool, Option<Ended>)> {
        let index = self.outgoing.iter().position(|one| one.stream == stream)?;
        let outgoing = self.outgoing.swap_remove(index);
        let is_complete = outgoing.is_complete;
        if !is_complete {
            self.unsent.push((stream, outgoing.queued));
        }
        Some((is_complete, outgoing.into_ended()))
    }

    /// Forgets what was queued of all bodies. Returns the records of those that the application had finished with.
    pub(super) fn remove_all_outgoing(&mut self) -> Vec<Ended> {
        let outgoing = std::mem::take(&mut self.outgoing);
        let unfinished = outgoing.iter().filter(|one| !one.is_complete);
        (self.unsent).extend(unfinished.map(|one| (one.stream, one.queued)));
        outgoing
            .into_iter()
            .filter_map(|one| one.into_ended())
            .collect()
    }

    /// Bytes of this stream's body that were queued and not sent when it ended.
    pub(super) fn take_unsent(&mut self, stream: StreamId) -> u64 {
        let index = self.unsent.iter().position(|(one, _)| *one == stream);
        index.map_or(0, |index| self.unsent.swap_remove(index).1)
    }

    pub(super) fn set_priority(&mut self, stream: StreamId, priority: Priority) {
        if let Some(outgoing) = self.outgoing.iter_mut().find(|one| one.stream == stream) {
            outgoing.priority = priority;
        }
    }

    /// Frames the next part of a body, if there is one that the client has room for.
    pub(super) fn frame_next(&mut self, out: &mut Outbox) -> Framed {
        let next = (self.outgoing.iter().enumerate())
            .filter(|(_, one)| one.is_waiting())
            .filter(|(_, one)| one.queued == 0 || self.connection.send_capacity(one.stream) > 0)
            .min_by_key(|(_, one)| rank(one.priority, one.stream.get(), one.turn))
            .map(|(index, _)| index);
        let Some(index) = next else {
            return Framed::Nothing;
        };
        self.turns += 1;
        let outgoing = &mut self.outgoing[index];
        outgoing.turn = self.turns;
        let stream = outgoing.stream;
        let taken = usize::try_from(outgoing.taken).unwrap_or(usize::MAX);
        let capacity = self.connection.send_capacity(stream);
        let part = match outgoing.pieces.front_mut() {
            None => None,
            Some(Piece::Copied(bytes)) => Some((bytes.len() - taken, None)),
            Some(Piece::Shared(bytes)) => {
                Some((bytes.bytes().len() - taken, Some(Arc::clone(bytes))))
            }
            Some(Piece::File {
                file,
                offset,
                length,
            }) => {
                let left = *length - outgoing.taken;
                let offset = *offset + outgoing.taken;
                let count = usize::try_from(left).map_or(capacity, |left| left.min(capacity));
                outgoing.read.take_if(|read| read.end() <= offset);
                return Framed::File(FilePart {
                    stream,
                    file: Arc::clone(file),
                    offset,
                    count,
                    was_read: outgoing.read.is_some(),
                });
            }
        };
        let (left, shared) = part.unwrap_or((0, None));
        let count = left.min(capacity);
        let is_last = outgoing.is_complete && outgoing.queued == count as u64;
        let tail = out.tail();
        let before = tail.len();
        if !(self.connection).send_data_head(stream, count, is_last, tail) {
            self.remove_outgoing(stream);
            return Framed::Frame;
        }
        if let (None, Some(Piece::Copied(bytes))) = (&shared, outgoing.pieces.front()) {
            tail.extend_from_slice(&bytes[taken..taken + count]);
        }
        let added = tail.len() - before;
        out.record_appended(added);
        if let Some(bytes) = shared {
            out.push_shared(
                Box::new(Part {
                    bytes,
                    start: taken,
                    end: taken + count,
                }),
                count,
            );
        }
        self.on_framed(index, count, is_last);
        Framed::Frame
    }

    /// The part is not in memory: its stream waits until it has been read. `None`: the stream has ended meanwhile.
    pub(super) fn begin_read(&mut self, part: &FilePart) -> Option<FileRead> {
        let outgoing = (self.outgoing.iter_mut()).find(|one| one.stream == part.stream)?;
        let left = outgoing.pieces.front()?.len() - outgoing.taken;
        let read = FileRead::new(&part.file, part.offset, left);
        Some(outgoing.read.insert(read).clone())
    }

    /// Whether a part of a file is being read.
    pub(super) fn awaits_file(&self) -> bool {
        self.outgoing.iter().any(|one| one.read.is_some())
    }

    /// Frames the bytes that were read of a file. False: the stream has ended meanwhile.
    pub(super) fn frame_file(&mut self, stream: StreamId, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(index) = self.outgoing.iter().position(|one| one.stream == stream) else {
            return false;
        };
        let outgoing = &self.outgoing[index];
        let is_last = outgoing.is_complete && outgoing.queued == bytes.len() as u64;
        if !(self.connection).send_data_head(stream, bytes.len(), is_last, out) {
            self.remove_outgoing(stream);
            return false;
        }
        out.extend_from_slice(bytes);
        self.on_framed(index, bytes.len(), is_last);
        true
    }

    fn on_framed(&mut self, index: usize, count: usize, is_last: bool) {
        let outgoing = &mut self.outgoing[index];
        outgoing.advance(count as u64);
        if is_last {
            let outgoing = self.outgoing.swap_remove(index);
            self.ended.extend(outgoing.ended);
            self.end_request_body(outgoing.stream);
        } else if outgoing.queued == 0 && !outgoing.rate.is_behind() && outgoing.deadline.is_none()
        {
            self.outgoing.swap_remove(index);
        }
    }

    /// Finds out which bodies wait for their windows, and until when. Returns the first deadline.
    pub(super) fn check_windows(&mut self, rate: &MinimumRate, now: Instant) -> Option<Instant> {
        let Self {
            outgoing,
            connection,
            ..
        } = self;
        for one in outgoing.iter_mut() {
            if one.queued > 0 && connection.send_capacity(one.stream) == 0 {
                one.record_blocked(rate, now);
            } else {
                one.record_clear(rate, now);
            }
        }
        outgoing.iter().filter_map(|one| one.deadline).min()
    }

    /// The streams whose clients have not opened their windows in time.
    pub(super) fn late_streams(&self, now: Instant) -> Vec<StreamId> {
        (self.outgoing.iter())
            .filter(|one| one.deadline.is_some_and(|deadline| deadline <= now))
            .map(|one| one.stream)
            .collect()
    }
}

/// A part of shared bytes, in one frame.
struct Part {
    bytes: Arc<dyn SharedBytes>,
    start: usize,
    end: usize,
}

impl SharedBytes for Part {
    fn bytes(&self) -> &[u8] {
        &self.bytes.bytes()[self.start..self.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_sent_by_urgency_then_whole_ones_first_then_in_turns() {
        let priority = |urgency, incremental| Priority {
            urgency,
            incremental,
        };
        let bodies = [
            (priority(3, true), 1, 9),
            (priority(3, true), 3, 4),
            (priority(3, false), 7, 0),
            (priority(3, false), 5, 8),
            (priority(0, true), 9, 7),
            (priority(7, false), 11, 0),
        ];
        let mut sorted = bodies;
        sorted.sort_by_key(|&(priority, stream, turn)| rank(priority, stream, turn));
        let order: Vec<u32> = sorted.iter().map(|(_, stream, _)| *stream).collect();
        assert_eq!(order, [9, 5, 7, 3, 1, 11]);
    }
}
