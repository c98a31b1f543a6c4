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

    /// A file that has appeared: whatever it says is new.
    fn add_new(&mut self, path: &Path) {
        self.add(path, true);
        self.forget_content(path);
    }

    /// It is unknown which content of this file was loaded.
    pub(crate) fn forget_content(&mut self, path: &Path) {
        if let Some(known) = self.files.get_mut(path) {
            known.content = None;
        }
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
                self.add_new(&path);
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
            self.add_new(path);
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

    /// When a file that is watched was written, as far as that was noticed.
    pub(crate) fn written(&self, path: &Path) -> Option<SystemTime> {
        self.files.get(path)?.signature?.modified()
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    struct Project {
        directory: TempDir,
        files: WatchedFiles,
    }

    impl Project {
        /// A project with one loaded module, and these patterns.
        fn new(patterns: &[&str]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &&str| directory.path().join(name);
            fs::write(directory.path().join("app.py"), "1").unwrap();
            let patterns: Vec<PathBuf> = patterns.iter().map(path).collect();
            let mut files = WatchedFiles::matching(&patterns);
            assert!(files.add(&directory.path().join("app.py"), true).is_some());
            Self { directory, files }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // Another file each time, so that its signature differs within one tick of the clock.
            let draft = self.path("draft");
            fs::write(&draft, text).unwrap();
            fs::rename(draft, path).unwrap();
        }

        fn examine(&mut self, name: &str) -> Vec<String> {
            let path = self.path(name);
            let changed = self.files.examine(&path);
            self.names(changed)
        }

        fn examine_all(&mut self) -> Vec<String> {
            let changed = self.files.examine_all();
            self.names(changed)
        }

        fn names(&self, paths: Vec<PathBuf>) -> Vec<String> {
            let relative = |path: PathBuf| {
                let relative = path.strip_prefix(self.directory.path()).unwrap_or(&path);
                relative.display().to_string()
            };
            let mut names: Vec<String> = paths.into_iter().map(relative).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_write_is_a_change_once() {
        let mut project = Project::new(&[]);
        assert!(project.examine("app.py").is_empty());
        for text in ["2", "2"] {
            project.write("app.py", text);
            assert_eq!(project.examine("app.py"), ["app.py"]);
            assert!(project.examine("app.py").is_empty());
        }
        fs::remove_file(project.path("app.py")).unwrap();
        assert_eq!(project.examine("app.py"), ["app.py"]);
        assert!(project.examine("app.py").is_empty());
        project.write("app.py", "2");
        assert_eq!(project.examine("app.py"), ["app.py"]);
    }

    #[test]
    fn only_another_content_is_new_and_that_of_packages_is_unknown() {
        let mut project = Project::new(&[]);
        let (own, installed) = (project.path("app.py"), project.path("installed.py"));
        project.write("installed.py", "1");
        project.files.add(&installed, false);
        assert!(!project.files.has_new_content(&own));
        assert!(project.files.has_new_content(&installed));
        project.write("app.py", "2");
        assert!(project.files.has_new_content(&own));
        assert!(!project.files.has_new_content(&own));
    }

    #[test]
    fn new_modules_and_packages_are_changes_where_the_application_is() {
        let mut project = Project::new(&[]);
        project.write("installed/a.py", "1");
        let installed = project.path("installed/a.py");
        project.files.add(&installed, false);
        project.write("new.py", "1");
        project.write("notes.txt", "1");
        project.write("installed/new.py", "1");
        project.write("shop/api/views.py", "1");
        for (name, expected) in [
            ("new.py", &["new.py"][..]),
            ("new.py", &[]),
            ("notes.txt", &[]),
            ("installed/new.py", &[]),
            ("shop", &["shop/api/views.py"]),
            ("shop/api", &[]),
        ] {
            assert_eq!(project.examine(name), expected, "{name}");
        }
        project.write("shop/models.py", "1");
        assert_eq!(project.examine("shop/models.py"), ["shop/models.py"]);
    }

    #[test]
    fn a_directory_that_comes_back_is_watched_again_with_its_files() {
        let mut project = Project::new(&[]);
        project.write("shop/views.py", "1");
        let views = project.path("shop/views.py");
        project.files.add(&views, true);
        project.files.directories.take_unwatched();
        fs::rename(project.path("shop"), project.path("old")).unwrap();
        assert_eq!(project.examine("shop"), ["shop/views.py"]);
        project.write("shop/views.py", "2");
        assert_eq!(project.examine("shop"), ["shop/views.py"]);
        assert!(
            project
                .files
                .directories
                .take_unwatched()
                .contains(&project.path("shop"))
        );
    }

    #[test]
    fn links_and_what_is_behind_them_are_watched() {
        let mut project = Project::new(&[]);
        let elsewhere = tempfile::tempdir().unwrap();
        let real = elsewhere.path().canonicalize().unwrap().join("real.py");
        fs::write(&real, "1").unwrap();
        symlink(&real, project.path("linked.py")).unwrap();
        // A release, as deploys leave it.
        project.write("release/site.py", "1");
        symlink(project.path("release"), project.path("current")).unwrap();
        for name in ["linked.py", "current/site.py"] {
            let path = project.path(name);
            assert!(project.files.add(&path, true).is_some());
        }
        let watched = project.files.directories.take_unwatched();
        for directory in [
            real.parent().unwrap(),
            &project.path("current"),
            project.directory.path(),
        ] {
            assert!(watched.contains(&directory.to_owned()), "{directory:?}");
        }
        fs::write(&real, "22").unwrap();
        let changed = project.files.examine(&real);
        assert_eq!(project.names(changed), ["linked.py"]);
        project.write("release2/site.py", "2");
        let draft = project.path("draft");
        symlink(project.path("release2"), &draft).unwrap();
        fs::rename(draft, project.path("current")).unwrap();
        assert_eq!(project.examine("current"), ["current/site.py"]);
    }

    #[test]
    fn patterns_find_files_that_come_later_also_in_new_directories() {
        let mut project = Project::new(&["templates/**/*.html", "later/settings.ini"]);
        assert!(project.examine_all().is_empty());
        project.write("templates/shop/index.html", "1");
        project.write("templates/shop/index.html~", "1");
        assert_eq!(project.examine("templates"), ["templates/shop/index.html"]);
        project.write("templates/shop/index.html", "2");
        project.write("templates/shop/list.html", "1");
        assert_eq!(
            project.examine("templates/shop/index.html"),
            ["templates/shop/index.html"]
        );
        assert_eq!(
            project.examine("templates/shop/list.html"),
            ["templates/shop/list.html"]
        );
        project.write("later/settings.ini", "1");
        project.write("later/other.ini", "1");
        assert_eq!(project.examine("later"), ["later/settings.ini"]);
    }

    #[test]
    fn a_look_at_everything_finds_each_kind_of_change() {
        let mut project = Project::new(&["templates/*.html"]);
        project.write("gone.py", "1");
        let gone = project.path("gone.py");
        project.files.add(&gone, true);
        assert!(project.examine_all().is_empty());
        project.write("app.py", "2");
        project.write("new.py", "1");
        project.write("templates/a.html", "1");
        project.write("package/__init__.py", "1");
        fs::remove_file(&gone).unwrap();
        let expected = [
            "app.py",
            "gone.py",
            "new.py",
            "package/__init__.py",
            "templates/a.html",
        ];
        assert_eq!(project.examine_all(), expected);
        assert!(project.examine_all().is_empty());
    }

    #[test]
    fn after_a_failed_load_each_module_counts_until_one_succeeds() {
        let mut project = Project::new(&[]);
        project.write("broken.py", "1");
        assert_eq!(project.examine("broken.py"), ["broken.py"], "it is new");
        project.write("broken.py", "2");
        assert!(
            project.examine("broken.py").is_empty(),
            "no process has loaded it"
        );
        let candidates = project.files.add_candidates().into_iter();
        let candidates = candidates.map(|(path, _)| path).collect();
        assert_eq!(project.names(candidates), ["broken.py"]);
        project.write("broken.py", "3");
        assert_eq!(project.examine("broken.py"), ["broken.py"]);
        project.files.forget_unneeded();
        project.write("broken.py", "4");
        assert!(project.examine("broken.py").is_empty());
        // The next load has imported it.
        let broken = project.path("broken.py");
        project.files.add_candidates();
        project.files.add(&broken, true);
        project.files.forget_unneeded();
        project.write("broken.py", "5");
        assert_eq!(project.examine("broken.py"), ["broken.py"]);
    }
}
