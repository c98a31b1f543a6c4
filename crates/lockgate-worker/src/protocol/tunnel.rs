//! A connection that has left HTTP (RFC 9110 §7.8): the event loop passes bytes between the client and the socket that
//! the application holds, over any transport.
//!
//! The application writes the head of the response itself, 101 as a rule, and then speaks whatever it has agreed on
//! with the client, WebSocket (RFC 6455) in practice. It never holds the client's descriptor, so limits, deadlines,
//! metrics, the access log and the end of the worker are those of any other connection.
//!
//! Invariants: at most one read of each side waits for the other one, so a side that does not read stops the other;
//! bytes of a direction stay in order. When the client has gone, the tunnel ends once the application has read and
//! written nothing for `write_timeout`.

mod frames;
mod response;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_observe::Outcome;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};

use self::frames::{FrameBoundary, GOING_AWAY, SERVER_GOES_AWAY};
pub(super) use self::response::TunnelResponse;
use crate::connection::link::{Link, Read};
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::event_loop::context::Context;
use crate::os::NO_SIGNAL;
use crate::transport::descriptors::TrackedFd;
use crate::transport::outbox::Flushed;

/// How often each side is read before other connections come first.
const ROUNDS: usize = 8;

/// After the application's end the client's input is read and dropped for this long, so that the reset that the kernel
/// sends for unread input cannot overtake the last bytes.
const LINGER: Duration = Duration::from_secs(5);

/// A tunnel without output has no deadline of its own: the application decides how long a silent client stays. Its timer
/// entry is renewed this often, so that closed tunnels leave no entries for longer.
const TIMER_INTERVAL: Duration = Duration::from_secs(600);

/// See the module documentation.
pub struct Tunnel {
    link: Link,
    context: Arc<Context>,
    /// The event loop's end of the socket pair; it does not block.
    application: Arc<TrackedFd>,
    /// What the client has sent and the application has not received yet.
    input: Vec<u8>,
    input_state: InputState,
    /// The client has gone: by then the application has to read or write something.
    idle_deadline: Option<Instant>,
    /// The application has ended its stream.
    is_output_over: bool,
    /// Only the client's close is awaited.
    lingers: bool,
    boundary: FrameBoundary,
    response: TunnelResponse,
}

/// What becomes of the client's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputState {
    /// They are passed to the application.
    Open,
    /// Nothing follows those that wait.
    Ending,
    /// The application has read the end of the stream, or reads no more.
    Over,
}

/// What follows a step.
enum Next {
    Wait,
    Again,
    Close,
}

impl Tunnel {
    /// `unread` is what the client has sent after its request.
    pub(super) fn new(
        link: Link,
        context: Arc<Context>,
        application: Arc<TrackedFd>,
        unread: Vec<u8>,
        response: TunnelResponse,
    ) -> Self {
        let mut boundary = FrameBoundary::default();
        boundary.advance(&unread);
        Self {
            link,
            context,
            application,
            input: unread,
            input_state: InputState::Open,
            idle_deadline: None,
            is_output_over: false,
            lingers: false,
            boundary,
            response,
        }
    }

    fn step(&mut self, turn: &mut Turn) -> Next {
        if self.lingers {
            return self.linger(turn);
        }
        for _ in 0..ROUNDS {
            let mut has_moved = self.send_input();
            if self.input.is_empty() && self.input_state == InputState::Open {
                match self.link.read(&mut turn.buffer) {
                    Read::Bytes(count) => {
                        turn.received += count as u64;
                        has_moved = true;
                        self.take_input(&turn.buffer[..count]);
                    }
                    Read::End => {
                        has_moved = true;
                        self.input_state = InputState::Ending;
                    }
                    // No further edge reports what an interrupted read has left.
                    Read::Interrupted => has_moved = true,
                    Read::Blocked => {}
                    Read::Dead => return self.lose(turn.now),
                }
            }
            if !self.link.has_output() && !self.is_output_over {
                has_moved |= self.take_output(turn);
            }
            if self.link.has_output() {
                let context = &self.context;
                match self.link.flush(|| context.write_rate()) {
                    Ok(Flushed::All) => {
                        has_moved = true;
                        self.idle_deadline = None;
                        self.link.deadline = turn.now + TIMER_INTERVAL;
                    }
                    // It sends no file.
                    Ok(Flushed::Blocked | Flushed::Reading) => {}
                    Ok(Flushed::Bounded) => return Next::Again,
                    Err(_) => return self.lose(turn.now),
                }
            }
            if self.is_output_over && !self.link.has_output() {
                return self.finish(turn.now);
            }
            if !has_moved {
                self.bound_idling(turn.now);
                return Next::Wait;
            }
        }
        Next::Again
    }

    /// Nothing reads the client's socket while input waits for the application: the end of a client that has gone is
    /// seen only here.
    fn bound_idling(&mut self, now: Instant) {
        if self.idle_deadline.is_none() && self.has_client_gone() {
            self.idle_deadline = Some(now + self.context.config.write_timeout);
        }
        // Output that waits has a deadline of its own.
        if let Some(deadline) = self.idle_deadline
            && !self.link.has_output()
        {
            self.link.deadline = deadline;
        }
    }

    /// Whether the client has gone, and no read will find that out.
    fn has_client_gone(&self) -> bool {
        if self.input.is_empty() && self.input_state == InputState::Open {
            return false;
        }
        let seen = self.link.look_at_socket();
        match self.input_state {
            // The application has all of the input. A client that only sends no more may wait for its answer.
            InputState::Over => seen.hung_up,
            InputState::Open | InputState::Ending => {
                seen.hung_up || seen.read_closed || self.link.read_closed
            }
        }
    }

