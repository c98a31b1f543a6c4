//! Mounts: which directories are served at which path.

use std::borrow::Cow;
use std::time::Duration;

use lockgate_config::StaticMount;

use crate::directory::Directory;
use crate::glob::Glob;

/// For files whose names change with their content (RFC 8246). A year is the maximum that caches are expected to keep.
const IMMUTABLE: &str = "max-age=31536000, immutable";

/// Directories that are served at a path.
#[derive(Debug)]
pub(crate) struct Mount {
    /// Decoded, without a slash at the end; empty: the root.
    pub(crate) path: String,
    /// The first one that has a file serves it.
    pub(crate) directories: Vec<Directory>,
    pub(crate) index: Option<String>,
    immutable: Vec<Glob>,
    max_age: Option<Duration>,
    /// Further fields of responses.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) is_internal: bool,
    pub(crate) falls_through: bool,
    /// Only for requests of this application.
    application: Option<u16>,
}

impl Mount {
    fn new(mount: &StaticMount) -> Self {
        Self {
            path: mount.path.clone(),
            directories: mount.dirs.iter().cloned().map(Directory::new).collect(),
            index: mount.index.clone().filter(|index| !index.is_empty()),
            immutable: mount.immutable.iter().map(|glob| Glob::new(glob)).collect(),
            max_age: mount.max_age,
            headers: mount.headers.clone(),
            is_internal: mount.internal,
            falls_through: mount.fallthrough,
            application: mount.application,
        }
    }

    /// The value of Cache-Control for a file of this name, if there is one.
    pub(crate) fn cache_control(&self, name: &str) -> Option<Cow<'static, str>> {
        let name = name.rsplit('/').next().unwrap_or(name);
        if self.immutable.iter().any(|glob| glob.matches(name)) {
            return Some(Cow::Borrowed(IMMUTABLE));
        }
        let seconds = self.max_age?.as_secs();
        Some(Cow::Owned(format!("max-age={seconds}")))
    }

    /// What follows the path of the mount.
    pub(crate) fn rest<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = path.strip_prefix(self.path.as_bytes())?;
        matches!(rest, [] | [b'/', ..]).then_some(rest)
    }
}

/// All mounts, the longest path first.
#[derive(Debug)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    pub(crate) fn new(mounts: &[StaticMount]) -> Self {
        let mut mounts: Vec<Mount> = mounts.iter().map(Mount::new).collect();
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.path.len()));
        Self(mounts)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Mount> {
        self.0.get(index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// Whether the mounts depend on the application that a request is for.
    pub(crate) fn differ_by_application(&self) -> bool {
        self.0.iter().any(|mount| mount.application.is_some())
    }

    /// The mount with the longest path above this one, and what follows its path, for a request of this application.
    #[inline]
    pub(crate) fn find<'p>(
        &self,
        path: &'p [u8],
        application: u16,
        internal: bool,
    ) -> Option<(usize, &'p [u8])> {
        let mut mounts = self.0.iter().enumerate();
        mounts.find_map(|(index, mount)| {
            let rest = mount.rest(path)?;
            let is_reached = (internal || !mount.is_internal)
                && mount.application.is_none_or(|only| only == application);
            is_reached.then_some((index, rest))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str, internal: bool) -> StaticMount {
        StaticMount {
            internal,
            ..StaticMount::new(path.to_owned(), vec!["/srv".into()])
        }
    }

    #[test]
    fn the_longest_path_wins_at_the_borders_of_segments() {
        let mounts = Mounts::new(&[
            mount("/static", false),
            mount("", false),
            mount("/static/admin", false),
            mount("/private", true),
        ]);
        for (path, is_internal, expected) in [
            ("/static/a.css", false, ("/static", "/a.css")),
            ("/static", false, ("/static", "")),
            ("/static/", false, ("/static", "/")),
            ("/static/admin/a.css", false, ("/static/admin", "/a.css")),
            ("/static/admin", false, ("/static/admin", "")),
            (
                "/static/administrator",
                false,
                ("/static", "/administrator"),
            ),
            ("/statics/a", false, ("", "/statics/a")),
            ("/private/a", false, ("", "/private/a")),
            ("/private/a", true, ("/private", "/a")),
            ("/", false, ("", "/")),
            ("/a", false, ("", "/a")),
        ] {
            let (index, rest) = mounts.find(path.as_bytes(), 0, is_internal).unwrap();
            let found = (mounts.get(index).unwrap().path.as_str(), rest);
            assert_eq!(found, (expected.0, expected.1.as_bytes()), "{path}");
        }
        let only = Mounts::new(&[mount("/static", false)]);
        for path in ["/", "/stat", "/staticx", "/x/static/a", "*", ""] {
            assert_eq!(only.find(path.as_bytes(), 0, false), None, "{path}");
        }
    }

    #[test]
    fn files_of_an_application_are_for_its_requests_only() {
        let of = |application, path: &str| StaticMount {
            application,
            ..mount(path, false)
        };
        let mounts = Mounts::new(&[
            of(None, "/assets"),
            of(Some(0), ""),
            of(Some(0), "/static"),
            of(Some(1), "/static"),
            of(Some(2), "/admin/static"),
        ]);
        assert!(mounts.differ_by_application());
        for (path, application, expected) in [
            ("/static/a", 0, Some(("/static", Some(0)))),
            ("/static/a", 1, Some(("/static", Some(1)))),
            ("/static/a", 2, None),
            ("/admin/static/a", 2, Some(("/admin/static", Some(2)))),
            ("/admin/static/a", 0, Some(("", Some(0)))),
            ("/admin/static/a", 1, None),
            ("/assets/a", 7, Some(("/assets", None))),
        ] {
            let found = mounts.find(path.as_bytes(), application, false);
            let found = found.and_then(|(index, _)| mounts.get(index));
            let found = found.map(|mount| (mount.path.as_str(), mount.application));
            assert_eq!(found, expected, "{path} {application}");
        }
    }

    #[test]
    fn cache_control_follows_from_the_name() {
        let mut setting = mount("/static", false);
        setting.immutable = vec!["*.????????.*".to_owned()];
        let hashed = "max-age=31536000, immutable";
        for (max_age, name, expected) in [
            (None, "a/app.1a2b3c4d.css", Some(hashed)),
            (None, "a/app.css", None),
            (Some(60), "app.css", Some("max-age=60")),
            (Some(0), "a.12345678.d/app.css", Some("max-age=0")),
            (Some(60), "app.1a2b3c4d.css", Some(hashed)),
        ] {
            setting.max_age = max_age.map(Duration::from_secs);
            let mounts = Mounts::new(std::slice::from_ref(&setting));
            let found = mounts.get(0).unwrap().cache_control(name);
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }
}
