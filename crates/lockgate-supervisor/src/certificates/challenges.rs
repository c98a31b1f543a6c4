//! The certificates with which ACME validates names (RFC 8737, tls-alpn-01), one file for each name.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use lockgate_tls::Challenge;

use super::loading::{LoadedCertificate, read};
use super::version::FileVersion;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Challenges {
    /// The files as they were when they were last read.
    seen: Vec<FileVersion>,
    loaded: Vec<Challenge>,
}

impl Challenges {
    pub(super) fn get(&self) -> &[Challenge] {
        &self.loaded
    }

    /// Looks at the directory, and reads the files again if there is a change, which it returns. Files that cannot be used
    /// are left out: the certificate authority then reports that the validation has failed, and ACME logs it.
    pub(super) fn look(&mut self, directory: Option<&Path>) -> bool {
        let files = directory.map(files_in).unwrap_or_default();
        let seen: Vec<FileVersion> = files.iter().map(|file| FileVersion::of(file)).collect();
        let is_changed = seen != self.seen;
        if is_changed {
            self.seen = seen;
            self.loaded = files.iter().filter_map(|file| load(file)).collect();
        }
        is_changed
    }
}

/// The files `NAME.pem` in a directory, in order. A directory that does not exist has none.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| name_of(path).is_some())
        .collect();
    files.sort();
    files
}

/// `NAME` of `NAME.pem`; `None` for files that are still being written, whose names begin with a dot.
fn name_of(path: &Path) -> Option<&str> {
    let is_pem = path.extension() == Some(OsStr::new("pem"));
    let name = path.file_stem()?.to_str()?;
    (is_pem && !name.starts_with('.')).then_some(name)
}

fn load(file: &Path) -> Option<Challenge> {
    let name = name_of(file)?.to_owned();
    let bytes = read("acme_dir", file).ok()?;
    let loaded = LoadedCertificate::from_pem(&name, (&bytes, &bytes), None).ok()?;
    Some(Challenge {
        certificate: loaded.source().clone(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_and_go_with_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut challenges = Challenges::default();
        assert!(!challenges.look(Some(&folder.path().join("missing"))));
        assert!(challenges.get().is_empty());
        let (chain, key) =
            lockgate_tls::self_signed(&["a.example".to_owned()], 0, 1 << 31).unwrap();
        let file = folder.path().join("a.example.pem");
        fs::write(folder.path().join(".b.example.pem"), &chain).unwrap();
        fs::write(folder.path().join("c.example.pem"), &chain).unwrap();
        fs::write(&file, format!("{key}{chain}")).unwrap();
        assert!(challenges.look(Some(folder.path())));
        let names: Vec<&str> = challenges
            .get()
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["a.example"], "the others have no key");
        assert!(!challenges.look(Some(folder.path())));
        assert_eq!(challenges.get().len(), 1);
        fs::remove_file(&file).unwrap();
        assert!(challenges.look(Some(folder.path())));
        assert!(challenges.get().is_empty());
    }
}
