//! One request and its response, whatever the protocol.

pub mod request;
pub mod response;
