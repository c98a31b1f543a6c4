//! HTTP/2 (RFC 9113) as a sans-I/O state machine, the side of the server.
//!
//! Feed a [`Connection`] the received bytes, take [`Event`]s, and let it write the frames of responses. It has the
//! streams, the flow control of both directions and the budgets against floods; what a request may be is decided by the
//! rules of HTTP/1.

mod connection;
mod event;

mod request_fields;
mod response_fields;

mod malformed;

mod streams;

mod flow_control;

mod priority;

mod settings;

mod abuse;

mod frame;

mod connection_error;

mod error_code;

pub mod hpack;

pub use abuse::CONTROL_LIMIT;
pub use connection::{Connection, GoAway, PREFACE, Scratch};
pub use connection_error::ConnectionError;
pub use error_code::ErrorCode;
pub use event::Event;
pub use frame::StreamId;
pub use priority::Priority;
pub use response_fields::encode_response_head;
pub use settings::Http2Settings;
