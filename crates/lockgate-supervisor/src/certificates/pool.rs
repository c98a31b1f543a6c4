//! The certificates that were loaded from files, each under its watch. Both generations of a reload share them.

use std::time::Instant;

use lockgate_config::CertificateFiles;

use super::loading::{LoadError, LoadedCertificate, load, origin};
use super::version::FileVersion;
use super::wanted::{Wanted, WantedFiles};
use super::watch::Watch;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pool {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    wanted: WantedFiles,
    watch: Watch<Vec<FileVersion>>,
    /// `None`: ACME has not written it yet.
    loaded: Option<LoadedCertificate>,
}

/// What has happened to a certificate.
#[derive(Debug)]
pub(super) enum Change {
    Loaded(LoadedCertificate),
    /// Its files cannot be used; the certificate that was loaded before stays in use, if there is one.
    Failed {
        error: LoadError,
        kept: Option<LoadedCertificate>,
    },
}

impl Pool {
    /// Loads the certificates of a generation: all of them, or none if the operator has to correct something.
    ///
    /// With `inherited`, the certificates of the previous program in this process, files that cannot be used are no
    /// error: the server already serves with those.
    pub(super) fn add(
        &mut self,
        wanted: &Wanted,
        inherited: Option<&[LoadedCertificate]>,
        now: Instant,
    ) -> Result<Vec<Change>, Vec<LoadError>> {
        let mut added = Vec::new();
        let mut errors = Vec::new();
        for files in &wanted.files {
            match Entry::new(files, inherited, now) {
                Ok(entry) => added.push(entry),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(added
            .into_iter()
            .filter_map(|entry| self.insert(entry))
            .collect())
    }

    /// Returns the certificate if it is another one than before.
    fn insert(&mut self, mut entry: Entry) -> Option<Change> {
        let Some(present) = self
            .entries
            .iter_mut()
            .find(|one| one.wanted == entry.wanted)
        else {
            let loaded = entry.loaded.clone();
            self.entries.push(entry);
            return loaded.map(Change::Loaded);
        };
        if entry.loaded.is_none() {
            entry.loaded = present.loaded.take();
        }
        let before = std::mem::replace(present, entry);
        let loaded = present.loaded.clone();
        loaded
            .filter(|loaded| !before.loaded.is_some_and(|before| before.is_same(loaded)))
            .map(Change::Loaded)
    }

    /// Forgets the certificates that no generation wants.
    pub(super) fn retain<'a>(&mut self, generations: impl Iterator<Item = &'a Wanted> + Clone) {
        self.entries.retain(|entry| {
            let mut generations = generations.clone();
            generations.any(|wanted| wanted.files.contains(&entry.wanted))
        });
    }

    /// Looks at all files, and loads those that have changed.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Change> {
        self.entries
            .iter_mut()
            .filter_map(|entry| entry.look(now))
            .collect()
    }

    /// The certificates of a generation, in the order of its settings. One that ACME has issued for a name of a
    /// certificate from a file is left out: ACME does not renew it, and clients would get it until it expires and after.
    pub(super) fn of<'a>(
        &'a self,
        wanted: &'a Wanted,
    ) -> impl Iterator<Item = &'a LoadedCertificate> {
        let loaded = |files: &WantedFiles| {
            let mut entries = self.entries.iter();
            let entry = entries.find(|entry| entry.wanted == *files)?;
            entry.loaded.as_ref()
        };
        let (issued, from_files): (Vec<_>, Vec<_>) =
            wanted.files.iter().partition(|files| files.is_of_acme);
        let from_files: Vec<_> = from_files.into_iter().filter_map(loaded).collect();
        let mut found = from_files.clone();
        found.extend(issued.into_iter().filter_map(loaded).filter(|issued| {
            let is_covered = |name: &String| from_files.iter().any(|one| one.covers(name));
            !issued.names().iter().all(is_covered)
        }));
        found.into_iter()
    }
}

impl Entry {
    fn new(
        wanted: &WantedFiles,
        inherited: Option<&[LoadedCertificate]>,
        now: Instant,
    ) -> Result<Self, LoadError> {
        // Before the files are read: a later change is then seen.
        let version = versions(&wanted.files);
        let (loaded, watch) = match load(&wanted.files) {
            Ok(loaded) => (Some(loaded), Watch::new(version)),
            Err(error) if wanted.is_of_acme && error.is_missing => (None, Watch::new(version)),
            Err(error) if inherited.is_none() && !wanted.is_of_acme => return Err(error),
            Err(_) => {
                // Logged if it lasts.
                let kept = inherited.and_then(|all| find_inherited(&wanted.files, all));
                (kept, Watch::changed(version, now))
            }
        };
        Ok(Self {
            wanted: wanted.clone(),
            watch,
            loaded,
        })
    }

    fn look(&mut self, now: Instant) -> Option<Change> {
        if !self.watch.look(versions(&self.wanted.files), now) {
            return None;
        }
        match load(&self.wanted.files) {
            Ok(loaded) => {
                self.watch.on_loaded();
                if self
                    .loaded
                    .as_ref()
                    .is_some_and(|before| before.is_same(&loaded))
                {
                    return None;
                }
                self.loaded = Some(loaded.clone());
                Some(Change::Loaded(loaded))
            }
            Err(error) => self.watch.on_failed(now).then(|| Change::Failed {
                error,
                kept: self.loaded.clone(),
            }),
        }
    }
}

fn versions(files: &CertificateFiles) -> Vec<FileVersion> {
    let further = files.keyfile.iter().chain(&files.keyfile_password_file);
    std::iter::once(&files.certfile)
        .chain(further)
        .map(|path| FileVersion::of(path))
        .collect()
}

