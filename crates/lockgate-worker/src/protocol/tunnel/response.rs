//! The response after which a connection leaves HTTP: how it is logged and counted. An application that has taken the
//! connection over writes it itself.

use std::time::Instant;

use lockgate_observe::{Loss, Outcome, Response};

use super::frames::FrameBoundary;
use crate::client::Client;
use crate::event_loop::context::Context;
use crate::log::access_log::Entry;

/// A longer head is passed on unread; its status is not known then.
const LONGEST_HEAD: usize = 8 * 1024;

/// See the module documentation.
pub struct TunnelResponse {
    entry: Option<Box<Entry>>,
    /// When the request was complete, by the clock of the scoreboard; `None` once the response is counted.
    ready_at: Option<u64>,
    /// The head so far, until it is complete.
    head: Vec<u8>,
    has_head: bool,
    status: u16,
    is_websocket: bool,
    /// The application's frames, if it speaks WebSocket.
    boundary: FrameBoundary,
    /// The worker ends: the application has been given a close frame.
    goes_away: bool,
    /// Bytes that the application has written after the head.
    body_bytes: u64,
}

impl TunnelResponse {
    pub(in crate::protocol) fn new(entry: Option<Box<Entry>>, ready_at: Option<u64>) -> Self {
        Self {
            entry,
            ready_at,
            head: Vec::new(),
            has_head: false,
            status: 0,
            is_websocket: false,
            boundary: FrameBoundary::default(),
            goes_away: false,
            body_bytes: 0,
        }
    }

    /// A response of the server's own with the status 101.
    pub(in crate::protocol) fn switched(entry: Option<Box<Entry>>, ready_at: Option<u64>) -> Self {
        Self {
            has_head: true,
            status: 101,
            ..Self::new(entry, ready_at)
        }
    }

    /// Bytes that were sent after the head, if the response was not observed.
    pub(in crate::protocol) fn set_body_bytes(&mut self, count: u64) {
        self.body_bytes = count;
    }

    /// Whether both sides have agreed on WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        self.is_websocket
    }

    pub(super) fn has_head(&self) -> bool {
        self.has_head
    }

    /// Takes what the application has written.
    pub(super) fn observe(&mut self, written: &[u8], context: &Context, now: Instant) {
        if self.has_head {
            self.observe_frames(written);
            self.body_bytes += written.len() as u64;
            return;
        }
        let from = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(written);
        let end = self.head[from..]
            .windows(4)
            .position(|place| place == b"\r\n\r\n");
        let end = end.map(|at| from + at + 4);
        let Some(end) = end.or_else(|| (self.head.len() > LONGEST_HEAD).then_some(self.head.len()))
        else {
            return;
        };
        self.body_bytes = (self.head.len() - end) as u64;
        self.status = status_of(&self.head);
        // The one field that every answer to a WebSocket handshake has, and no other answer (RFC 6455 §4.2.2).
        let accept = b"\r\nsec-websocket-accept:";
        let mut places = self.head.windows(accept.len());
        self.is_websocket =
            self.status == 101 && places.any(|place| place.eq_ignore_ascii_case(accept));
        let head = std::mem::take(&mut self.head);
        self.observe_frames(&head[end..]);
        self.has_head = true;
        self.count(context, now);
    }

    fn observe_frames(&mut self, written: &[u8]) {
        if self.is_websocket {
            self.boundary.advance(written);
        }
    }

    /// The application has been given a close frame.
    pub(super) fn worker_goes_away(&mut self) {
        self.goes_away = true;
    }

    /// Whether that has happened.
    pub(super) fn goes_away(&self) -> bool {
        self.goes_away
    }

    /// Whether the application speaks WebSocket and has written no Close frame, so that one may follow.
    pub(super) fn lacks_close_frame(&self) -> bool {
        self.is_websocket() && self.boundary.may_close()
    }

    /// Counts the response once its status is known: its duration is that of the handshake.
    pub(in crate::protocol) fn count(&mut self, context: &Context, now: Instant) {
        let Some(ready_at) = self.ready_at.take() else {
            return;
        };
        if let Some(counters) = context.metrics.counted() {
            let duration = context.metrics.nanos(now).saturating_sub(ready_at);
            let response = Response {
                status: self.status,
                bytes: 0,
                duration: Some(duration),
            };
            context.metrics.record_response(counters, response);
        }
    }

    /// The connection is over, or only its close is awaited: writes the line of the access log, once. `unsent` bytes
    /// have not reached the socket; `departed` bytes have, since they were counted last.
    pub(in crate::protocol) fn end(
        &mut self,
        outcome: Outcome,
        unsent: u64,
        departed: u64,
        peer: &Client,
        context: &Context,
        now: Instant,
    ) {
        if let Some(counters) = context.metrics.counted() {
            // A response with a head is counted already; its end is a loss only if the client was too slow for it.
            match (outcome, self.ready_at.take()) {
                (Outcome::TimedOut, _) => counters.record_loss(Loss::ClientTooSlow, departed),
                (Outcome::ClientGone, Some(_)) => counters.record_loss(Loss::ClientGone, departed),
                (_, Some(_)) => counters.record_loss(Loss::Aborted, departed),
                (_, None) if departed > 0 => counters.record_sent(departed),
                (_, None) => {}
            }
        }
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        // 499 as for any client that leaves before it has a response.
        entry.status = if self.has_head { self.status } else { 499 };
        let client = entry.client.as_deref().unwrap_or(peer);
        let sent = self.body_bytes.saturating_sub(unsent);
        context.record(&entry, client, sent, outcome, now);
        entry.reuse();
    }
}

/// The status of a response's head; 0 if it has none.
fn status_of(head: &[u8]) -> u16 {
    let line = head
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| head.strip_prefix(b"HTTP/1.0 "));
    let Some(
        [
            a @ b'1'..=b'9',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            b' ' | b'\r',
            ..,
        ],
    ) = line
    else {
        return 0;
    };
    [a, b, c]
        .into_iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_first_line() {
        for (head, status) in [
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 101),
            ("HTTP/1.1 101\r\n\r\n", 101),
            ("HTTP/1.0 400 Bad Request\r\n\r\n", 400),
            ("HTTP/1.1 1010 X\r\n\r\n", 0),
            ("HTTP/1.1  101 X\r\n\r\n", 0),
            ("HTTP/1.1 001 X\r\n\r\n", 0),
            ("ICY 200 OK\r\n\r\n", 0),
            ("", 0),
        ] {
            assert_eq!(status_of(head.as_bytes()), status, "{head:?}");
        }
    }
}
