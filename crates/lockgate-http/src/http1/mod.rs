//! HTTP/1.0 and HTTP/1.1 on the wire: reading heads and bodies, writing heads and frames.
//! Knows no connection state beyond the message it is in.

pub(crate) mod head;

pub(crate) mod field;
pub(crate) mod framing;

pub(crate) mod chunked;

pub mod encode;
