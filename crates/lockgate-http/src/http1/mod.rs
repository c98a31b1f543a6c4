//! HTTP/1.0 and HTTP/1.1 on the wire: parser of requests, encoder of responses.

pub(crate) mod parser;

mod head;

mod field;

mod chunked;

pub(crate) mod encode;

pub(crate) mod response_body;

pub(crate) mod interim;
