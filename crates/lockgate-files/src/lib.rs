//! Static files: which file a path names, what its response's head is, and the files that are kept open.
//!
//! [`Files`] finds what is known of a path without waiting; what is not known is loaded by a thread that may wait for
//! the disk. A [`Representation`] decides what a request gets: the whole, parts, or 304. The time is a parameter.
#![forbid(unsafe_code)]

mod path;

mod directory;
mod mount;

mod files;
mod loading;
mod open_files;

mod entry;
mod representation;
mod shared_file;

mod glob;
mod media_type;
mod stamp;

pub use directory::Problem;
pub use entry::{Entry, SharedEntry};
pub use files::{Clock, Files, Found, Loaded, Place};
pub use media_type::media_type;
pub use path::{PathRefusal, RelativePath, decode};
pub use representation::{Body, Content, Delivery, Part, Representation, Selection};
pub use shared_file::SharedFile;
