//! How streams and connections end: by their deadlines, by faults, by the loss of the client, and when the worker stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::http2::{ConnectionError, ErrorCode, GoAway};
use lockgate_observe::{Loss, Outcome};

use super::state::State;
use super::{Http2, Next, Phase, READS_AT_ONCE, shutdown};
use crate::connection::Driven;
use crate::connection::inbox::StopMode;
use crate::connection::link::Read;
use crate::connection::turn::Turn;
use crate::exchange::body::stream::BodyError;

/// Lingering close, as in HTTP/1: 5 s of silence, 30 s in all.
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_AT_MOST: Duration = Duration::from_secs(30);

impl Http2 {
    /// The client has broken the protocol. The engine has queued GOAWAY.
    #[cold]
    pub(super) fn fail(&mut self, error: ConnectionError, now: Instant) {
        let context = Arc::clone(&self.shared.context);
        if error.is_abuse() {
            context.report_flood(&self.link.client, &error, now);
        } else {
            context.report_refusal(&self.link.client, &error.to_string());
        }
        self.end_streams(Outcome::ClientGone, Loss::ClientGone, now);
        self.phase = Phase::Ending;
    }

    /// The connection has ended: only log lines can still be written.
    pub(super) fn lose(&mut self, now: Instant) -> Next {
        self.end_streams(Outcome::ClientGone, Loss::ClientGone, now);
        Next::Close
    }

    /// Ends all requests.
    fn end_streams(&mut self, outcome: Outcome, loss: Loss, now: Instant) {
        self.lose_receiving(outcome, loss, now);
        self.lose_subscriptions(outcome, now);
        let mut state = self.shared.lock();
        state.is_over = true;
        state.fail_all_incoming(BodyError::Truncated);
        let of_bodies = state.remove_all_outgoing();
        let mut ended = std::mem::take(&mut state.ended);
        self.shared.wake(&state);
        let is_running = state.running > 0;
        drop(state);
        if is_running {
            self.shared.report_abandoned();
        }
        self.unsent.extend(&mut ended, u64::MAX);
        let (peer, context) = (&self.shared.peer, &self.shared.context);
        for one in std::iter::from_fn(|| self.unsent.take()).chain(of_bodies) {
            one.record_lost(outcome, loss, peer, context, now);
        }
        self.open_streams = 0;
    }

    /// Closes the sending side and waits for the client to close, so that a reset for unread input cannot overtake
    /// what was sent.
    pub(super) fn begin_lingering(&mut self, now: Instant) {
        self.end_streams(Outcome::ClientGone, Loss::ClientGone, now);
        self.link.out.clear();
        if self.link.transport.shutdown_write().is_err() {
            self.link.hung_up = true;
        }
        let until = now + LINGER_AT_MOST;
        self.phase = Phase::Lingering { until };
        self.link.deadline = until.min(now + LINGER_SILENCE);
        self.link.readable = true;
    }

    /// Reads and drops input. `Close` when the client is done.
    pub(super) fn linger(&mut self, turn: &mut Turn) -> Next {
        let Phase::Lingering { until } = self.phase else {
            return Next::Close;
        };
        if self.link.hung_up {
            return Next::Close;
        }
        for _ in 0..READS_AT_ONCE {
            match self.link.read(&mut turn.buffer) {
                Read::Bytes(_) => self.link.deadline = until.min(turn.now + LINGER_SILENCE),
                Read::Blocked => return Next::Wait,
                Read::Interrupted => {}
                Read::End | Read::Dead => return Next::Close,
            }
        }
        Next::Again
    }

    /// Whether the worker stops, or the connection has served its number of requests.
    fn must_go(&self) -> bool {
        let context = &self.shared.context;
        let limit = context.config.limits.requests_per_connection;
        context.inbox.stop_mode() != StopMode::Serve || (limit != 0 && self.reader.served >= limit)
    }

    /// Announces the end of the connection, in steps. Returns whether there is something to send.
    pub(super) fn continue_shutdown(&mut self, now: Instant) -> bool {
        if self.must_go() {
            self.going.want();
        }
        if !self.going.is_wanted() || self.phase != Phase::Open {
            return false;
        }
        if self.going.is_final() {
            if self.open_streams == 0 && !self.link.has_output() {
                self.phase = Phase::Ending;
                return true;
            }
            return false;
        }
        let patience = match self.shared.context.inbox.stop_mode() {
            StopMode::Serve => shutdown::LIMIT_PATIENCE,
            _ => shutdown::STOP_PATIENCE,
        };
        let mut is_due = false;
        while let Some(kind) = self.going.advance(self.open_streams, patience, now) {
            self.go_away(kind, now);
            is_due = true;
        }
        is_due
    }

    fn go_away(&mut self, kind: GoAway, now: Instant) {
        let mut state = self.shared.lock();
        let State {
            connection, output, ..
        } = &mut *state;
        connection.go_away(kind, ErrorCode::NO_ERROR, output);
        if kind == GoAway::Graceful && self.going.needs_round_trip(now) {
            connection.ping(shutdown::PING, output);
        }
    }

    /// What the end of the time means.
    pub(super) fn time_out(&mut self, turn: &Turn) -> Option<Next> {
        let now = turn.now;
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if matches!(self.phase, Phase::Lingering { .. }) {
            return Some(Next::Close);
        }
        if is_over(self.write_deadline) {
            // The kernel would otherwise keep the unsent output for as long as the client likes.
            self.link.hung_up = true;
            self.link.transport.reset_on_close();
            self.end_streams(Outcome::TimedOut, Loss::ClientTooSlow, now);
            return Some(Next::Close);
        }
        (self.open_streams, self.running) = self.shared.lock().counts();
        let head_timeout = self.shared.context.config.head_timeout;
        let is_head_late = is_over(self.reader.head_began.map(|began| began + head_timeout));
        if is_head_late || (self.is_idle() && self.link.deadline <= now) || self.is_evicted() {
            if self.reader.served == 0 {
                return Some(Next::Close);
            }
            self.go_away(GoAway::Final, now);
            self.end_streams(Outcome::TimedOut, Loss::ClientTooSlow, now);
            self.phase = Phase::Ending;
            return None;
        }
        self.refuse_slow_bodies(turn);
        self.reset_slow_readers(now);
        None
    }

    /// `expire` before the deadline: the place is needed for another connection.
    fn is_evicted(&self) -> bool {
        self.is_idle() && self.reader.served > 0 && self.write_deadline.is_none()
    }

    /// Resets the streams whose windows the client has not opened in time.
    fn reset_slow_readers(&mut self, now: Instant) {
        let shared = &self.shared;
        let mut state = shared.lock();
        for stream in state.late_streams(now) {
            let ended = state.remove_outgoing(stream).and_then(|(_, ended)| ended);
            state.reset(stream, ErrorCode::CANCEL);
            if let Some(ended) = ended {
                let (peer, context) = (&shared.peer, &shared.context);
                ended.record_lost(Outcome::TimedOut, Loss::ClientTooSlow, peer, context, now);
            }
        }
        shared.wake(&state);
    }

    /// The connection leaves the event loop. Its slot is in use as long as one of its requests runs.
    pub(super) fn close(self: Box<Self>) -> Driven {
        let token = self.link.slot.token();
        let mut state = self.shared.lock();
        state.is_over = true;
        state.is_closed = true;
        self.shared.wake(&state);
        if state.running == 0 {
            Driven::Closed(token)
        } else {
            Driven::Lent
        }
    }
}