    /// Whether the application has neither read nor written in time. The poller reports no room before most of the
    /// socket's buffer is free: sending finds out whether the application has read some of it.
    fn is_abandoned(&mut self, now: Instant) -> bool {
        !self.send_input() && self.idle_deadline.is_some_and(|deadline| deadline <= now)
    }

    fn take_input(&mut self, bytes: &[u8]) {
        self.boundary.advance(bytes);
        self.input.extend_from_slice(bytes);
        self.send_input();
    }

    /// Passes input to the application, and its end after the last byte. Returns whether anything has moved.
    fn send_input(&mut self) -> bool {
        let mut has_moved = false;
        while !self.input.is_empty() && self.input_state != InputState::Over {
            match rustix::net::send(&*self.application, &self.input, NO_SIGNAL) {
                Ok(count) => {
                    has_moved = true;
                    self.idle_deadline = None;
                    self.input.drain(..count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return has_moved,
                // The application reads no more; it may still write.
                Err(_) => self.input_state = InputState::Over,
            }
        }
        // An idle connection keeps no buffer.
        self.input = Vec::new();
        if self.input_state == InputState::Ending {
            self.input_state = InputState::Over;
            // It fails only if the application has closed its end, which the next read finds.
            let _closed = rustix::net::shutdown(&*self.application, Shutdown::Write);
            has_moved = true;
        }
        has_moved
    }

    /// Reads what the application has written. Returns whether anything has moved.
    fn take_output(&mut self, turn: &mut Turn) -> bool {
        match rustix::net::recv(&*self.application, &mut turn.buffer[..], RecvFlags::empty()) {
            Ok((_, 0)) => {
                self.is_output_over = true;
                // simple-websocket may end the call before its other thread has answered a close frame.
                if self.response.lacks_close_frame() {
                    if self.response.goes_away() {
                        self.link.out.append(&SERVER_GOES_AWAY);
                    } else if let Some(answer) = self.boundary.close_answer() {
                        self.link.out.append(&answer);
                    }
                }
            }
            Ok((_, count)) => {
                let written = &turn.buffer[..count];
                self.response.observe(written, &self.context, turn.now);
                self.link.out.append(written);
            }
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR) => {}
            Err(_) => self.is_output_over = true,
        }
        true
    }

    /// The application has ended its stream, and the client has been sent all of it.
    fn finish(&mut self, now: Instant) -> Next {
        let outcome = match self.response.has_head() {
            true => Outcome::Complete,
            false => Outcome::Aborted,
        };
        self.record(outcome, now);
        if self.link.read_closed || self.link.transport.shutdown_write().is_err() {
            return Next::Close;
        }
        self.lingers = true;
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
        if self.link.deadline <= turn.now {
            return Next::Close;
        }
        Next::Again
    }

    /// The client's connection is dead.
    fn lose(&mut self, now: Instant) -> Next {
        self.record(Outcome::ClientGone, now);
        Next::Close
    }

    fn record(&mut self, outcome: Outcome, now: Instant) {
        let unsent = self.link.out.len();
        let departed = self.link.out.take_departed();
        let peer = &self.link.client;
        (self.response).end(outcome, unsent, departed, peer, &self.context, now);
    }

    fn driven(mut self: Box<Self>, next: Next, now: Instant) -> Driven {
        match next {
            Next::Wait => Driven::Wait(self),
            Next::Again => Driven::Again(self),
            Next::Close => {
                self.record(Outcome::ClientGone, now);
                Driven::Closed(self.link.slot.token())
            }
        }
    }
}

impl Protocol for Tunnel {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    fn drive(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        // The events of two descriptors are reported together: which of them has ended, a read or a write tells.
        self.link.hung_up = false;
        self.link.read_closing = false;
        let next = self.step(turn);
        self.driven(next, turn.now)
    }

    fn expire(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        let next = match self.link.has_output() {
            _ if self.lingers => Next::Close,
            true => {
                // The kernel would otherwise keep the unsent output for as long as the client likes.
                self.link.transport.reset_on_close();
                self.record(Outcome::TimedOut, turn.now);
                Next::Close
            }
            false if self.is_abandoned(turn.now) => self.lose(turn.now),
            false => {
                self.link.deadline = turn.now + TIMER_INTERVAL;
                self.step(turn)
            }
        };
        self.driven(next, turn.now)
    }

    fn activity(&self) -> Activity {
        match self.lingers {
            true => Activity::Lingering,
            false => Activity::Sending,
        }
    }

    /// The application reads the end of the client's stream, after the close frame of a client that goes away (RFC 6455
    /// §7.4.1): it closes the connection properly within the time that the worker has.
    fn shorten_waiting(&mut self, by: Instant) {
        if self.lingers {
            self.link.deadline = self.link.deadline.min(by);
        }
        if self.input_state != InputState::Open {
            return;
        }
        if self.response.is_websocket() && self.boundary.may_close() {
            self.input.extend_from_slice(&GOING_AWAY);
            self.response.worker_goes_away();
        }
        self.input_state = InputState::Ending;
        self.send_input();
    }
}

/// A pair of sockets: the event loop's end, which does not block, and the application's.
///
/// # Errors
/// The system's, when descriptors are used up.
pub(super) fn socket_pair() -> io::Result<(TrackedFd, std::os::fd::OwnedFd)> {
    let (own, given) = std::os::unix::net::UnixStream::pair()?;
    own.set_nonblocking(true)?;
    let own = crate::transport::descriptors::move_up(own.into());
    Ok((TrackedFd::new(own), given.into()))
}
