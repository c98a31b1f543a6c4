//! The watcher: finds out that a file of the application has changed, and requests a reload.
//!
//! It runs in a process of its own. Workers report the files that they have loaded through a pipe (`report`); the
//! directories of these files are watched with the system's notifications (`notifications`), or looked at twice a second
//! where there are none. What has changed is decided by comparing files with what is known of them (`files`), and when
//! it is reported by `settling`.
#![forbid(unsafe_code)]

mod content;
mod directories;
mod file_systems;
mod files;
mod loads;
mod notifications;
mod own_writes;
mod pattern;
mod report;
mod settling;
mod watching;

pub use watching::{Host, Watcher};
