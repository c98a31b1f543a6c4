//! The certificates that the settings of a generation name.

use std::path::{Path, PathBuf};

use lockgate_config::{AcmeConfig, CertificateFiles, Config};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The first one is the default certificate.
    pub(super) files: Vec<WantedFiles>,
    /// The names that must have a certificate: if no other one covers a name, the server signs one itself.
    pub(super) public: Vec<String>,
    /// Names of this machine, likewise.
    pub(super) local: Vec<String>,
    /// `acme_dir`.
    pub(super) directory: PathBuf,
}

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedFiles {
    pub(super) files: CertificateFiles,
    /// ACME writes it, so it may not exist yet.
    pub(super) is_of_acme: bool,
}

impl Wanted {
    pub(super) fn of(config: &Config) -> Self {
        let acme = &config.acme;
        let configured = config.tls.certificate_files().map(|files| WantedFiles {
            files,
            is_of_acme: false,
        });
        let issued = acme.public_domains().map(|name| WantedFiles {
            files: CertificateFiles {
                certfile: issued_file(acme, name),
                keyfile: None,
                keyfile_password_file: None,
            },
            is_of_acme: true,
        });
        Self {
            files: configured.chain(issued).collect(),
            public: acme.public_domains().map(str::to_owned).collect(),
            local: acme.local_domains().map(str::to_owned).collect(),
            directory: acme.dir.clone(),
        }
    }

    /// Whether the settings ask for TLS.
    pub(super) fn is_tls(&self) -> bool {
        !(self.files.is_empty() && self.local.is_empty())
    }

    /// Where ACME puts the certificates that validate names (RFC 8737); `None` without ACME.
    pub(super) fn challenge_directory(&self) -> Option<PathBuf> {
        let is_acme = !self.public.is_empty();
        is_acme.then(|| self.directory.join("challenges/tls-alpn-01"))
    }

    /// Where the server keeps the certificates that it signs for names of this machine.
    pub(super) fn self_signed_file(&self) -> PathBuf {
        self.directory.join("self-signed/local.pem")
    }
}

fn issued_file(acme: &AcmeConfig, name: &str) -> PathBuf {
    let file = format!("{name}.pem");
    acme.dir.join(Path::new("certificates")).join(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::AppSpec;

    fn config(certfile: Option<&str>, domains: &[&str]) -> Config {
        let app = AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        };
        let mut config = Config::with_defaults(app);
        config.tls.certfile = certfile.map(PathBuf::from);
        config.acme.domains = domains.iter().map(|&name| name.to_owned()).collect();
        config.acme.dir = PathBuf::from("/acme");
        config
    }

    #[test]
    fn files_come_first_and_each_public_name_has_a_file_of_acme() {
        let wanted = Wanted::of(&config(
            Some("/a.pem"),
            &["shop.example", "localhost", "::1"],
        ));
        let paths: Vec<_> = wanted
            .files
            .iter()
            .map(|one| (one.files.certfile.to_str().unwrap(), one.is_of_acme))
            .collect();
        assert_eq!(
            paths,
            [
                ("/a.pem", false),
                ("/acme/certificates/shop.example.pem", true)
            ]
        );
        assert_eq!(wanted.local, ["localhost", "::1"]);
        assert!(wanted.challenge_directory().is_some());
    }

    #[test]
    fn tls_is_on_with_a_file_or_a_name() {
        for (certfile, domains, is_tls, is_acme) in [
            (None, &[][..], false, false),
            (Some("a"), &[][..], true, false),
            (None, &["localhost"][..], true, false),
            (None, &["shop.example"][..], true, true),
        ] {
            let wanted = Wanted::of(&config(certfile, domains));
            let found = (wanted.is_tls(), wanted.challenge_directory().is_some());
            assert_eq!(found, (is_tls, is_acme), "{certfile:?} {domains:?}");
        }
    }
}
