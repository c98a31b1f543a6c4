//! Requests and memory for the tests of stages.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lockgate_config::{LogLevel, LogTarget};
use lockgate_http::RequestParser;

use crate::client::Client;
use crate::exchange::request::Request;
use crate::log::ErrorLog;
use lockgate_observe::Scoreboard;

/// A request with its head, as a stage sees it. An empty client is one on a unix socket.
pub fn request(client: &str, host: &str, target: &str) -> Request {
    request_with(
        client,
        &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    )
}

/// A request with this head.
pub fn request_with(client: &str, head: &str) -> Request {
    let mut request = Request::default();
    RequestParser::new(lockgate_http::Limits::default())
        .step(head.as_bytes(), &mut request.head)
        .unwrap(); // The heads of the tests are valid.
    request.client = Arc::new(Client::new(client, ""));
    request
}

pub fn scoreboard() -> Scoreboard {
    let words: Vec<AtomicU64> = (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect();
    Scoreboard::new(Vec::leak(words))
}

/// A log that nothing reads.
pub fn error_log() -> Arc<ErrorLog> {
    let log = ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical);
    Arc::new(log.unwrap()) // It is open already.
}
