//! WebSocket (RFC 6455) as clients speak it: a table after Autobahn's cases, every cut of the input, and tungstenite as
//! the other side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod autobahn;
mod events;
mod handshake;
mod messages;
mod peer;
mod utf8_sequences;
