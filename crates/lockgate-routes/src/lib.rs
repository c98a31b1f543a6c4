//! Routes: which rules hold for a request by its host and path, and where redirects and rewrites lead.
//!
//! Everything here is decided from the settings and a request's head: there is no socket, no clock and no file.
#![forbid(unsafe_code)]

mod host;
mod path;
mod redirects;
mod rules;
mod table;

pub use host::{HostName, matches_host};
pub use path::{PathKey, covers, covers_ignoring_case};
pub use redirects::{Redirects, Rewrite, Rewrites};
pub use rules::EffectiveRules;
pub use table::{AmbiguousPath, Found, RouteId, Routes};
