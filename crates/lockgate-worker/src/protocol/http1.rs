//! One connection of HTTP/1, or of the uwsgi protocol, whose responses are those of HTTP/1: what it is doing, and what
//! the event loop has to do next.
//!
//! The connection is also the writer of its response: a thread that runs a request owns the whole connection meanwhile.
//!
//! Invariants: at most one request is with the application at a time; input beyond it waits in `unread`; the link's
//! deadline is always the one of the current phase.

mod body_source;
mod error_response;
mod hand_over;
mod http2_preface;
mod opening;
mod request_head;
mod request_reader;
mod response_state;
mod subscribed;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::{Refusal, RequestParser};
use lockgate_observe::{Loss, Outcome};

use self::request_reader::RequestReader;
use self::response_state::ResponseState;
use crate::connection::link::{Link, Read};
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::event_loop::context::Context;
use crate::event_loop::handle::SharedEventLoop;
use crate::exchange::Exchange;
use crate::exchange::client_identity::ClientIdentity;
use crate::exchange::publication::{Delivery, Publication};
use crate::exchange::request::Request;
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscribed_channels::SubscribedChannels;
use crate::exchange::subscription::Subscription;
use crate::protocol::held_websocket::Opening;
use crate::protocol::http2::Http2;
use crate::transport::outbox::Flushed;

/// Lingering close: after a refusal, input is read and dropped, so that the reset that the kernel sends for unread
/// input cannot overtake the answer (RFC 9112 §9.6). As in nginx: 5 s of silence, 30 s in all.
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_AT_MOST: Duration = Duration::from_secs(30);

/// What the connection is doing while the event loop owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for a request, or receiving one.
    Reading,
    /// The response is queued in full and waits for the socket.
    Writing,
    /// The response is open and waits for messages.
    Subscribed,
    /// The application is asked whether it accepts a WebSocket.
    Opening,
    /// The response has been sent and the sending side is closed; the client may still be sending.
    Lingering { until: Instant },
}

/// What the owner has to do next.
enum Next {
    /// Wait for an event or the deadline.
    Wait,
    /// There is more to read, but other connections come first.
    Again,
    /// Run the request.
    Dispatch(Box<Request>),
    /// Flush the output queue, then continue.
    Flush,
    /// Drop the connection.
    Close,
    /// The client speaks HTTP/2. What was received of it is unread.
    SpeakHttp2,
    /// The application has accepted a WebSocket.
    SpeakWebSocket,
}

/// See the module documentation.
pub struct Http1 {
    link: Link,
    context: Arc<Context>,
    event_loop: Arc<SharedEventLoop>,
    phase: Phase,
    reader: RequestReader,
    response: ResponseState,
    /// Of the response in [`Phase::Subscribed`].
    subscription: Option<Box<Subscription>>,
    /// The handshake in [`Phase::Opening`].
    opening: Option<Box<Opening>>,
    /// Number of responses so far.
    served: u64,
}

impl Http1 {
    pub fn new(
        context: Arc<Context>,
        event_loop: Arc<SharedEventLoop>,
        link: Link,
        parser: RequestParser,
    ) -> Self {
        let names_client = link.local.is_tls || link.local.is_uwsgi;
        Self {
            reader: RequestReader::new(parser, ClientIdentity::new(&context.proxies, names_client)),
            response: ResponseState {
                rules: context.server_rules(),
                ..ResponseState::default()
            },
            link,
            context,
            event_loop,
            phase: Phase::Reading,
            subscription: None,
            opening: None,
            served: 0,
        }
    }

    /// Whether no byte of a request has arrived.
    fn is_between_requests(&self) -> bool {
        self.phase == Phase::Reading && self.reader.is_idle()
    }

    /// Whether there is input to parse, or to read without waiting for an event.
    fn has_input(&self) -> bool {
        self.reader.has_unread() || self.link.readable
    }

    /// Whether the current request is the last one that the connection serves.
    fn is_last_request(&self) -> bool {
        let limit = self.context.config.limits.requests_per_connection;
        limit != 0 && self.served + 1 >= limit
    }

    /// Does what is possible now.
    #[inline]
    fn step(&mut self, turn: &mut Turn) -> Next {
        if !self.link.has_output() && self.phase != Phase::Writing {
            return match self.phase {
                Phase::Lingering { .. } => self.linger(turn),
                Phase::Subscribed => self.wait_for_messages(turn),
                Phase::Opening => self.wait_for_acceptance(turn),
                _ if self.link.hung_up => self.lose(turn.now),
                _ if self.link.slot.hold().keeps_next_request() => Next::Wait,
                _ => self.receive(turn),
            };
        }
        match self.flush_link() {
            Ok(Flushed::Blocked) if self.reader.discards_input() => self.discard_input(turn),
            Ok(Flushed::Blocked) => Next::Wait,
            Ok(Flushed::Bounded) => Next::Again,
            Ok(Flushed::Reading) => self.read_ahead(turn.now),
            Ok(Flushed::All) if self.phase == Phase::Writing => {
                self.count_response(turn.now);
                match self.end_response(turn.now) {
                    Next::Wait if self.has_input() => Next::Flush,
                    next => next,
                }
            }
            Ok(Flushed::All) => Next::Flush,
            Err(_) => self.lose(turn.now),
        }
    }