fn find_inherited(
    files: &CertificateFiles,
    inherited: &[LoadedCertificate],
) -> Option<LoadedCertificate> {
    let origin = origin(&files.certfile);
    let mut inherited = inherited.iter();
    inherited.find(|one| one.origin == origin).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    /// A chain and its key for one name.
    fn pair(name: &str) -> (String, String) {
        lockgate_tls::self_signed(&[name.to_owned()], 0, 1 << 31).unwrap()
    }

    fn wanted(certfile: &Path, keyfile: Option<&Path>, is_of_acme: bool) -> Wanted {
        Wanted {
            files: vec![WantedFiles {
                files: CertificateFiles {
                    certfile: certfile.to_owned(),
                    keyfile: keyfile.map(Path::to_owned),
                    keyfile_password_file: None,
                },
                is_of_acme,
            }],
            public: Vec::new(),
            local: Vec::new(),
            directory: PathBuf::new(),
        }
    }

    /// The name of the certificate in use, after looking every two seconds until `seconds`, and the changes.
    fn look(pool: &mut Pool, start: Instant, seconds: std::ops::Range<u64>) -> Vec<String> {
        seconds
            .step_by(2)
            .flat_map(|second| pool.look(start + Duration::from_secs(second)))
            .map(|change| match change {
                Change::Loaded(loaded) => loaded.names().concat(),
                Change::Failed { kept, .. } => {
                    format!(
                        "failed, {}",
                        kept.map_or("none".to_owned(), |kept| kept.names().concat())
                    )
                }
            })
            .collect()
    }

    #[test]
    fn a_pair_is_replaced_when_both_files_fit_and_else_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [certfile, keyfile] = ["cert", "key"].map(|name| folder.path().join(name));
        let put = |path: &Path, text: &str| {
            let staged = folder.path().join("staged");
            fs::write(&staged, text).unwrap();
            fs::rename(&staged, path).unwrap();
        };
        let [(chain_a, key_a), (chain_b, key_b)] = ["a", "b"].map(pair);
        put(&certfile, &chain_a);
        put(&keyfile, &key_a);
        let start = Instant::now();
        let mut pool = Pool::default();
        let wanted = wanted(&certfile, Some(&keyfile), false);
        assert_eq!(pool.add(&wanted, None, start).unwrap().len(), 1);
        assert!(look(&mut pool, start, 0..20).is_empty());
        put(&certfile, &chain_b);
        assert!(
            look(&mut pool, start, 20..24).is_empty(),
            "its key comes later"
        );
        put(&keyfile, &key_b);
        assert_eq!(look(&mut pool, start, 24..40), ["b"]);
        put(&keyfile, "broken");
        assert_eq!(look(&mut pool, start, 40..100), ["failed, b"]);
        fs::remove_file(&keyfile).unwrap();
        assert_eq!(look(&mut pool, start, 100..160), ["failed, b"]);
        assert!(
            pool.add(&wanted, None, start).is_err(),
            "a reload is refused"
        );
        assert_eq!(pool.of(&wanted).next().unwrap().names(), ["b"]);
        put(&keyfile, &key_b);
        assert!(look(&mut pool, start, 160..200).is_empty());
        pool.retain(std::iter::empty());
        assert_eq!(pool.of(&wanted).count(), 0);
    }

    #[test]
    fn a_link_to_another_folder_replaces_both_files_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let (chain, key) = pair(name);
            let version = folder.path().join(name);
            fs::create_dir(&version).unwrap();
            fs::write(version.join("tls.crt"), chain).unwrap();
            fs::write(version.join("tls.key"), key).unwrap();
        }
        let data = folder.path().join("data");
        symlink("a", &data).unwrap();
        let start = Instant::now();
        let mut pool = Pool::default();
        let wanted = wanted(&data.join("tls.crt"), Some(&data.join("tls.key")), false);
        pool.add(&wanted, None, start).unwrap();
        symlink("b", folder.path().join("staged")).unwrap();
        fs::rename(folder.path().join("staged"), &data).unwrap();
        assert_eq!(look(&mut pool, start, 0..20), ["b"]);
    }

    #[test]
    fn a_certificate_of_acme_may_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.example.pem");
        let start = Instant::now();
        let mut pool = Pool::default();
        let wanted = wanted(&file, None, true);
        assert!(pool.add(&wanted, None, start).unwrap().is_empty());
        assert!(look(&mut pool, start, 0..60).is_empty());
        let (chain, key) = pair("shop.example");
        fs::write(&file, format!("{key}{chain}")).unwrap();
        assert_eq!(look(&mut pool, start, 60..70), ["shop.example"]);
        fs::write(&file, "broken").unwrap();
        let mut other = Pool::default();
        assert!(other.add(&wanted, None, start).unwrap().is_empty());
        assert_eq!(look(&mut other, start, 0..60), ["failed, none"]);
    }

    #[test]
    fn after_an_upgrade_the_inherited_certificate_replaces_a_broken_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        let (chain, key) = pair("a");
        fs::write(&file, format!("{key}{chain}")).unwrap();
        let wanted = wanted(&file, None, false);
        let start = Instant::now();
        let mut pool = Pool::default();
        pool.add(&wanted, None, start).unwrap();
        let inherited = [pool.of(&wanted).next().unwrap().clone()];
        fs::write(&file, "broken").unwrap();
        let mut next = Pool::default();
        assert_eq!(next.add(&wanted, Some(&inherited), start).unwrap().len(), 1);
        assert_eq!(look(&mut next, start, 0..60), ["failed, a"]);
        assert!(Pool::default().add(&wanted, None, start).is_err());
    }
}
