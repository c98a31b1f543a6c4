//! What is shown of a profile: a flame graph, a file for speedscope, a table, and JSON for the admin page.
//!
//! All of them count alike: a sample stands for the time between two rounds ([`Profile::time_of`]), and a thread
//! without a request counts only while it runs or waits for the GIL, so that idle threads do not hide requests.
//!
//! [`Profile::time_of`]: crate::Profile::time_of

mod flame_graph;
mod json;
mod speedscope;
mod table;

mod layout;
mod names;
mod summary;
mod tree;

mod escape;

#[cfg(test)]
mod samples;

pub use flame_graph::write_flame_graph;
pub use json::write_json;
pub use layout::Measure;
pub use speedscope::write_speedscope;
pub use table::write_table;

/// Whether a file is neither of Python nor of an installed package.
pub fn is_own_code(file: &str) -> bool {
    names::origin(file).0 == names::Origin::Own
}
