//! Static files: which file a path names, what its response's head is, and the files that are kept open.
#![forbid(unsafe_code)]
