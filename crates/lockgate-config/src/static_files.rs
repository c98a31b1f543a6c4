//! Static files: which directories are served at which paths, and what is kept open and in memory.

use std::path::PathBuf;
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticConfig {
    /// What is served.
    pub sources: StaticSources,
    /// How many files each worker keeps open; 0: none.
    pub open_files: usize,
    /// Bytes of small files that each worker keeps in memory; 0: none.
    pub memory: usize,
    /// How long what is known of a file counts before the file is looked at again; zero: each request looks.
    pub valid: Duration,
}

/// Where the directories come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StaticSources {
    /// No file is served.
    Off,
    /// Each worker asks the application once it has been imported.
    Auto,
    /// The operator's list; not empty, no path twice.
    List(Vec<StaticMount>),
}

/// Directories that are served at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticMount {
    /// The decoded path, without a slash at the end: `/static`; empty: the root.
    pub path: String,
    /// Directories in the order in which a file is searched; not empty.
    pub dirs: Vec<PathBuf>,
    /// Name of the file that is served for a directory; `None`: no directory is served.
    pub index: Option<String>,
    /// Patterns of the names of files whose content never changes: `*`, `?` and classes such as `[0-9a-f]`, compared with
    /// the last component of the path.
    pub immutable: Vec<String>,
    /// How long clients may reuse the other files without asking; `None`: there is no Cache-Control.
    pub max_age: Option<Duration>,
    /// Further fields of their responses, in order: valid names and values, and none that the server sets itself.
    pub headers: Vec<(String, String)>,
    /// Whether only the application reaches the files, with X-Accel-Redirect or X-Sendfile.
    pub internal: bool,
    /// Whether a request whose file is missing goes on to the application; otherwise it gets 404.
    pub fallthrough: bool,
    /// Only for requests that this application would answer, by its number (0: that of the server; see
    /// `RoutesConfig::mounts`), because it has declared the files itself; `None`: for all requests.
    pub application: Option<u16>,
}

impl StaticMount {
    /// Directories at a path (without a slash at the end), with the defaults.
    pub fn new(path: String, dirs: Vec<PathBuf>) -> Self {
        Self {
            path,
            dirs,
            index: Some(Self::DEFAULT_INDEX.to_owned()),
            immutable: Vec::new(),
            max_age: None,
            headers: Vec::new(),
            internal: false,
            fallthrough: true,
            application: None,
        }
    }

    pub(crate) const DEFAULT_INDEX: &str = "index.html";
}

impl Default for StaticConfig {
    fn default() -> Self {
        Self {
            sources: StaticSources::Off,
            open_files: 1000,
            memory: 16 * 1024 * 1024,
            valid: Duration::from_secs(1),
        }
    }
}

impl StaticConfig {
    /// Whether files are served, or may be.
    pub fn is_enabled(&self) -> bool {
        self.sources != StaticSources::Off
    }

    /// The operator's list; empty without one.
    pub fn mounts(&self) -> &[StaticMount] {
        match &self.sources {
            StaticSources::List(mounts) => mounts,
            StaticSources::Off | StaticSources::Auto => &[],
        }
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let mounts = match &mut self.sources {
            StaticSources::List(mounts) => mounts.as_mut_slice(),
            StaticSources::Off | StaticSources::Auto => &mut [],
        };
        mounts.iter_mut().flat_map(|mount| &mut mount.dirs)
    }
}
