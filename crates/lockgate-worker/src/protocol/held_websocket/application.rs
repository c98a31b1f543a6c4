//! The application of a held WebSocket, as the connection reaches it: one request after the other, at the target of the
//! handshake.

use std::sync::Arc;

use lockgate_http::websocket::CloseCode;

use crate::connection::turn::Turn;
use crate::event_loop::context::Context;
use crate::exchange::origin::{NotMade, Origin, Subrequest};
use crate::exchange::request::Request;
use crate::exchange::subscriber::Subscriber;
use crate::exchange::websocket_session::answer::MEDIA_TYPE;
use crate::os::fill_random;
use crate::protocol::subrequest::{Asked, dispatch, next_number};

/// The body of a response may be as long as this many messages of the largest size.
const MESSAGES_PER_RESPONSE: usize = 16;

/// See the module documentation.
pub struct Application {
    origin: Box<Origin>,
    /// The same in all requests of the connection.
    connection_id: String,
    subscriber: Subscriber,
    /// The number of the last request.
    number: u64,
}

impl Application {
    /// The application that gets this handshake.
    pub fn of(request: &Request, subscriber: Subscriber) -> Self {
        let mut id = [0; 16];
        // Without randomness, which the system always has, the token still differs between the connections of a worker.
        if fill_random(&mut id).is_err() {
            id[..8].copy_from_slice(&subscriber.token.to_be_bytes());
        }
        Self {
            origin: Box::new(Origin::of(request)),
            connection_id: format!("{:032x}", u128::from_be_bytes(id)),
            subscriber,
            number: 0,
        }
    }

    /// Whether this is the number of the last request: an answer may be for an earlier response of the connection.
    pub fn is_number(&self, number: u64) -> bool {
        self.number == number
    }

    pub fn subscriber(&self) -> Subscriber {
        self.subscriber
    }

    /// The target of the handshake, for logs.
    pub fn target(&self) -> String {
        String::from_utf8_lossy(self.origin.head().target()).into_owned()
    }

    /// Dispatches a request with these events.
    ///
    /// # Errors
    /// [`NotMade`].
    pub fn ask<'m>(
        &mut self,
        events: &[u8],
        meta: impl Iterator<Item = (&'m str, &'m str)>,
        context: &Arc<Context>,
        turn: &mut Turn,
    ) -> Result<(), NotMade> {
        let meta: Vec<_> = meta
            .map(|(name, value)| (["Meta-", name].concat(), value))
            .collect();
        let mut fields: Vec<(&[u8], &[u8])> = vec![
            (b"Connection-Id", self.connection_id.as_bytes()),
            (b"Content-Type", MEDIA_TYPE.as_bytes()),
            (b"Accept", MEDIA_TYPE.as_bytes()),
            (b"Sec-WebSocket-Extensions", b"grip"),
        ];
        for (name, value) in &meta {
            fields.push((name.as_bytes(), value.as_bytes()));
        }
        let subrequest = Subrequest {
            method: b"POST",
            target: self.origin.head().target(),
            fields: &fields,
            omits: is_omitted,
            body: Some(events),
        };
        let mut request =
            (self.origin).request(subrequest, &context.limits, &context.bodies.pool)?;
        let head = self.origin.head();
        if head.is_rewritten() {
            request.head.rewrite(head.path(), Some(head.query()));
        }
        self.number = next_number(turn);
        let asked = Asked {
            subscriber: self.subscriber,
            number: self.number,
            limit: context.config.push.message_limit * MESSAGES_PER_RESPONSE,
        };
        dispatch(request, asked, context, turn);
        Ok(())
    }
}

/// Fields of the handshake that the application does not get: those of the server's own side, and those that only the
/// application may set. An underscore is a hyphen to applications of WSGI.
fn is_omitted(name: &[u8]) -> bool {
    const HANDSHAKE: [&[u8]; 2] = [b"sec-websocket-key", b"sec-websocket-version"];
    const OWN: [&[u8]; 3] = [b"connection-id", b"grip-sig", b"meta"];
    let mut name = name.to_ascii_lowercase();
    for byte in &mut name {
        if *byte == b'_' {
            *byte = b'-';
        }
    }
    HANDSHAKE.contains(&&*name) || OWN.contains(&&*name) || name.starts_with(b"meta-")
}

/// The code that the client gets when the application cannot be asked.
pub fn code_of(problem: NotMade) -> CloseCode {
    match problem {
        NotMade::NoMemory => CloseCode::TRY_AGAIN_LATER,
        NotMade::Invalid(_) => CloseCode::INTERNAL_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_set_what_only_the_application_may() {
        for (name, expected) in [
            ("Meta-User", true),
            ("meta_user", true),
            ("Connection-Id", true),
            ("CONNECTION_ID", true),
            ("Sec-WebSocket-Key", true),
            ("Sec-WebSocket-Protocol", false),
            ("Metadata", false),
            ("Cookie", false),
        ] {
            assert_eq!(is_omitted(name.as_bytes()), expected, "{name}");
        }
    }
}
