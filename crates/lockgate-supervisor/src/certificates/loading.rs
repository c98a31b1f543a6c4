//! Reading and checking the files of a certificate, as the supervisor's user: workers need no access to a key.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lockgate_config::{CertificateFiles, UnusableValue};
use lockgate_tls::{Certificate, CertificateError, CertificateSource, Material};
use rustix::fs::OFlags;

use super::expiry::Validity;

/// A file of certificates or of a key is smaller.
const LARGEST_FILE: u64 = 4 << 20;

/// A certificate that was checked, with its key.
#[derive(Debug, Clone)]
pub(super) struct LoadedCertificate {
    pub(super) certificate: Certificate,
    /// Where it comes from: the file, for operators.
    pub(super) origin: String,
}

impl LoadedCertificate {
    /// Checks that the key belongs to the certificate.
    pub(super) fn from_pem(
        origin: &str,
        (chain, key): (&[u8], &[u8]),
        password: Option<&[u8]>,
    ) -> Result<Self, CertificateError> {
        Ok(Self {
            certificate: Certificate::from_pem(chain, key, password)?,
            origin: origin.to_owned(),
        })
    }

    pub(super) fn source(&self) -> &CertificateSource {
        self.certificate.source()
    }

    pub(super) fn names(&self) -> &[String] {
        self.certificate.names()
    }

    pub(super) fn covers(&self, name: &str) -> bool {
        self.certificate.covers(name)
    }

    pub(super) fn validity(&self) -> Validity {
        Validity {
            not_before: self.certificate.not_before(),
            not_after: self.certificate.not_after(),
        }
    }

    /// Whether it is the same certificate with the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

/// Why a certificate cannot be used.
#[derive(Debug)]
pub(crate) struct LoadError {
    pub(super) unusable: UnusableValue,
    /// The file does not exist.
    pub(super) is_missing: bool,
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.unusable.fmt(out)
    }
}

/// Reads the files of a certificate and checks that its key belongs to it.
pub(super) fn load(files: &CertificateFiles) -> Result<LoadedCertificate, LoadError> {
    let chain = read("certfile", &files.certfile)?;
    let key = match &files.keyfile {
        Some(path) => &read("keyfile", path)?,
        None => &chain,
    };
    let password = match &files.keyfile_password_file {
        Some(path) => Some(read("keyfile_password_file", path)?),
        None => None,
    };
    // Editors end the last line of a file.
    let password = password.as_deref().map(|text| text.trim_ascii_end());
    let origin = origin(&files.certfile);
    LoadedCertificate::from_pem(&origin, (&chain, key), password).map_err(|error| {
        let (setting, path) = match &files.keyfile {
            Some(keyfile) if error.is_about_key() => ("keyfile", keyfile),
            _ => ("certfile", &files.certfile),
        };
        LoadError {
            unusable: UnusableValue::new(setting, path.display(), error),
            is_missing: false,
        }
    })
}

/// The certificates that the previous program in this process has published.
pub(super) fn inherited(published: &Material) -> Vec<LoadedCertificate> {
    let sources = published.certificates.iter().zip(&published.origins);
    let load = |(source, origin): (&CertificateSource, &String)| {
        Some(LoadedCertificate {
            certificate: Certificate::from_source(source.clone()).ok()?,
            origin: origin.clone(),
        })
    };
    sources.filter_map(load).collect()
}

/// A file as the origin of its certificate.
pub(super) fn origin(file: &Path) -> String {
    file.display().to_string()
}

/// Reads a regular file.
pub(super) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, LoadError> {
    read_file(path).map_err(|error| LoadError {
        unusable: UnusableValue::new(
            setting,
            path.display(),
            format_args!("cannot be read: {error}"),
        ),
        is_missing: error.kind() == io::ErrorKind::NotFound,
    })
}

/// The supervisor must not wait, as it would for the writer of a named pipe.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    options.read(true);
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other(format!(
            "it is larger than {LARGEST_FILE} bytes"
        )));
    }
    Ok(bytes)
}
