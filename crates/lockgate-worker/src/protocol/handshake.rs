//! A connection whose transport has not finished its handshake (TLS). It becomes a connection of the protocol that the
//! handshake agrees on.
//!
//! Handshakes are bulk work of the event loop: requests of other clients come first.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{Limits, LocalResponse, RequestHead, RequestParser, ResponseContext};
use lockgate_observe::{HandshakeResult, Level, Outcome};
use lockgate_tls::ACME_TLS_ALPN;

use crate::connection::link::Link;
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::date::with_date;
use crate::event_loop::context::Context;
use crate::log::access_log::Entry;
use crate::transport::{Handshake, HandshakeFailure};

/// Makes the connection for the protocol that the handshake has agreed on.
pub type Speak = Box<dyn Fn(Option<&[u8]>, Link) -> Box<dyn Protocol> + Send>;

/// See the module documentation.
pub struct Handshaking {
    link: Link,
    context: Arc<Context>,
    speak: Speak,
}

impl Handshaking {
    pub fn new(link: Link, context: Arc<Context>, speak: Speak) -> Self {
        Self {
            link,
            context,
            speak,
        }
    }

    fn fail(&mut self, error: &io::Error, now: Instant) -> Driven {
        let failure = HandshakeFailure::of(error);
        let reason = failure.map_or_else(|| error.to_string(), ToString::to_string);
        report(&self.context, &self.link, &reason);
        if let Some(HandshakeFailure::PlainHttp(first)) = failure {
            self.refuse_plain_http(first, now);
        }
        Driven::Closed(self.link.slot.token())
    }

    /// Answers a request that came without TLS, of which these bytes have arrived.
    fn refuse_plain_http(&mut self, first: &[u8], now: Instant) {
        const STATUS: u16 = 400;
        let context = &self.context;
        let text =
            "this port speaks HTTPS, and the request came without TLS: use https:// in the URL";
        let response = LocalResponse::text(STATUS, text).closing();
        let mut answer = Vec::new();
        let body_bytes = with_date(|date| {
            let server = context.server_header.as_deref();
            response.encode(&mut answer, &ResponseContext::closing(false, date, server))
        });
        // A failure here has no remedy: the connection is closed in any case.
        let _ = self.link.transport.write(&[IoSlice::new(&answer)]);
        let _ = self.link.transport.shutdown_write();
        if context.records_requests() {
            let mut entry = Entry::take();
            read_head(first, &context.limits, &mut entry.head);
            entry.started = Some(now);
            entry.status = STATUS;
            entry.reason = Some("http_on_tls_port");
            context.record(
                &entry,
                &self.link.client,
                body_bytes as u64,
                Outcome::Refused,
                now,
            );
            entry.reuse();
        }
    }
}

/// Reads as much of a head as these bytes have, for the log.
fn read_head(bytes: &[u8], limits: &Arc<Limits>, head: &mut RequestHead) {
    let mut parser = RequestParser::new(Arc::clone(limits));
    // A faulty head is filled up to its fault.
    let _ = parser.step(bytes, head);
    parser.cut_head(head);
}

fn report(context: &Context, link: &Link, reason: &str) {
    context.metrics.record_handshake(HandshakeResult::Failed);
    let client = link.client.shown();
    context.error_log.write_unless_blocked(
        Level::Debug,
        &format!("TLS handshake with {client} failed: {reason}"),
    );
}

impl Protocol for Handshaking {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    fn drive(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        if self.link.hung_up {
            return Driven::Closed(self.link.slot.token());
        }
        match self.link.transport.handshake() {
            // The authority has seen the certificate, which is all that it wants (RFC 8737 §3).
            Ok(Handshake::Done { alpn, .. }) if alpn.as_deref() == Some(ACME_TLS_ALPN) => {
                Driven::Closed(self.link.slot.token())
            }
            Ok(Handshake::Done {
                alpn,
                is_drained,
                is_resumed,
            }) => {
                self.context.metrics.record_handshake(if is_resumed {
                    HandshakeResult::Resumed
                } else {
                    HandshakeResult::Full
                });
                let Self {
                    mut link,
                    context,
                    speak,
                } = *self;
                // What follows the handshake may have arrived with it, and no edge reports it again.
                link.readable = !is_drained || link.read_closing;
                link.deadline = turn.now + context.config.head_timeout;
                speak(alpn.as_deref(), link).drive(turn)
            }
            Ok(Handshake::WantRead | Handshake::WantWrite) => Driven::Wait(self),
            Err(error) => self.fail(&error, turn.now),
        }
    }

    /// The time for the handshake is over.
    fn expire(self: Box<Self>, _turn: &mut Turn) -> Driven {
        let reason = "it took too long, see tls_handshake_timeout";
        report(&self.context, &self.link, reason);
        Driven::Closed(self.link.slot.token())
    }

    fn is_bulk(&self) -> bool {
        true
    }

    fn activity(&self) -> Activity {
        Activity::Receiving
    }

    fn shorten_waiting(&mut self, by: Instant) {
        self.link.deadline = self.link.deadline.min(by);
    }
}
