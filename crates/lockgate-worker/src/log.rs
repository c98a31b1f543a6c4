//! The error log, the access log, the files below them, and throttling of repeated messages.

pub(crate) mod access_log;
pub(crate) mod error_log;
pub(crate) mod lines;
pub(crate) mod output;
pub(crate) mod spans;
pub(crate) mod throttle;

pub use error_log::{ErrorLog, create_missing, described, open_file, shown_target};
