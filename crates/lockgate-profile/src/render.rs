//! What is shown of a profile: JSON for the admin page.
//!
//! All views count alike: a sample stands for the time between two rounds ([`Profile::time_of`]), and a thread without a
//! request counts only while it runs or waits for the GIL, so that idle threads do not hide requests.
//!
//! [`Profile::time_of`]: crate::Profile::time_of

mod json;
mod layout;
mod names;
mod summary;
mod tree;

mod escape;

#[cfg(test)]
mod samples;

pub use json::write_json;
