//! Request bodies that are received before the application is called: buffers, files, and the rate that a client keeps.

pub mod buffer;
pub mod minimum_rate;
pub mod spool;
pub mod stream;
