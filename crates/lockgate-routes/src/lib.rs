//! Routes: which rules hold for a request by its host and path, and where redirects and rewrites lead.
//!
//! Everything here is decided from the settings and a request's head: there is no socket, no clock and no file.
#![forbid(unsafe_code)]
