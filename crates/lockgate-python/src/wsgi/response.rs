//! A response of the application, in the order of its call: `start_response`, status and headers, body, file wrapper.

pub(super) mod body;
pub(super) mod file_wrapper;
mod head;
pub(super) mod progress;
pub(super) mod start_response;
