//! The Redis relay: passes the messages of this server's broadcast log to other servers, and theirs to this log.
//!
//! All servers share one Redis stream. `sender` adds the records that this server has published, `receiver` appends
//! those of the others to the log; both decide over the trait `Server`. `redis` implements it over a `connection` in
//! the protocol `resp`. The process may be killed at any moment: what is to be known after that is in Redis and in the
//! log ([0051](../../../docs/decisions/0051-servers-share-a-redis-stream.md)).

#![forbid(unsafe_code)]

mod connection;
mod failure;
mod limits;
mod link;
mod receiver;
mod redis;
mod relay;
mod resp;
mod sender;
mod server;
mod traffic;

pub use limits::SharedLimits;
pub use relay::{Host, Relay};
pub use traffic::Purges;

#[cfg(test)]
mod tests;
