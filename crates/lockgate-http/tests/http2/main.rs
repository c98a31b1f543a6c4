//! HTTP/2 as a client sees it, frame by frame.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, dead_code)]

mod client;
mod exchanges;
