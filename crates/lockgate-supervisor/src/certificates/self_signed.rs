//! Certificates that the server signs itself: for names of this machine, and for others until the certificate authority
//! has issued one.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lockgate_tls::self_signed;

use super::loading::{LoadedCertificate, origin, read};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Browsers refuse certificates that are valid for more than 398 days.
const LIFETIME: i64 = 397 * DAY;
/// A certificate that is valid for less than this is replaced.
const LEAST_REST: i64 = 30 * DAY;
/// The origin in the status, where there is no file.
const ORIGIN: &str = "self-signed";

/// Whether none of them has to be replaced soon.
pub(super) fn are_fresh(certificates: &[LoadedCertificate], now: i64) -> bool {
    certificates.iter().all(|one| is_fresh(one, now))
}

fn is_fresh(certificate: &LoadedCertificate, now: i64) -> bool {
    certificate.validity().not_after.saturating_sub(now) >= LEAST_REST
}

/// The certificates made so far, by their names.
#[derive(Debug, Default)]
pub(super) struct SelfSigned {
    made: Vec<LoadedCertificate>,
}

impl SelfSigned {
    /// With the certificates that the previous program in this process had in use.
    pub(super) fn new(inherited: &[LoadedCertificate]) -> Self {
        let made = inherited.iter().filter(|one| one.origin == ORIGIN);
        Self {
            made: made.cloned().collect(),
        }
    }

    /// A certificate for these names: one that was made before, the one in `file`, or a new one, which is then written to
    /// `file`. The second part says why it could not be written.
    pub(super) fn get(
        &mut self,
        names: &[String],
        file: Option<&Path>,
        now: i64,
    ) -> Result<(LoadedCertificate, Option<io::Error>), String> {
        let is_fitting = |one: &LoadedCertificate| one.names() == names && is_fresh(one, now);
        if let Some(made) = self.made.iter().find(|one| is_fitting(one)) {
            return Ok((made.clone(), None));
        }
        let kept = file.and_then(kept_in).filter(is_fitting);
        let (certificate, unwritten) = match kept {
            Some(kept) => (kept, None),
            None => make(names, file, now)?,
        };
        self.made.retain(|one| one.names() != names);
        self.made.push(certificate.clone());
        Ok((certificate, unwritten))
    }
}

fn kept_in(file: &Path) -> Option<LoadedCertificate> {
    let bytes = read("acme_dir", file).ok()?;
    LoadedCertificate::from_pem(&origin(file), (&bytes, &bytes), None).ok()
}

fn make(
    names: &[String],
    file: Option<&Path>,
    now: i64,
) -> Result<(LoadedCertificate, Option<io::Error>), String> {
    // Clocks of clients may be a little late.
    let (chain, key) = self_signed(
        names,
        now.saturating_sub(HOUR),
        now.saturating_add(LIFETIME),
    )
    .map_err(|error| error.to_string())?;
    let unwritten = file.and_then(|file| write(file, &[key.as_bytes(), chain.as_bytes()]).err());
    let origin = match (&unwritten, file) {
        (None, Some(file)) => origin(file),
        _ => ORIGIN.to_owned(),
    };
    let pem = (chain.as_bytes(), key.as_bytes());
    let certificate =
        LoadedCertificate::from_pem(&origin, pem, None).map_err(|error| error.to_string())?;
    Ok((certificate, unwritten))
}

/// Writes a file that only its owner can read, whole or not at all.
fn write(file: &Path, parts: &[&[u8]]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(folder)?;
    }
    let staged = PathBuf::from(format!("{}.{}", file.display(), std::process::id()));
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staged)
        .and_then(|mut out| {
            parts.iter().try_for_each(|part| out.write_all(part))?;
            out.sync_all()
        })
        .and_then(|()| fs::rename(&staged, file));
    if written.is_err() {
        // It may not exist.
        let _removed = fs::remove_file(&staged);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: i64 = 1_800_000_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_made_once_and_kept_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("acme/self-signed/local.pem");
        let local = names(&["localhost", "127.0.0.1"]);
        let get = |store: &mut SelfSigned, names: &[String], now| {
            let (made, unwritten) = store.get(names, Some(&file), now).unwrap();
            assert!(unwritten.is_none(), "{unwritten:?}");
            made
        };
        let mut store = SelfSigned::default();
        let first = get(&mut store, &local, NOW);
        assert_eq!(first.names(), local);
        assert!(first.validity().not_before < NOW && first.validity().not_after > NOW + LEAST_REST);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(get(&mut store, &local, NOW + DAY).is_same(&first));
        let mut restarted = SelfSigned::default();
        assert!(get(&mut restarted, &local, NOW).is_same(&first));
        let renewed = get(&mut restarted, &local, NOW + LIFETIME - DAY);
        assert!(!renewed.is_same(&first));
        let other = get(&mut SelfSigned::default(), &names(&["a.localhost"]), NOW);
        assert_eq!(other.names(), ["a.localhost"]);
    }

    #[test]
    fn without_a_directory_the_certificate_is_in_memory() {
        let mut store = SelfSigned::default();
        let local = names(&["localhost"]);
        let (first, unwritten) = store
            .get(&local, Some(Path::new("/dev/null/x/local.pem")), NOW)
            .unwrap();
        assert!(unwritten.is_some());
        assert_eq!(first.origin, ORIGIN);
        let (second, unwritten) = store.get(&local, None, NOW).unwrap();
        assert!(unwritten.is_none() && second.is_same(&first));
    }
}
