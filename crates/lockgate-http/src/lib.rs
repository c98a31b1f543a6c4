//! HTTP/1.1, server side, sans I/O: bytes in, events out. Sockets, clocks and threads belong to the caller.
//!
//! Feed a [`Connection`] the received bytes and take [`Event`]s; build a [`ResponseHead`] and let [`encode_head`]
//! decide how its body is delimited. Each fault of a peer is one variant of [`Refusal`], with its status; each fault of
//! an application is a [`BadResponse`].
#![forbid(unsafe_code)]

mod connection;
mod request;
mod response;

mod error;
mod limits;

mod forwarded;
mod proxy_protocol;

mod grammar;
mod target;

pub mod http1;

pub use connection::{Connection, Event};
pub use error::{BadResponse, Refusal, ShortBody, reason_phrase};
pub use forwarded::{ForwardingRules, Hop, HopHeaders, SchemeHeader, Told};
pub use http1::encode::{
    BodyLength, CONTINUE, Frame, FramePrefix, ResponseBody, ResponseContext, encode_head,
    encode_refusal,
};
pub use limits::Limits;
pub use proxy_protocol::{
    MalformedProxyHeader, ProxyHeader, ProxyProtocol, ProxySource, read_proxy_header,
};
pub use request::{Framing, RequestHead, Version};
pub use response::ResponseHead;
pub use target::decode_path;
