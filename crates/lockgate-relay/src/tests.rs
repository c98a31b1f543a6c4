//! Tests of both halves over a stream in memory.

mod fake;
mod purges;
mod receiver;
mod sender;
