//! GRIP: the application instructs the server by its response to keep it open for messages.
//!
//! Each request gets a Grip-Sig, by which libraries for GRIP recognise the server, and each writer is wrapped: the
//! wrapper looks for an instruction in the head of the response.

mod collected;
mod writer;

use std::cell::RefCell;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_http::LocalResponse;
use lockgate_observe::Level;
use lockgate_push::signature::sign;
use lockgate_push::{InstructionLimits, is_grip_field};
use lockgate_shm::Log;

use self::writer::GripWriter;
use crate::date::unix_seconds;
use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::origin::Origin;
use crate::exchange::request::Request;
use crate::exchange::stored_response::is_media_type;
use crate::exchange::subscribed_channels::Rules;
use crate::exchange::websocket_session::answer::{MEDIA_TYPE, is_held_websocket};
use crate::log::ErrorLog;
use crate::log::throttle::SharedThrottle;

/// The issuer in Grip-Sig.
const ISSUER: &str = "lockgate";

/// How long a Grip-Sig is valid, and after which time a new one is made.
const VALID_FOR: Duration = Duration::from_secs(3600);
const RENEWED_AFTER: Duration = Duration::from_secs(600);

/// See the module documentation.
pub struct Grip {
    shared: Arc<Shared>,
    websocket_prefixes: Vec<String>,
    key: Vec<u8>,
    signature: RefCell<Option<(Instant, Vec<u8>)>>,
}

/// What the writers need.
struct Shared {
    rules: Rules,
    error_log: Arc<ErrorLog>,
    /// Bytes of a response that waits until its time is over.
    response_limit: usize,
    problems: SharedThrottle,
}

impl Grip {
    /// The handler, if `push` is on.
    ///
    /// # Errors
    /// The system's error when it gives no random key.
    pub fn new(config: &Config, log: Option<Log>, error_log: &Arc<ErrorLog>) -> Option<Self> {
        let push = &config.push;
        let shared = Shared {
            rules: Rules {
                log: log?,
                limits: InstructionLimits {
                    channels: push.channels,
                },
            },
            error_log: Arc::clone(error_log),
            response_limit: push.message_limit,
            problems: SharedThrottle::default(),
        };
        Some(Self {
            shared: Arc::new(shared),
            websocket_prefixes: push.websocket_over_http.clone(),
            key: match &push.grip_key {
                Some(key) => key.bytes().to_vec(),
                // The application cannot check it, but libraries look whether there is one.
                None => b"no key is set (setting: grip_key)".to_vec(),
            },
            signature: RefCell::new(None),
        })
    }

    /// Whether a client sends what an application takes for events of a WebSocket that the server holds.
    fn is_forged(&self, request: &Request) -> bool {
        !request.is_subrequest
            && is_held_websocket(&request.head, &self.websocket_prefixes)
            && is_media_type(request.head.header("content-type"), MEDIA_TYPE.as_bytes())
    }

    fn sign(&self, request: &mut Request, now: Instant) {
        let mut signature = self.signature.borrow_mut();
        let is_fresh = |made: &Instant| now.saturating_duration_since(*made) < RENEWED_AFTER;
        let (_, signature) = match &mut *signature {
            Some(present) if is_fresh(&present.0) => present,
            place => {
                let expires = unix_seconds() + VALID_FOR.as_secs();
                place.insert((now, sign(ISSUER, expires, &self.key).into_bytes()))
            }
        };
        request.head.set_field(b"Grip-Sig", signature);
    }
}

impl Handler for Grip {
    fn concerns(&self, _: &Request) -> bool {
        true
    }

    fn handle(&self, mut exchange: Exchange) -> Handled {
        if self.is_forged(&exchange.request) {
            let detail = "events of a WebSocket come from the server itself";
            return Handled::Answer(exchange, LocalResponse::text(403, detail).into());
        }
        if !exchange.request.is_subrequest {
            // What a client sends under these names must not look as if the server had sent it.
            exchange.request.head.remove_fields(is_grip_field);
        }
        self.sign(&mut exchange.request, exchange.ready_at);
        if exchange.request.is_subrequest {
            return Handled::Pass(exchange);
        }
        let writer = GripWriter::new(
            exchange.writer,
            Arc::clone(&self.shared),
            Origin::of(&exchange.request),
        );
        exchange.writer = Box::new(writer);
        Handled::Pass(exchange)
    }
}

impl Shared {
    /// Logs that the server cannot follow an instruction, from time to time. `target` is that of the request.
    fn report(&self, target: &str, problem: &dyn Display, now: Instant) {
        let Some(more) = self.problems.record(now) else {
            return;
        };
        let message =
            format!("cannot hold the response to {target}: {problem}; the client gets 500{more}");
        self.error_log.write_unless_blocked(Level::Error, &message);
    }
}
