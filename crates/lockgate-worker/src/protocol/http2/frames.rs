//! Receiving: takes the frames of one read, and dispatches the requests that they complete after the lock of the
//! connection is released.

use std::time::Instant;

use lockgate_http::Refusal;
use lockgate_http::http2::{CONTROL_LIMIT, ConnectionError, Event};
use lockgate_observe::{Loss, Outcome};

use super::record::{count_loss, log};
use super::request_reader::Surroundings;
use super::sending::take_output;
use super::shutdown::PING;
use super::state::State;
use super::{Http2, OUTPUT_LIMIT, READS_WITHIN};
use crate::connection::turn::Turn;
use crate::exchange::Exchange;
use crate::exchange::body::stream::BodyError;
use crate::exchange::writer::{DropReason, Presence, PresenceCheck};
use crate::protocol::intake::Rejection;

/// After this many events the clock is read.
const EVENTS_AT_ONCE: u32 = 64;

impl Http2 {
    /// Takes the frames of `bytes`, which follow what was left of earlier ones, and dispatches the requests that they
    /// complete. Returns whether output may be due.
    ///
    /// # Errors
    /// The client has broken the protocol: the connection ends.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        turn: &mut Turn,
    ) -> Result<bool, ConnectionError> {
        let mut batch = std::mem::take(&mut turn.batch);
        let mut joined = std::mem::take(&mut self.reader.unread);
        let is_joined = !joined.is_empty();
        if is_joined {
            joined.extend_from_slice(bytes);
        }
        let input = if is_joined { &joined } else { bytes };
        let mut used = 0;
        let outcome = self.take_frames(input, &mut used, turn, &mut batch);
        if used < input.len() && outcome.is_ok() {
            self.credit_partial_body(&input[used..], bytes.len(), turn.now);
            // A buffer of its own size: connections in the middle of a frame may be many.
            self.reader.unread = input[used..].to_vec();
        }
        if batch.is_empty() {
            turn.batch = batch;
            return outcome;
        }
        for mut exchange in batch.drain(..) {
            // Most clients that reset a stream at once do so to cause work (CVE-2023-44487).
            if self.has_abandoned
                && exchange.writer.client().presence(PresenceCheck::Events) == Presence::Gone
            {
                exchange.writer.drop_request(DropReason::Gone, turn.now);
            } else {
                turn.dispatch(exchange);
            }
        }
        turn.batch = batch;
        let mut state = self.shared.lock();
        // Some may have been answered at once. Without output the first response marks the connection again.
        let is_due = outcome == Ok(true) || !state.output.is_empty() || !state.outgoing.is_empty();
        state.is_marked = is_due;
        (self.open_streams, self.running) = state.counts();
        outcome.map(|_| is_due)
    }

    /// Counts received bytes of a body whose frame is not complete: a slow client may use long frames.
    fn credit_partial_body(&mut self, frame: &[u8], received: usize, now: Instant) {
        if let [_, _, _, 0, _, number @ ..] = frame
            && let Some(number) = number.first_chunk::<4>()
        {
            let number = u32::from_be_bytes(*number) & 0x7fff_ffff;
            let rate = self.shared.context.body_rate();
            let mut receiving = self.reader.receiving.iter_mut();
            if let Some(one) = receiving.find(|one| one.stream.get() == number) {
                one.deadline = rate.extend(one.deadline, received as u64, now);
            }
        }
    }

    fn take_frames(
        &mut self,
        input: &[u8],
        used: &mut usize,
        turn: &mut Turn,
        batch: &mut Vec<Exchange>,
    ) -> Result<bool, ConnectionError> {
        let Self {
            link,
            shared,
            reader,
            unsent,
            going,
            has_abandoned,
            open_streams,
            running,
            ..
        } = self;
        let here = Surroundings {
            shared,
            local: &link.local,
            is_encrypted: link.transport.is_encrypted(),
            arrived_at: turn.arrived_at,
            ready_nanos: shared.context.metrics.nanos(turn.arrived_at),
            now: turn.now,
        };
        let mut request = turn.requests.pop().unwrap_or_default();
        let mut state = shared.lock();
        // What was queued before these frames is sent after them.
        let mut has_grown = std::mem::replace(&mut state.is_marked, true);
        state.connection.begin_turn(turn.now);
        if state.output.capacity() == 0
            && let Some(output) = turn.spare_output()
        {
            state.output = output;
        }
        reader.is_paused = false;
        let mut events = 0_u32;
        let outcome = loop {
            events += 1;
            if events.is_multiple_of(EVENTS_AT_ONCE) && turn.now.elapsed() >= READS_WITHIN {
                reader.is_paused = true;
                break Ok(());
            }
            if state.output.len() >= CONTROL_LIMIT / 2 {
                take_output(&mut state, &mut link.out, unsent);
                if link.out.len() >= OUTPUT_LIMIT {
                    reader.is_paused = true;
                    break Ok(());
                }
            }
            let State {
                connection, output, ..
            } = &mut *state;
            let rest = &input[*used..];
            let (count, event) =
                match connection.receive(rest, &mut request.head, &mut turn.scratch, output) {
                    Ok(received) => received,
                    Err(error) => break Err(error),
                };
            *used += count;
            match event {
                Event::NeedInput => break Ok(()),
                Event::Request {
                    stream, is_last, ..
                } => {
                    let next = turn.requests.pop().unwrap_or_default();
                    let request = std::mem::replace(&mut request, next);
                    batch.extend(reader.take_request(request, stream, is_last, &here, &mut state));
                }
                Event::Data {
                    stream,
                    bytes,
                    flow,
                    is_last,
                } => {
                    state = reader.take_data(stream, bytes, flow, is_last, &here, state, batch);
                    // It may have released the lock: a writer that found the connection marked relies on its being sent.
                    has_grown |= !state.outgoing.is_empty();
                }
                Event::Trailers { stream } => {
                    state = reader.take_data(stream, b"", 0, true, &here, state, batch);
                    has_grown |= !state.outgoing.is_empty();
                }
                Event::Refused {
                    stream, refusal, ..
                } => {
                    let rejection = Rejection::OfPeer(refusal);
                    match reader.take_receiving(stream) {
                        Some(one) => {
                            reader.refuse(
                                stream,
                                rejection,
                                &one.request,
                                one.entry,
                                Outcome::Refused,
                                &here,
                                &mut state,
                            );
                        }
                        None if state.has_incoming(stream) => {
                            state.fail_incoming(stream, BodyError::Refused(refusal));
                            shared.wake(&state);
                        }
                        None => {
                            reader.refuse(
                                stream,
                                rejection,
                                &request,
                                None,
                                Outcome::Refused,
                                &here,
                                &mut state,
                            );
                        }
                    }
                }
                Event::Malformed { stream, refusal } => {
                    reader.take_malformed(stream, refusal, &request.head, &here, &mut state);
                }
                Event::Reset { stream, .. } => reader.take_reset(stream, &here, &mut state),
                Event::WindowGrew { .. } => has_grown |= !state.outgoing.is_empty(),
                Event::Priority { stream, priority } => state.set_priority(stream, priority),
                Event::PeerGoesAway { .. } => {
                    going.want();
                }
                Event::PingAck { payload: PING } => {
                    going.acknowledge(turn.now);
                    has_grown = true;
                }
                Event::PingAck { .. } => {}
            }
        };
        let has_output = !state.output.is_empty() || has_grown || !link.out.is_empty();
        // Without output of its own the connection is not sent now: the first response marks it again.
        state.is_marked = has_output || !batch.is_empty();
        *has_abandoned = !state.abandoned.is_empty();
        (*open_streams, *running) = state.counts();
        reader.head_began = match reader.head_began {
            _ if !state.connection.is_reading_headers() => None,
            Some(began) => Some(began),
            None => Some(turn.now),
        };
        drop(state);
        turn.keep_request(request);
        let has_failed = reader.write_small(&here);
        outcome.map(|()| has_output || has_failed)
    }

    /// Answers the requests whose bodies have not arrived in time.
    pub(super) fn refuse_slow_bodies(&mut self, turn: &Turn) {
        let Self {
            link,
            shared,
            reader,
            ..
        } = self;
        let here = Surroundings {
            shared,
            local: &link.local,
            is_encrypted: link.transport.is_encrypted(),
            arrived_at: turn.arrived_at,
            ready_nanos: 0,
            now: turn.now,
        };
        while let Some(index) = reader
            .receiving
            .iter()
            .position(|one| one.deadline <= turn.now)
        {
            let one = reader.receiving.swap_remove(index);
            let rejection = Rejection::OfPeer(Refusal::BodyTooSlow);
            let mut state = shared.lock();
            reader.refuse(
                one.stream,
                rejection,
                &one.request,
                one.entry,
                Outcome::TimedOut,
                &here,
                &mut state,
            );
        }
    }

    /// The connection is over: the requests that are being received are, too.
    pub(super) fn lose_receiving(&mut self, outcome: Outcome, loss: Loss, now: Instant) {
        for one in self.reader.receiving.drain(..) {
            count_loss(Some(0), loss, &self.shared.context);
            log(
                one.entry,
                0,
                outcome,
                &self.shared.peer,
                &self.shared.context,
                now,
            );
        }
    }
}
