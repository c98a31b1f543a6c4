//! Sending: takes what the writers have queued, frames the bodies that wait, and moves both to the socket.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::http2::ErrorCode;
use lockgate_observe::{Loss, Outcome};

use super::Http2;
use super::outgoing::{FilePart, Framed, OUTPUT_AHEAD};
use super::record::Unsent;
use super::state::State;
use crate::connection::inbox::Returned;
use crate::connection::turn::Turn;
use crate::os::read_cached;
use crate::transport::outbox::{Flushed, Outbox};

/// Bytes sent per turn, as in HTTP/1.
const SENT_AT_ONCE: u64 = 1 << 20;

impl Http2 {
    /// Moves queued output to the socket, and frames more while the socket takes it.
    pub(super) fn send(&mut self, turn: &mut Turn) -> io::Result<Flushed> {
        let until = self.link.out.departed() + SENT_AT_ONCE;
        loop {
            let part = self.frame(turn.now);
            if let Some(part) = part {
                self.frame_file(&part, turn);
                continue;
            }
            let is_more_likely = self.link.out.len() >= OUTPUT_AHEAD as u64;
            let flushed = self.flush_link(turn.now)?;
            self.record_sent(turn.now);
            match flushed {
                Flushed::All if !is_more_likely => return Ok(Flushed::All),
                Flushed::All if self.link.out.departed() >= until => return Ok(Flushed::Bounded),
                Flushed::All => {}
                Flushed::Blocked => {
                    self.shared.lock().is_socket_full = true;
                    return Ok(Flushed::Blocked);
                }
                Flushed::Bounded => return Ok(Flushed::Bounded),
                // Files are read before they are framed.
                Flushed::Reading => return Ok(Flushed::Blocked),
            }
        }
    }

    /// Takes what the writers have queued, and frames parts of the bodies that wait.
    fn frame(&mut self, now: Instant) -> Option<FilePart> {
        let mut part = None;
        let mut state = self.shared.lock();
        state.is_marked = false;
        state.is_socket_full = false;
        take_output(&mut state, &mut self.link.out, &mut self.unsent);
        self.window_deadline = None;
        if !state.outgoing.is_empty() {
            while self.link.out.len() < OUTPUT_AHEAD as u64 {
                match state.frame_next(&mut self.link.out) {
                    Framed::Nothing => break,
                    Framed::Frame => {}
                    Framed::File(next) => {
                        part = Some(next);
                        break;
                    }
                }
            }
            take_output(&mut state, &mut self.link.out, &mut self.unsent);
            let rate = self.shared.context.write_rate();
            self.window_deadline = state.check_windows(&rate, now);
            self.shared.wake(&state);
        }
        self.awaits_file = state.awaits_file();
        (self.open_streams, self.running) = state.counts();
        part
    }

    /// Has a thread that may wait read the next part of a file. The stream continues after that.
    #[cold]
    fn read_ahead(&mut self, part: &FilePart) {
        let Some(read) = self.shared.lock().begin_read(part) else {
            return;
        };
        self.awaits_file = true;
        let context = &self.shared.context;
        let resume = {
            let (inbox, token) = (Arc::clone(&context.inbox), self.link.slot.token());
            move || inbox.push(Returned::Released(token), true)
        };
        let job = {
            let (read, resume) = (read.clone(), resume.clone());
            move || {
                read.run();
                resume();
            }
        };
        if context.blocking.spawn(job).is_err() {
            // Without a thread the event loop waits for the disk.
            read.skip();
            resume();
        }
    }

    /// Reads a part of a file, without the lock, and frames it.
    fn frame_file(&mut self, part: &FilePart, turn: &mut Turn) {
        let count = part.count.min(turn.buffer.len());
        let bytes = &mut turn.buffer[..count];
        let mut read = 0;
        while read < count {
            let (rest, at) = (&mut bytes[read..], part.offset + read as u64);
            let outcome = match part.was_read {
                true => part.file.read_at(rest, at),
                false => read_cached(&part.file, rest, at),
            };
            match outcome {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if read == 0 {
                        return self.read_ahead(part);
                    }
                    break;
                }
                Err(_) => break,
            }
        }
        let mut state = self.shared.lock();
        if read == 0 {
            let ended = state
                .remove_outgoing(part.stream)
                .and_then(|(_, ended)| ended);
            state.reset(part.stream, ErrorCode::INTERNAL_ERROR);
            self.shared.wake(&state);
            drop(state);
            self.shared.context.report_changed_file();
            if let Some(ended) = ended {
                let (peer, context) = (&self.shared.peer, &self.shared.context);
                ended.record_lost(Outcome::Aborted, Loss::Aborted, peer, context, turn.now);
            }
            return;
        }
        let tail = self.link.out.tail();
        let before = tail.len();
        state.frame_file(part.stream, &bytes[..read], tail);
        let added = tail.len() - before;
        self.link.out.record_appended(added);
        take_output(&mut state, &mut self.link.out, &mut self.unsent);
    }

    /// Moves output to the socket. A client that does not take it runs into a deadline.
    fn flush_link(&mut self, now: Instant) -> io::Result<Flushed> {
        let before = self.link.out.len();
        let flushed = self.link.out.flush(&mut *self.link.transport)?;
        if flushed != Flushed::All || self.rate.is_behind() {
            let rate = self.shared.context.write_rate();
            let bytes = before - self.link.out.len();
            let deadline = self.write_deadline.unwrap_or(now);
            if flushed == Flushed::All {
                self.rate.record_clear(&rate, deadline, bytes, now);
                self.write_deadline = None;
            } else {
                let deadline = self.rate.record_blocked(&rate, deadline, bytes, now);
                self.write_deadline = Some(deadline);
            }
        }
        Ok(flushed)
    }

    /// Logs and counts the responses that the socket has taken.
    fn record_sent(&mut self, now: Instant) {
        while let Some(ended) = self.unsent.take_sent(self.link.out.departed()) {
            let bytes = self.link.out.take_departed();
            ended.record_sent(bytes, &self.shared.peer, &self.shared.context, now);
        }
    }
}

/// Moves the queued frames into the output of the connection.
pub(super) fn take_output(state: &mut State, out: &mut Outbox, unsent: &mut Unsent) {
    if !state.output.is_empty() {
        out.append_buffer(&mut state.output);
    }
    unsent.extend(&mut state.ended, out.departed() + out.len());
}
