//! A WebSocket that the server holds without a thread: it speaks WebSocket (RFC 6455) with the client, over any
//! transport, and makes requests of the application (WebSocket-over-HTTP).
//!
//! Invariants: the client is not read while more than a bounded number of bytes waits for the application or for the
//! client itself; published messages wait in the broadcast log while output waits. The connection stays until the
//! application has answered the last request.

mod application;
mod opening;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_observe::Outcome;

pub(super) use self::application::Application;
use self::application::code_of;
pub(super) use self::opening::{
    Opening, Outcome as OpeningOutcome, grip_of, outcome_of, switching_head,
};
use crate::connection::link::{Link, Read};
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::event_loop::context::Context;
use crate::exchange::publication::{Delivery, Publication};
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscribed_channels::SubscribedChannels;
use crate::exchange::websocket_session::Session;
use crate::protocol::tunnel::TunnelResponse;
use crate::transport::outbox::Flushed;

/// How often the connection is read before other connections come first.
const ROUNDS: usize = 8;

/// Bytes of output from which on the client is not read: answers to its Pings would be added without limit.
const MOST_OUTPUT: u64 = 64 * 1024;

/// After the last frame the client's input is read and dropped for this long, so that the reset that the kernel sends
/// for unread input cannot overtake that frame.
const LINGER: Duration = Duration::from_secs(5);

/// See the module documentation.
pub struct HeldWebSocket {
    link: Link,
    context: Arc<Context>,
    session: Box<Session>,
    application: Application,
    response: TunnelResponse,
    /// Bytes that the connection has sent before the first frame.
    frames_begin_at: u64,
    /// How the connection ends, for the access log.
    outcome: Outcome,
    /// The client's connection is dead.
    is_lost: bool,
    /// Only the client's close is awaited.
    lingers: bool,
}

/// What follows a step.
enum Next {
    Wait,
    Again,
    Close,
}

impl HeldWebSocket {
    /// The head of the 101 response is queued.
    pub(super) fn new(
        link: Link,
        context: Arc<Context>,
        session: Session,
        application: Application,
        mut response: TunnelResponse,
        now: Instant,
    ) -> Self {
        response.count(&context, now);
        Self {
            frames_begin_at: link.out.departed() + link.out.len(),
            link,
            context,
            session: Box::new(session),
            application,
            response,
            outcome: Outcome::Complete,
            is_lost: false,
            lingers: false,
        }
    }

    /// Lets the session append frames to the output.
    fn change<T>(&mut self, change: impl FnOnce(&mut Session, &mut Vec<u8>) -> T) -> T {
        let mut frames = Vec::new();
        let result = change(&mut self.session, &mut frames);
        if !self.is_lost && !frames.is_empty() {
            self.link.out.append_buffer(&mut frames);
        }
        result
    }

    /// Takes what the client has sent.
    pub(super) fn take_input(&mut self, input: &[u8], now: Instant) {
        // The session has closed the connection; the client knows why.
        let _problem = self.change(|session, frames| session.on_input(input, now, frames));
    }

    /// Takes the application's answer to a request.
    pub(super) fn take_response(&mut self, response: Option<&StoredResponse>, now: Instant) {
        let outcome = self.change(|session, frames| session.on_answer(response, now, frames));
        if let Err(problem) = outcome {
            let target = self.application.target();
            self.context.report_bad_answer(&target, &problem, now);
        }
    }

    /// Whether output waits for the client. What waits for one that has gone does not count, also in the transport.
    fn has_output(&self) -> bool {
        !self.is_lost && self.link.has_output()
    }

    fn step(&mut self, turn: &mut Turn) -> Next {
        if self.lingers {
            return self.linger(turn);
        }
        for _ in 0..ROUNDS {
            let mut has_moved = self.has_output();
            if has_moved {
                let context = &self.context;
                match self.link.flush(|| context.write_rate()) {
                    Ok(Flushed::All) => {}
                    // It sends no file.
                    Ok(Flushed::Blocked | Flushed::Reading) => has_moved = false,
                    Ok(Flushed::Bounded) => return Next::Again,
                    Err(_) => self.lose(Outcome::ClientGone),
                }
            }
            has_moved |= self.read(turn);
            if !self.has_output() {
                let now = turn.now;
                self.change(|session, frames| session.on_time(now, frames));
                has_moved |= self.ask(turn);
                if self.session.is_finished() && !self.has_output() {
                    return self.finish(now);
                }
                has_moved |= self.has_output();
            }
            if !has_moved {
                return self.wait(turn);
            }
        }
        Next::Again
    }