    /// Reads and drops input after the response has been sent. `Close` when the client is done.
    fn linger(&mut self, turn: &mut Turn) -> Next {
        let Phase::Lingering { until } = self.phase else {
            return Next::Close;
        };
        for _ in 0..request_reader::READS_AT_ONCE {
            match self.link.read(&mut turn.buffer) {
                Read::Bytes(_) => self.link.deadline = until.min(turn.now + LINGER_SILENCE),
                Read::Blocked => return Next::Wait,
                Read::Interrupted => {}
                Read::End | Read::Dead => return Next::Close,
            }
        }
        Next::Again
    }

    /// Reads and drops the rest of a body that the application has not read: a client that sends all of its request
    /// before it reads the response would wait for the server, and the server for the client.
    #[cold]
    fn discard_input(&mut self, turn: &mut Turn) -> Next {
        for _ in 0..request_reader::READS_AT_ONCE {
            if !self.link.readable {
                return Next::Wait;
            }
            match self.link.read(&mut turn.buffer) {
                Read::Bytes(_) | Read::Interrupted => {}
                Read::Blocked | Read::End => return Next::Wait,
                Read::Dead => return self.lose(turn.now),
            }
        }
        // A client that sends without a pause never waits in its slot, where its deadline would be checked.
        if self.link.deadline <= turn.now {
            return self.time_out(turn.now);
        }
        Next::Again
    }

    /// Moves queued output to the socket.
    ///
    /// # Errors
    /// When the peer can receive nothing more.
    fn flush_link(&mut self) -> io::Result<Flushed> {
        self.response.is_committed = true;
        let context = &self.context;
        let flushed = self.link.flush(|| context.write_rate());
        if let Err(error) = &flushed
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            context.report_changed_file();
        }
        flushed
    }

    /// The response continues when another thread has read the next part of its file.
    #[cold]
    fn read_ahead(&mut self, now: Instant) -> Next {
        let context = &self.context;
        self.link.deadline = now + context.config.write_timeout;
        self.link.read_ahead(&context.blocking, &context.inbox);
        Next::Wait
    }

    /// The response has been sent in full. Returns whether the connection continues.
    fn end_response(&mut self, now: Instant) -> Next {
        self.record(Outcome::Complete, now);
        self.response.body = None;
        self.response.is_committed = false;
        let is_over = self.link.read_closed && !self.reader.has_unread();
        if self.response.closes || self.link.hung_up || is_over {
            return self.end_connection(now);
        }
        self.reader.next_message();
        // A head that is refused before it has a route gets those of the server.
        self.response.rules = self.context.server_rules();
        self.phase = Phase::Reading;
        self.served += 1;
        self.begin_waiting(now);
        Next::Wait
    }

    /// From now on the connection may wait for its next request as long as `keep_alive` allows.
    fn begin_waiting(&mut self, now: Instant) {
        self.link.deadline = now + self.context.config.keep_alive;
    }

    /// The response was the last one. The kernel answers unread input with a reset, which discards what the client has
    /// not yet received; a client that expects to continue may have sent input at any moment.
    fn end_connection(&mut self, now: Instant) -> Next {
        self.link.record_pending();
        let may_send = self.has_input() || self.response.client_keeps_alive;
        if may_send && !self.link.is_over() {
            return self.begin_lingering(now);
        }
        Next::Close
    }

    /// Closes the sending side and waits for the client to close.
    fn begin_lingering(&mut self, now: Instant) -> Next {
        self.reader.take_unread();
        self.link.out.clear();
        if self.link.transport.shutdown_write().is_err() {
            return Next::Close;
        }
        let until = now + LINGER_AT_MOST;
        self.phase = Phase::Lingering { until };
        self.link.deadline = until.min(now + LINGER_SILENCE);
        // The edge may be used up already: read until the socket is empty.
        self.link.readable = true;
        Next::Again
    }

    /// What the end of the current phase's time means.
    fn time_out(&mut self, now: Instant) -> Next {
        match self.phase {
            // The time for a next request starts when that request can be called.
            Phase::Reading if self.link.slot.hold().keeps_next_request() => {
                self.begin_waiting(now);
                Next::Wait
            }
            Phase::Reading if self.reader.is_reading_body() => {
                self.refuse(Refusal::BodyTooSlow.into(), Outcome::TimedOut, now)
            }
            Phase::Reading if self.reader.has_begun_head() => {
                self.reader.cut_head();
                self.refuse(Refusal::HeadTooSlow.into(), Outcome::TimedOut, now)
            }
            Phase::Subscribed | Phase::Opening if !self.link.has_output() => Next::Wait,
            Phase::Writing | Phase::Subscribed | Phase::Opening => {
                self.time_out_writing(now);
                Next::Close
            }
            Phase::Reading | Phase::Lingering { .. } => Next::Close,
        }
    }

    /// The client reads too slowly. The close becomes a reset, because the kernel would otherwise keep the unsent
    /// output for as long as the client likes.
    fn time_out_writing(&mut self, now: Instant) {
        self.link.hung_up = true;
        self.link.transport.reset_on_close();
        self.record(Outcome::TimedOut, now);
        self.count_loss(Loss::ClientTooSlow);
    }

    /// The connection ended during a request or a response: only its log line can still be written.
    fn lose(&mut self, now: Instant) -> Next {
        self.record(Outcome::ClientGone, now);
        self.count_loss(Loss::ClientGone);
        Next::Close
    }

    /// The client has begun with the preface of HTTP/2 (RFC 9113 §3.3, prior knowledge).
    #[cold]
    fn speak_http2(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        let received = self.reader.take_unread();
        let identity = self.reader.into_identity();
        let (context, event_loop) = (self.context, self.event_loop);
        Box::new(Http2::new(
            context, event_loop, self.link, identity, received, turn.now,
        ))
        .drive(turn)
    }

    /// The request is complete: the connection goes to the thread that runs it.
    fn dispatch(mut self: Box<Self>, request: Box<Request>, turn: &mut Turn) -> Driven {
        let ready_nanos = self.context.metrics.nanos(turn.arrived_at);
        if let Some(output) = turn.spare_output() {
            self.link.out.give_spare(output);
        }
        self.begin_response(ready_nanos);
        if self.context.broadcast.is_some()
            && let Some(acceptance) = self.opens_websocket(&request)
        {
            return self.open_websocket(request, acceptance, turn);
        }
        turn.dispatch(Exchange::new(request, self, turn.arrived_at, ready_nanos));
        Driven::Lent
    }
}

