//! The files that are watched, and whether they have changed.
//!
//! A notification only says where to look. A change is that a file differs from what is known of it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::content::{Signature, hash};
use crate::directories::{Directories, directories_in, is_module, modules_in};
use crate::pattern::Pattern;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct WatchedFiles {
    files: HashMap<PathBuf, Known>,
    /// Symbolic links and the real paths behind them, with the files whose paths lead through them.
    aliases: HashMap<PathBuf, BTreeSet<PathBuf>>,
    pub(crate) directories: Directories,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Known {
    /// `None` while there is no such file.
    signature: Option<Signature>,
    /// Of the application's own files only: reading all packages would take too long.
    content: Option<u64>,
    is_own: bool,
    /// No process has loaded it, but the last load has failed, and the next one may need it.
    is_candidate: bool,
}

impl WatchedFiles {
    /// The files that match these absolute patterns, now and later.
    pub(crate) fn matching(patterns: &[PathBuf]) -> Self {
        let patterns = patterns.iter().map(|path| Pattern::new(path, Path::is_dir));
        let mut files = Self {
            patterns: patterns.collect(),
            ..Self::default()
        };
        files.find_matches();
        files
    }

    /// A file that the server reads, or a process has loaded. If it was not known: when it was written.
    pub(crate) fn add(&mut self, path: &Path, is_own: bool) -> Option<SystemTime> {
        if let Some(known) = self.files.get_mut(path)
            && (known.is_own || !is_own)
        {
            known.is_candidate = false;
            return None;
        }
        let parent = path.parent()?;
        match is_own && path.file_name().is_some_and(is_module) {
            true => self.directories.add_of_modules(parent),
            false => drop(self.directories.add(parent)),
        }
        let signature = Signature::of(path);
        let known = Known {
            signature,
            content: is_own.then(|| hash(path)).flatten(),
            is_own,
            is_candidate: false,
        };
        self.files.insert(path.to_owned(), known);
        self.follow_links(path, parent);
        signature.and_then(|signature| signature.modified())
    }

    /// Has all modules watched that may be part of the application, because it could not be loaded. Returns those that
    /// were not known, and when they were written.
    pub(crate) fn add_candidates(&mut self) -> Vec<(PathBuf, SystemTime)> {
        let mut added = Vec::new();
        for directory in self.directories.of_modules() {
            for name in modules_in(&directory) {
                let path = directory.join(name);
                if self.files.contains_key(&path) {
                    continue;
                }
                let written = self.add(&path, true);
                if let Some(known) = self.files.get_mut(&path) {
                    known.is_candidate = true;
                }
                added.extend(written.map(|written| (path, written)));
            }
        }
        added
    }

    /// Has the real file watched, and the links on the way to it.
    fn follow_links(&mut self, path: &Path, parent: &Path) {
        let real_parent = self.directories.add(parent);
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        if real_parent == parent && !is_link {
            return;
        }
        let real = path.canonicalize().ok();
        let links = path.ancestors().filter(|place| place.is_symlink());
        let places: BTreeSet<PathBuf> = links.map(Path::to_owned).chain(real).collect();
        for place in places {
            if let Some(parent) = place.parent() {
                self.directories.add(parent);
            }
            let through = self.aliases.entry(place).or_default();
            through.insert(path.to_owned());
        }
    }

    /// Finds the files that match the patterns, and has all directories watched in which others may come.
    fn find_matches(&mut self) -> Vec<PathBuf> {
        let bases = self.patterns.iter().map(Pattern::base);
        let existing = bases.filter_map(|base| {
            let mut ancestors = base.ancestors();
            ancestors.find(|place| place.is_dir()).map(Path::to_owned)
        });
        let existing: BTreeSet<PathBuf> = existing.collect();
        existing
            .iter()
            .flat_map(|base| self.find_matches_in(base))
            .collect()
    }

    /// The matches in and below a directory that were not known.
    fn find_matches_in(&mut self, directory: &Path) -> Vec<PathBuf> {
        if !self
            .patterns
            .iter()
            .any(|pattern| pattern.may_contain(directory))
        {
            return Vec::new();
        }
        self.directories.add(directory);
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if self.is_new_match(&path) && !path.is_dir() {
                self.add(&path, true);
                found.push(path);
            }
        }
        for below in directories_in(directory) {
            found.extend(self.find_matches_in(&below));
        }
        found
    }

    fn is_new_match(&self, path: &Path) -> bool {
        !self.files.contains_key(path) && self.patterns.iter().any(|pattern| pattern.matches(path))
    }

    /// Something was written, or has appeared or disappeared at this path: the files that have changed.
    pub(crate) fn examine(&mut self, path: &Path) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        let through = self.aliases.get(path).into_iter().flatten();
        let affected: Vec<PathBuf> = through.cloned().chain([path.to_owned()]).collect();
        for file in affected {
            if self.is_written(&file) {
                changed.push(file);
            }
        }
        if self.files.contains_key(path) {
            // A new module that was loaded before it was noticed here.
            self.directories.is_new_module(path);
            return changed;
        }
        if self.is_new_match(path) && path.is_file() {
            self.add(path, true);
            changed.push(path.to_owned());
            return changed;
        }
        let is_in_modules = path
            .parent()
            .is_some_and(|parent| self.directories.is_of_modules(parent));
        if is_in_modules && path.file_name().is_some_and(is_module) {
            if path.is_file() && self.directories.is_new_module(path) {
                changed.push(path.to_owned());
            }
            return changed;
        }
        changed.extend(self.examine_directory(path, is_in_modules));
        changed
    }

    /// Something that is not a watched file: it matters if it is a directory, or was one.
    fn examine_directory(&mut self, path: &Path, is_in_modules: bool) -> Vec<PathBuf> {
        let is_known = self.directories.has(path);
        let is_directory = path.is_dir();
        if !is_known && !is_directory {
            return Vec::new();
        }
        let mut changed = Vec::new();
        if self.directories.renew(path) {
            let below = |file: &Path| file.starts_with(path);
            changed.extend(self.examine_files(below));
        }
        if is_directory {
            if is_in_modules {
                changed.extend(self.directories.add_package(path));
            }
            changed.extend(self.find_matches_in(path));
        }
        changed
    }

    /// Looks at everything: notifications were lost, or there are none.
    pub(crate) fn examine_all(&mut self) -> Vec<PathBuf> {
        let mut changed = self.examine_files(|_| true);
        changed.extend(self.find_matches());
        for directory in self.directories.of_modules() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if self.files.contains_key(&path) {
                    continue;
                }
                if is_directory {
                    changed.extend(self.directories.add_package(&path));
                } else if self.directories.is_new_module(&path) {
                    changed.push(path);
                }
            }
        }
        changed
    }

    fn examine_files(&mut self, is_meant: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let meant = self.files.keys().filter(|path| is_meant(path));
        let meant: Vec<PathBuf> = meant.cloned().collect();
        meant
            .into_iter()
            .filter(|path| self.is_written(path))
            .collect()
    }

    /// Whether this file was written, replaced or removed since the last call.
    fn is_written(&mut self, path: &Path) -> bool {
        let Some(known) = self.files.get_mut(path) else {
            return false;
        };
        let signature = Signature::of(path);
        std::mem::replace(&mut known.signature, signature) != signature
    }

    /// Whether the content of a file that was written differs from what was known; true if that is unknown.
    pub(crate) fn has_new_content(&mut self, path: &Path) -> bool {
        let Some(known) = self.files.get_mut(path) else {
            return true;
        };
        let content = hash(path);
        let before = std::mem::replace(&mut known.content, content);
        before.is_none() || before != content
    }

    /// A load has succeeded: forgets what it did not need.
    pub(crate) fn forget_unneeded(&mut self) {
        let patterns = &self.patterns;
        let is_wanted = |path: &Path| patterns.iter().any(|pattern| pattern.matches(path));
        self.files.retain(|path, known| {
            (known.signature.is_some() && !known.is_candidate) || is_wanted(path)
        });
    }
}
