//! Checks and generators for this repository; not part of any wheel.
//!
//! Decisions are pure functions over a path and a text; `tree` reads the files, and `main.rs` writes them.

#![forbid(unsafe_code)]

pub mod changelog;
pub mod manual;
pub mod messages;
pub mod tidy;
pub mod tree;
