//! Reloads when files of the application change.

use std::path::PathBuf;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadConfig {
    /// Whether files are watched.
    pub is_enabled: bool,
    /// Files beyond the imported modules: paths, directories and patterns with `*`, `?`, `[…]` and `**`.
    pub extra_files: Vec<PathBuf>,
}
