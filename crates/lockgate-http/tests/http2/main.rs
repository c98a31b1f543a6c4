//! HTTP/2 as a client sees it, frame by frame.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod client;
mod differential;
mod exchanges;
mod floods;
mod frames;
mod messages;
mod states;
mod windows;
