//! The directories that are watched, and the modules that are known to be in them.
//!
//! A new module is a change although no process has loaded it: Django imports each `admin.py` that it finds, and an
//! `import` in a `try` may succeed now.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    known: HashMap<PathBuf, Directory>,
    /// Those that are to be watched, or watched again.
    unwatched: Vec<PathBuf>,
}

#[derive(Debug)]
struct Directory {
    /// Without symbolic links.
    real: PathBuf,
    /// The names of its modules, if new ones count.
    modules: Option<HashSet<OsString>>,
}

impl Directories {
    /// Has this directory watched; returns its real path.
    pub(crate) fn add(&mut self, path: &Path) -> &Path {
        let unwatched = &mut self.unwatched;
        let directory = self.known.entry(path.to_owned()).or_insert_with(|| {
            unwatched.push(path.to_owned());
            Directory {
                real: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
                modules: None,
            }
        });
        &directory.real
    }

    /// Has this directory watched, in which new modules count from now on.
    pub(crate) fn add_of_modules(&mut self, path: &Path) {
        self.add(path);
        if let Some(directory) = self.known.get_mut(path)
            && directory.modules.is_none()
        {
            directory.modules = Some(modules_in(path).collect());
        }
    }

    /// Whether this directory is watched.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.known.contains_key(path)
    }

    /// Whether new modules count in this directory.
    pub(crate) fn is_of_modules(&self, path: &Path) -> bool {
        let directory = self.known.get(path);
        directory.is_some_and(|directory| directory.modules.is_some())
    }

    /// Those in which new modules count.
    pub(crate) fn of_modules(&self) -> Vec<PathBuf> {
        let known = self.known.iter();
        let of_modules = known.filter(|(_, directory)| directory.modules.is_some());
        of_modules.map(|(path, _)| path.clone()).collect()
    }

    /// Whether this file is a module where new ones count, and was not there before.
    pub(crate) fn is_new_module(&mut self, path: &Path) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return false;
        };
        let directory = self.known.get_mut(parent);
        let modules = directory.and_then(|directory| directory.modules.as_mut());
        modules.is_some_and(|modules| is_module(name) && modules.insert(name.to_owned()))
    }

    /// A directory has appeared in one in which new modules count: if it may be a package, new modules count in it and
    /// below, too. Returns the modules that are there.
    pub(crate) fn add_package(&mut self, path: &Path) -> Vec<PathBuf> {
        if !path.file_name().is_some_and(is_package) || self.is_of_modules(path) {
            return Vec::new();
        }
        // Watched before it is listed: a module that comes in between is noticed twice.
        self.add(path);
        self.add_of_modules(path);
        let mut found: Vec<PathBuf> = modules_in(path).map(|name| path.join(name)).collect();
        for below in directories_in(path) {
            found.extend(self.add_package(&below));
        }
        found
    }

    /// This directory has appeared or disappeared: it and those below are watched again. False if none is known.
    pub(crate) fn renew(&mut self, path: &Path) -> bool {
        let mut is_any = false;
        for (below, directory) in &mut self.known {
            if below.starts_with(path) {
                is_any = true;
                directory.real = below.canonicalize().unwrap_or_else(|_| below.clone());
                self.unwatched.push(below.clone());
            }
        }
        is_any
    }

    /// The directories that are to be watched since the last call; the watch of some has to be replaced.
    pub(crate) fn take_unwatched(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.unwatched)
    }
}

/// The directories in a directory, without symbolic links to others.
pub(crate) fn directories_in(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path())
}

/// The names of the modules in a directory.
pub(crate) fn modules_in(path: &Path) -> impl Iterator<Item = OsString> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names.filter(|name| is_module(name))
}

/// `views.py`, and not `#views.py`, `.views.py`, `views_flymake.py`.
pub(crate) fn is_module(name: &OsStr) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(".py"));
    stem.is_some_and(|stem| {
        is_identifier(stem) && !stem.ends_with("_flymake") && !stem.starts_with("flycheck_")
    })
}

fn is_package(name: &OsStr) -> bool {
    (name.to_str())
        .is_some_and(|name| is_identifier(name) && name != "__pycache__" && name != "node_modules")
}

fn is_identifier(text: &str) -> bool {
    let is_part = |character: char| character == '_' || character.is_alphanumeric();
    text.starts_with(|first: char| first == '_' || first.is_alphabetic())
        && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_can_be_imported_are_modules() {
        for (name, expected) in [
            ("views.py", true),
            ("__init__.py", true),
            ("größe.py", true),
            (".views.py", false),
            ("views.py~", false),
            ("views.pyc", false),
            (".#views.py", false),
            ("views_flymake.py", false),
            ("flycheck_views.py", false),
            ("4913", false),
            ("2views.py", false),
            ("a-b.py", false),
            (".py", false),
        ] {
            assert_eq!(is_module(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_module_is_new_once_and_only_where_new_ones_count() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::write(place("old.py"), "").unwrap();
        let mut directories = Directories::default();
        directories.add(folder.path());
        assert!(!directories.is_new_module(&place("new.py")));
        directories.add_of_modules(folder.path());
        assert_eq!(directories.take_unwatched(), [folder.path()]);
        for (name, expected) in [
            ("old.py", false),
            ("new.py", true),
            ("new.py", false),
            ("a.txt", false),
        ] {
            assert_eq!(directories.is_new_module(&place(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_package_is_watched_with_those_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::create_dir_all(place("shop/api/__pycache__")).unwrap();
        fs::create_dir_all(place("not-a-package")).unwrap();
        fs::write(place("shop/api/views.py"), "").unwrap();
        let mut directories = Directories::default();
        directories.add_of_modules(folder.path());
        directories.take_unwatched();
        assert!(directories.add_package(&place("not-a-package")).is_empty());
        assert_eq!(
            directories.add_package(&place("shop")),
            [place("shop/api/views.py")]
        );
        assert_eq!(
            directories.take_unwatched(),
            [place("shop"), place("shop/api")]
        );
        assert!(directories.is_new_module(&place("shop/models.py")));
        assert!(directories.add_package(&place("shop")).is_empty(), "known");
        assert!(directories.renew(&place("shop")));
        assert_eq!(directories.take_unwatched().len(), 2);
        assert!(!directories.renew(&place("other")));
    }
}
