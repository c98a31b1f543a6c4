//! Checks and generators that the house runs on itself. Knows the tree's layout; ships in no wheel.
//!
//! Decisions are pure functions over a path and a text; `main.rs` and the tests do the reading and writing.

#![forbid(unsafe_code)]

pub mod changelog;
pub mod tidy;
