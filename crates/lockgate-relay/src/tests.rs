//! Tests of both halves over a stream in memory.

mod fake;
mod receiver;
mod sender;
