//! The ACME client (RFC 8555): obtains and renews certificates in a process of its own.
//!
//! `protocol` says what to send and what answers mean, `schedule` when and to which CA, `storage` keeps the results;
//! `renewal` puts them together, and `https` sends. The process may be killed at any moment: files are replaced whole.

#![forbid(unsafe_code)]

mod certificate;
mod https;
mod protocol;
mod renewal;
mod schedule;
mod settings;
mod storage;
mod world;

pub use settings::Settings;
pub use storage::read_states;
pub use storage::state::State;
pub use world::{Log, run};
