//! HTTP for servers, sans I/O: bytes in, events out. Sockets, clocks and threads belong to the caller.
//!
//! Feed a [`RequestParser`] the received bytes and take [`Event`]s; build a [`ResponseHead`] and let [`encode_head`]
//! decide how its body is delimited. Each fault of a peer is one variant of [`Refusal`], with its status; each fault of
//! an application is a [`BadResponse`].
#![forbid(unsafe_code)]

mod request;
mod request_builder;

mod response;

mod local_response;

mod error;
mod limits;
mod status;

mod http1;
pub mod http2;
mod rules;

pub mod accept_encoding;
pub mod cache_control;
pub mod conditional;
pub mod etag;
pub mod hex;
pub mod http_date;
pub mod range;
pub mod request_start;
pub mod trace_context;

pub mod uwsgi;
pub mod websocket;

mod proxy_protocol;

mod span;

pub use error::{BadResponse, Refusal, ShortBody};
pub use http1::encode::{ResponseContext, encode_head};
pub use http1::interim::{CONTINUE, encode_interim_head};
pub use http1::parser::{Event, RequestParser};
pub use http1::response_body::{Frame, FramePrefix, ResponseBody};
pub use limits::Limits;
pub use local_response::LocalResponse;
pub use proxy_protocol::{
    MalformedProxyHeader, ProxyHeader, ProxyProtocol, ProxySource, read_proxy_header,
};
pub use request::{Framing, RequestHead, Version};
pub use request_builder::{ControlData, RequestHeadBuilder};
pub use response::ResponseHead;
pub use rules::content::BodyLength;
pub use rules::forwarded::{ForwardedIdentity, ForwardingRules, Hop, HopHeaders, SchemeHeader};
pub use rules::target::decode_path;
pub use status::reason_phrase;
