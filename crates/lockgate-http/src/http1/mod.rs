//! HTTP/1.0 and HTTP/1.1 on the wire: parsers of heads and bodies, encoders of heads and frames. State is kept for one
//! message only.

pub(crate) mod head;

pub(crate) mod field;
pub(crate) mod framing;

pub(crate) mod chunked;

pub mod encode;
