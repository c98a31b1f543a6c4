//! What the fuzz targets share: a player of bytes, limits that short input reaches, and the parsers of
//! others to compare with.

pub mod h2_server;
pub mod hyper_server;

#[path = "../../crates/lockgate-http/tests/replay/mod.rs"]
pub mod replay;

#[path = "../../crates/lockgate-http/tests/packets/mod.rs"]
pub mod packets;

#[path = "../../crates/lockgate-http/tests/websocket/peer.rs"]
pub mod websocket;

use lockgate_http::Limits;

/// Small enough for generated input to reach every limit.
pub const SMALL: Limits = Limits {
    request_line: 60,
    fields: 5,
    field_size: 40,
    head: 160,
    body: 40,
    chunk_line: 20,
    trailers: 50,
};

/// Checks that heads and bodies stay inside the limits.
pub fn check_bounds(transcript: &replay::Transcript, limits: &Limits) {
    for message in &transcript.messages {
        assert!(message.head_bytes.len() <= limits.head);
        assert!(message.headers.len() + message.dropped <= limits.fields);
        assert!(message.body.len() as u64 <= limits.body);
    }
}