impl Protocol for Http1 {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    fn drive(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        loop {
            match self.step(turn) {
                Next::Flush => {}
                Next::Dispatch(request) => return self.dispatch(request, turn),
                Next::Wait => return Driven::Wait(self),
                Next::Again => return Driven::Again(self),
                Next::Close => return Driven::Closed(self.link.slot.token()),
                Next::SpeakHttp2 => return self.speak_http2(turn),
                Next::SpeakWebSocket => return self.speak_websocket(turn),
            }
        }
    }

    fn expire(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        match self.time_out(turn.now) {
            Next::Close => Driven::Closed(self.link.slot.token()),
            _ => self.drive(turn),
        }
    }

    fn resume(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        // Or a part of a file has been read.
        if self.phase != Phase::Writing {
            self.begin_waiting(turn.now);
        }
        self.drive(turn)
    }

    fn channels(&mut self, _: u32) -> Option<&mut SubscribedChannels> {
        Some(self.subscription.as_mut()?.channels())
    }

    fn take_answer(
        &mut self,
        _: u32,
        number: u64,
        answer: Option<StoredResponse>,
        turn: &mut Turn,
    ) {
        match &mut self.opening {
            Some(opening) if opening.application.is_number(number) => opening.answer = Some(answer),
            _ => self.take_page(number, answer.as_ref(), turn),
        }
    }

    fn publish(&mut self, _: u32, publication: &Publication, turn: &mut Turn) -> Delivery {
        self.take_publication(publication, turn)
    }

    fn is_bulk(&self) -> bool {
        match self.phase {
            Phase::Reading => self.reader.is_reading_body(),
            Phase::Lingering { .. } => true,
            Phase::Writing | Phase::Subscribed | Phase::Opening => false,
        }
    }

    fn activity(&self) -> Activity {
        match self.phase {
            Phase::Lingering { .. } => Activity::Lingering,
            Phase::Writing | Phase::Opening => Activity::Sending,
            Phase::Subscribed => Activity::Subscribed,
            Phase::Reading if self.reader.is_reading_body() => Activity::ReceivingBody,
            Phase::Reading => {
                let is_quiet =
                    self.reader.is_idle() && self.link.out.is_empty() && !self.link.read_closing;
                if self.served > 0 && is_quiet {
                    Activity::KeepAlive
                } else {
                    Activity::Receiving
                }
            }
        }
    }

    /// The time of a held connection has not begun.
    fn shorten_waiting(&mut self, by: Instant) {
        if self.phase == Phase::Subscribed {
            self.end_subscription_by(by);
        } else if self.is_between_requests() && !self.link.slot.hold().is_held() {
            self.link.deadline = self.link.deadline.min(by);
        } else if let Phase::Lingering { until } = &mut self.phase {
            *until = by.min(*until);
            self.link.deadline = self.link.deadline.min(by);
        }
    }
}