    /// Reads the client once. Returns whether there may be more.
    fn read(&mut self, turn: &mut Turn) -> bool {
        let may_read = self.session.wants_input() && self.link.out.len() < MOST_OUTPUT;
        if self.is_lost || !may_read || !self.link.readable {
            return false;
        }
        match self.link.read(&mut turn.buffer) {
            Read::Bytes(count) => {
                turn.received += count as u64;
                self.take_input(&turn.buffer[..count], turn.now);
            }
            // No further edge reports what an interrupted read has left.
            Read::Interrupted => {}
            Read::Blocked => return false,
            Read::End | Read::Dead => self.lose(Outcome::ClientGone),
        }
        true
    }

    /// Makes the request that is due, if there is one.
    fn ask(&mut self, turn: &mut Turn) -> bool {
        let now = turn.now;
        let Some(events) = self.session.next_request(now) else {
            return false;
        };
        let asked = (self.application).ask(&events, self.session.meta(), &self.context, turn);
        if let Err(problem) = asked {
            let code = code_of(problem);
            self.change(|session, frames| session.on_not_asked(code, now, frames));
            let target = self.application.target();
            self.context.report_bad_answer(&target, &problem, now);
        }
        true
    }

    /// Nothing can be done now: when to look again.
    fn wait(&mut self, turn: &mut Turn) -> Next {
        // Output that waits has a deadline of its own.
        if !self.has_output() {
            self.link.deadline = self.session.next_time(turn.now);
            if !self.is_lost && self.session.channels.asks_for_records() {
                turn.behind.push(self.application.subscriber());
            }
        }
        Next::Wait
    }

    /// The client's connection is dead: nothing more is sent, and the application gets an event.
    fn lose(&mut self, outcome: Outcome) {
        self.is_lost = true;
        self.outcome = outcome;
        self.link.out.clear();
        self.session.on_lost();
    }

    /// The session is over, and the client has been sent all of it.
    fn finish(&mut self, now: Instant) -> Next {
        self.record(now);
        let is_over = self.is_lost || self.link.read_closed;
        if is_over || self.link.transport.shutdown_write().is_err() {
            return Next::Close;
        }
        self.lingers = true;
        self.link.readable = true;
        self.link.deadline = now + LINGER;
        Next::Again
    }

    fn linger(&mut self, turn: &mut Turn) -> Next {
        for _ in 0..ROUNDS {
            match self.link.read(&mut turn.buffer) {
                Read::Bytes(_) | Read::Interrupted => {}
                Read::Blocked => return Next::Wait,
                Read::End | Read::Dead => return Next::Close,
            }
        }
        match self.link.deadline <= turn.now {
            true => Next::Close,
            false => Next::Again,
        }
    }

    fn record(&mut self, now: Instant) {
        let sent = self
            .link
            .out
            .departed()
            .saturating_sub(self.frames_begin_at);
        let departed = self.link.out.take_departed();
        self.response.set_body_bytes(sent);
        let (peer, context) = (&self.link.client, &self.context);
        (self.response).end(self.outcome, 0, departed, peer, context, now);
    }

    fn driven(mut self: Box<Self>, next: Next, now: Instant) -> Driven {
        match next {
            Next::Wait => Driven::Wait(self),
            Next::Again => Driven::Again(self),
            Next::Close => {
                self.record(now);
                Driven::Closed(self.link.slot.token())
            }
        }
    }
}

impl Protocol for HeldWebSocket {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    fn drive(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        // Reading finds out what has happened.
        self.link.readable |= self.link.hung_up;
        let next = self.step(turn);
        self.driven(next, turn.now)
    }

    fn expire(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        if self.lingers {
            return self.driven(Next::Close, turn.now);
        }
        if self.has_output() {
            // The kernel would otherwise keep the unsent output for as long as the client likes.
            self.link.transport.reset_on_close();
            self.lose(Outcome::TimedOut);
        }
        self.drive(turn)
    }

    fn channels(&mut self, _: u32) -> Option<&mut SubscribedChannels> {
        Some(&mut self.session.channels)
    }

    fn take_answer(
        &mut self,
        _: u32,
        number: u64,
        answer: Option<StoredResponse>,
        turn: &mut Turn,
    ) {
        if self.application.is_number(number) {
            self.take_response(answer.as_ref(), turn.now);
        }
    }

    fn publish(&mut self, _: u32, publication: &Publication, turn: &mut Turn) -> Delivery {
        let now = turn.now;
        self.change(|session, frames| session.on_publication(publication, now, frames))
    }

    fn activity(&self) -> Activity {
        match self.lingers {
            true => Activity::Lingering,
            false if self.session.is_busy() || self.has_output() => Activity::Sending,
            false => Activity::Subscribed,
        }
    }

    fn shorten_waiting(&mut self, by: Instant) {
        if self.lingers {
            self.link.deadline = self.link.deadline.min(by);
            return;
        }
        let now = Instant::now();
        (self.session).end_by(self.application.subscriber(), by, now);
        if !self.has_output() {
            self.link.deadline = self.link.deadline.min(self.session.next_time(now));
        }
    }
}
