//! The handshake of a held WebSocket: the application is asked, and its answer is that to the client.

use lockgate_http::LocalResponse;
use lockgate_http::websocket::Acceptance;
use lockgate_http::websocket::events::WebSocketEvent;
use lockgate_push::websocket_control::GripExtension;

use super::application::Application;
use crate::exchange::answer::Answer;
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::websocket_session::answer::{self, BadAnswer};

/// Fields of the answer that are for the server, or that the server sets itself.
const OWN_FIELDS: [&[u8]; 7] = [
    b"content-length",
    b"content-type",
    b"keep-alive-interval",
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
    b"sec-websocket-protocol",
    b"sec-websocket-version",
];

/// A handshake whose answer the application has not given yet, or has just given.
pub struct Opening {
    pub acceptance: Acceptance,
    pub application: Application,
    /// What the application has answered; the inner `None`: it has not.
    pub answer: Option<Option<StoredResponse>>,
}

/// What the client gets.
pub enum Outcome {
    /// The application accepts with this answer.
    Accepted(StoredResponse),
    /// It refuses with this response.
    Refused(StoredResponse),
    /// The server answers, because of this problem if there is one.
    Failed(Answer, Option<BadAnswer>),
}

/// What an answer to OPEN means; `size` is that of the largest event.
pub fn outcome_of(answer: Option<StoredResponse>, size: usize) -> Outcome {
    let failed = |status, problem| Outcome::Failed(LocalResponse::text(status, "").into(), problem);
    let Some(response) = answer else {
        return failed(500, Some(BadAnswer::Missing));
    };
    if response.head.status() != 200 || !answer::has_events(&response.head) {
        return Outcome::Refused(response);
    }
    match answer::read(Some(&response), size) {
        Ok((_, events)) => match events.first() {
            Some(WebSocketEvent::Open) => Outcome::Accepted(response),
            _ => failed(403, None),
        },
        Err(problem) => failed(500, Some(problem)),
    }
}

/// The extension that the application agrees on.
pub fn grip_of(response: &StoredResponse) -> Option<GripExtension> {
    GripExtension::from_field(response.head.header("sec-websocket-extensions")?)
}

/// The head of the 101 response.
pub fn switching_head(acceptance: &Acceptance, response: &StoredResponse) -> Vec<u8> {
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    let mut push = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    };
    let protocol = response.head.header("sec-websocket-protocol");
    let protocol = protocol.and_then(|name| str::from_utf8(name).ok());
    for (name, value) in acceptance.fields(protocol) {
        push(name.as_bytes(), value.as_bytes());
    }
    for (name, value) in response.head.headers() {
        if !is_own(name) {
            push(name, value);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn is_own(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    OWN_FIELDS.contains(&&*name) || name.starts_with(b"set-meta-") || name.starts_with(b"grip-")
}
