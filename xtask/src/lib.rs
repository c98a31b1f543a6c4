//! Checks and generators for this repository; not part of any wheel.
//!
//! Decisions are pure functions over a path and a text; `main.rs` and the tests do the reading and writing.

#![forbid(unsafe_code)]

pub mod changelog;
pub mod tidy;
